"""What can be set, by environment variable; an option on the command line wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

PREFIXED = (
    "data_dir",
    "public_url",
    "owner_token",
    "trusted_proxies",
    "log_level",
    "drain_seconds",
    "viewers_most",
    "viewers_per_address",
    "replicas",
)
OWNER_TOKEN_SHORTEST = 16
PLAIN = {"host": "HOST", "port": "PORT", "workers": "WEB_CONCURRENCY", "redis_url": "REDIS_URL"}

# What stands in an `Origin` header (RFC 6454, section 7), and the slash that people put after it.
_ORIGIN = re.compile(
    r"(?P<origin>https?://([a-z0-9._~-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?)/?", re.IGNORECASE
)
_TAKES = {
    "port": "a whole number from 0 to 65535",
    "workers": "a whole number from 1 to 256",
    "trusted_proxies": "a whole number from 0 to 16",
    "log_level": "one of debug, info, warning, error",
    "drain_seconds": "a number of seconds from 0 to 3600",
    "viewers_most": "a whole number from 1 to 1000000",
    "viewers_per_address": "a whole number from 1 to 1000000",
    "replicas": "a whole number from 0 to 16",
}


class SettingsError(Exception):
    """A setting that can't be taken; the message names the variable and what it takes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings as the process was started with."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    redis_url: str | None = None
    data_dir: str = "./data"
    public_url: str | None = None
    owner_token: str | None = None
    trusted_proxies: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 20.0
    viewers_most: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    viewers_per_address: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5_000
    replicas: Annotated[int, msgspec.Meta(ge=0, le=16)] | None = None

    @property
    def data(self) -> Path:
        return Path(self.data_dir).expanduser().absolute()


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PLAIN.get(name) or f"LIVEBLOG_{name.upper()}"


def read(environment: Mapping[str, str], **options: object) -> Settings:
    """Settings from the environment and from options that were given.

    Raises: SettingsError, naming the variable.
    """
    names = [*PLAIN, *PREFIXED]
    unknown = sorted(
        name
        for name in environment
        if name.startswith("LIVEBLOG_") and name not in {variable(known) for known in names}
    )
    if unknown:
        raise SettingsError(
            f"{unknown[0]} is no setting. There are: {', '.join(variable(name) for name in names)}."
        )
    values: dict[str, Any] = {
        name: environment[variable(name)] for name in names if environment.get(variable(name))
    }
    values.update({name: value for name, value in options.items() if value is not None})
    for name, value in values.items():
        if isinstance(value, str) and not _is_text(value):
            raise SettingsError(f"{variable(name)}{_option(name, options)} isn't text in UTF-8.")
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")
        raise SettingsError(
            f"{variable(name)}{_option(name, options)} is {values.get(name)!r}: "
            f"it must be {_TAKES[name]}."
        ) from None
    try:
        settings.data  # noqa: B018 - raises where `~` names nobody
    except RuntimeError:
        raise SettingsError(
            f"{variable('data_dir')}{_option('data_dir', options)} is {settings.data_dir!r}: "
            "there is no such user. Write the path in full."
        ) from None
    if settings.owner_token is not None and len(settings.owner_token) < OWNER_TOKEN_SHORTEST:
        raise SettingsError(
            "LIVEBLOG_OWNER_TOKEN is too short: take at least "
            f"{OWNER_TOKEN_SHORTEST} random characters."
        )
    if settings.replicas and settings.redis_url is None:
        raise SettingsError(
            "LIVEBLOG_REPLICAS needs a store named in REDIS_URL: the embedded one has no replicas."
        )
    if settings.public_url is not None:
        return msgspec.structs.replace(settings, public_url=_origin(settings.public_url))
    return settings


def _option(name: str, options: Mapping[str, object]) -> str:
    return f" (--{name.replace('_', '-')})" if options.get(name) is not None else ""


def _is_text(value: str) -> bool:
    """Whether it came in the terminal's own encoding; bytes that didn't are half characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _origin(url: str) -> str:
    match = _ORIGIN.fullmatch(url)
    if match is None or int(match["port"] or 0) > 65535:
        raise SettingsError(
            f"LIVEBLOG_PUBLIC_URL={url!r}: must be the address people type, "
            "like https://live.example.org, without a path."
        )
    return match["origin"].lower()
