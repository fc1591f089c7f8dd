"""Whether the disk under the embedded store has room: a store that runs out of it dies."""

from __future__ import annotations

import os
from pathlib import Path

# More than all that can be under way at once, and a day of what the store writes by itself.
ROOM_LEAST_BYTES = 16 * 1024 * 1024


def has_room(folder: Path) -> bool:
    """Whether there is room for more posts; true also where the disk doesn't tell."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return True
    return disk.f_bavail * disk.f_frsize >= ROOM_LEAST_BYTES
