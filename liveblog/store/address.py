"""The store's address: what can stand in it, and how it is shown without its password."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlsplit

SCHEMES = ("redis", "rediss", "unix")
_PARAMETERS = frozenset({"db", "username", "password", "client_name"})
_TLS_PARAMETERS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
)


class AddressError(ValueError):
    """An address that can't be taken; the message shows nothing of it that may be secret."""


def checked(url: str) -> str:
    """An address that the client library reads as it is meant. Raises: AddressError."""
    parts = _split(url)
    if parts is None or parts.scheme not in SCHEMES:
        scheme = parts.scheme if parts and "://" in url else ""
        begins = f"begins with {scheme}://, which this version can't use" if scheme else _UNREADABLE
        raise AddressError(f"{begins}. Use redis://, rediss:// or unix://.")
    if parts.scheme != "unix" and not _is_plain(parts):
        # The rest of a password that wasn't escaped ends up in any part, so none is shown.
        raise AddressError(
            f"{_UNREADABLE}: it must be like {parts.scheme}://USER:PASSWORD@HOST:PORT/DB. "
            "In a password, write / as %2F, @ as %40, # as %23, ? as %3F, : as %3A, [ as %5B."
        )
    taken = _PARAMETERS | (_TLS_PARAMETERS if parts.scheme == "rediss" else frozenset())
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in taken:
            shown_name = name if name.isidentifier() and len(name) <= 40 else "something else"
            raise AddressError(
                f"can't be used with the parameter {shown_name}; "
                f"there are {', '.join(sorted(taken))}."
            )
        if name == "db" and not (value.isascii() and value.isdecimal()):
            raise AddressError(f"{_UNREADABLE}: the parameter db must be a number.")
    return url


def shown(url: str) -> str:
    """`url` without its password, for messages."""
    parts = _split(url)
    if parts is None or parts.scheme not in SCHEMES:
        return "the address in REDIS_URL"
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    if not _is_plain(parts):
        return f"{parts.scheme}://…"
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


_UNREADABLE = "can't be read"


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _is_plain(parts: SplitResult) -> bool:
    """Whether host, port and path are no more than that."""
    try:
        parts.port  # noqa: B018 - raises where it isn't one
    except ValueError:
        return False
    number = parts.path.strip("/")
    return (
        not parts.fragment
        and "@" not in parts.query
        and (not number or (number.isascii() and number.isdecimal()))
    )
