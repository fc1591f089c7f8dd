"""A Lua script of ours, and by which name the server knows it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Literal

Mode = Literal["read", "write", "lease"]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the SHA-1 by which the server knows it.

    What a "write" changed is durable when it returns; a "lease" changes what may be lost.
    """

    name: str
    text: str
    sha: str
    mode: Mode

    @classmethod
    def load(cls, name: str, mode: Mode) -> Script:
        text = (files("liveblog.store") / "scripts" / f"{name}.lua").read_text("utf-8")
        return cls(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest(), mode)
