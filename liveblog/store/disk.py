"""Whether the disk under the embedded store has room: a store that runs out of it dies."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# More than all that can be under way at once, and a day of what the store writes by itself.
ROOM_LEAST_BYTES = 16 * 1024 * 1024


def has_room(folder: Path, more_bytes: int = 0) -> bool:
    """Whether there is room for posts and `more_bytes`; true where the disk doesn't tell."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return True
    return disk.f_bavail * disk.f_frsize >= ROOM_LEAST_BYTES + more_bytes


def size(folder: Path) -> int:
    """The bytes of the files in `folder`; one that goes meanwhile counts for nothing."""
    total = 0
    for path in folder.glob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total
