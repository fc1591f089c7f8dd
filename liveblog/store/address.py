"""The store's address: what can stand in it, and how it is shown without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

SCHEMES = ("redis", "rediss", "unix")
SENTINEL, CLUSTER = "redis+sentinel", "redis+cluster"
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


_SENTINEL_PARAMETERS = frozenset({"client_name", "sentinel_password", "sentinel_username"})
_CLUSTER_PARAMETERS = frozenset({"client_name"})
_PORTS = {SENTINEL: 26379, CLUSTER: 6379}
_FORMS = {
    SENTINEL: f"{SENTINEL}://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE",
    CLUSTER: f"{CLUSTER}://USER:PASSWORD@HOST:PORT,HOST:PORT",
}
# No part may hold a character that ends one: the rest of a password would be taken for something.
_MANY = re.compile(
    r"(?P<scheme>redis\+sentinel|redis\+cluster)://(?:(?P<user>[^@/?#]*)@)?(?P<hosts>[^@/?#]+)"
    r"(?:/(?P<path>[^@?#]*))?(?:\?(?P<query>[^@#]*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_SERVICE = re.compile(r"(?P<service>[A-Za-z0-9._-]+)(?:/(?P<db>[0-9]*))?")


class AddressError(ValueError):
    """An address that can't be taken; the message shows nothing of it that may be secret."""


@dataclass(frozen=True, slots=True)
class Address:
    """What `REDIS_URL` names: one server, or who tells where the servers are."""

    url: str
    kind: Literal["single", "sentinel", "cluster"] = "single"
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    _credentials: str = ""
    _sentinel_credentials: str = ""
    _database: str = ""
    _query: str = ""

    def server(self, host: str, port: int) -> str:
        """The address of one server of several."""
        tail = f"/{self._database}" + (f"?{self._query}" if self._query else "")
        return f"redis://{self._credentials}{_joined(host, port)}{tail}"

    def sentinel(self, host: str, port: int) -> str:
        """The address of a Sentinel, which has users and passwords of its own."""
        return f"redis://{self._sentinel_credentials}{_joined(host, port)}"


def read(url: str) -> Address:
    """An address that is read as it is meant. Raises: AddressError."""
    scheme = url.partition("://")[0].lower()
    if scheme in _FORMS:
        return _read_many(url, scheme)
    return Address(_checked(url))


def _read_many(url: str, scheme: str) -> Address:
    match = _MANY.fullmatch(url)
    hosts = [_HOST.fullmatch(host) for host in match["hosts"].split(",")] if match else []
    if match is None or not all(hosts):
        raise _unreadable(_FORMS[scheme])
    found = tuple(
        (host["host"].strip("[]"), int(host["port"] or _PORTS[scheme])) for host in hosts if host
    )
    if any(port > 65535 for _, port in found):
        raise _unreadable(_FORMS[scheme])
    credentials = f"{match['user']}@" if match["user"] else ""
    parameters = _parameters(
        match["query"] or "", _SENTINEL_PARAMETERS if scheme == SENTINEL else _CLUSTER_PARAMETERS
    )
    user, password = (parameters.pop(f"sentinel_{name}", "") for name in ("username", "password"))
    path, query = match["path"] or "", urlencode(parameters)
    if scheme == CLUSTER:
        if path.strip("/"):
            raise AddressError(
                f"names a database, and a cluster has only one. Write {_FORMS[scheme]}."
            )
        return Address(url, "cluster", found, _credentials=credentials, _query=query)
    named = _SERVICE.fullmatch(path)
    if named is None:
        raise AddressError(f"must name the service that the Sentinels watch: {_FORMS[scheme]}.")
    own = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return Address(
        url, "sentinel", found, named["service"], credentials, own, named["db"] or "", query
    )


def _unreadable(form: str) -> AddressError:
    # The rest of a password that wasn't escaped ends up in any part, so none is shown.
    return AddressError(
        f"{_UNREADABLE}: it must be like {form}. "
        "In a password, write / as %2F, @ as %40, # as %23, ? as %3F, : as %3A, [ as %5B."
    )


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _checked(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in SCHEMES:
        scheme = parts.scheme if parts and "://" in url else ""
        begins = f"begins with {scheme}://, which this version can't use" if scheme else _UNREADABLE
        raise AddressError(
            f"{begins}. Use redis://, rediss://, unix://, {SENTINEL}:// or {CLUSTER}://."
        )
    if parts.scheme != "unix" and not _is_plain(parts):
        raise _unreadable(f"{parts.scheme}://USER:PASSWORD@HOST:PORT/DB")
    taken = _PARAMETERS | (_TLS_PARAMETERS if parts.scheme == "rediss" else frozenset())
    db = _parameters(parts.query, taken).get("db", "0")
    if not (db.isascii() and db.isdecimal()):
        raise AddressError(f"{_UNREADABLE}: the parameter db must be a number.")
    return url


def _parameters(query: str, taken: frozenset[str]) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name not in taken:
            shown_name = name if name.isidentifier() and len(name) <= 40 else "something else"
            raise AddressError(
                f"can't be used with the parameter {shown_name}; "
                f"there are {', '.join(sorted(taken))}."
            )
    return found


def shown(url: str) -> str:
    """`url` without its password, for messages."""
    scheme = url.partition("://")[0].lower()
    if scheme in _FORMS:
        try:
            address = _read_many(url, scheme)
        except AddressError:
            return f"{scheme}://…"
        hosts = ",".join(_joined(*host) for host in address.hosts)
        return f"{scheme}://{hosts}" + (f"/{address.service}" if address.service else "")
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
