"""The store's address is read as it is meant, and never shown with its password."""

from __future__ import annotations

import pytest

from liveblog.store.address import AddressError, checked, shown


@pytest.mark.parametrize(
    "url, told",
    [
        ("redis://h", "redis://h"),
        ("redis://", "redis://"),
        ("redis://user:secret@h:6379/2", "redis://h:6379/2"),
        ("redis://:se%2Fcr%40et@h:6379", "redis://h:6379"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://h/?db=1&password=secret&username=ana", "redis://h/"),
        ("rediss://h:1/0?ssl_cert_reqs=none&ssl_ca_certs=/secret", "rediss://h:1/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("unix://user:secret@/run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_an_address_is_taken_and_shown_without_its_password(url: str, told: str) -> None:
    assert checked(url) == url
    assert shown(url) == told


@pytest.mark.parametrize(
    "url",
    [
        "redis://[::1",
        "redis://u:secret/et@h:1",
        "redis://u:1/secret@h:1",
        "redis://u:1#secret@h:1",
        "redis://u:1?secret@h:1",
        "redis://u:1?secret&x@h:1",
        "redis://u:[secret@h:1",
        "redis://h:99999/0",
        "redis://h/secret",
        "redis://h/?secret secret=1",
        "redis://h/?db=secret",
        "redis://h/?decode_responses=secret",
        "redis://h/?ssl_cert_reqs=secret",
        "http://u:secret@h",
        "u:secret@h",
        "",
    ],
)
def test_what_cannot_be_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        checked(url)

    assert "secret" not in str(refused.value)
    assert "secret" not in shown(url)


def test_a_parameter_that_is_not_taken_is_named_and_so_are_those_that_are() -> None:
    with pytest.raises(AddressError, match=r"foo; there are client_name, db, password, username"):
        checked("redis://h/?foo=bar")
    with pytest.raises(AddressError, match=r"foo; there are .*ssl_ca_certs"):
        checked("rediss://h/?foo=bar")
