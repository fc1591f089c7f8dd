"""The store's address is read as it is meant, and never shown with its password."""

from __future__ import annotations

import pytest

from liveblog.store.address import AddressError, read, shown


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
        ("redis+sentinel://h:1,i/main", "redis+sentinel://h:1,i:26379/main"),
        (
            "redis+sentinel://ana:secret@h/main/2?sentinel_password=secret",
            "redis+sentinel://h:26379/main",
        ),
        ("redis+cluster://:secret@h:1,[::1]:2", "redis+cluster://h:1,[::1]:2"),
        ("redis+cluster://h/?client_name=liveblog", "redis+cluster://h:6379"),
    ],
)
def test_an_address_is_taken_and_shown_without_its_password(url: str, told: str) -> None:
    assert read(url).url == url
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
        "redis+sentinel://u:secret/et@h:1/main",
        "redis+sentinel://u:1/secret@h:1/main",
        "redis+sentinel://u:1#secret@h:1/main",
        "redis+sentinel://u:1?secret@h:1/main",
        "redis+sentinel://u:secret@et@h:1/main",
        "redis+sentinel://u:secret@h:1",
        "redis+sentinel://u:secret@h:1/",
        "redis+sentinel://u:secret@h:1/main/secret",
        "redis+sentinel://u:secret@h:99999/main",
        "redis+sentinel://u:secret@h:1,/main",
        "redis+sentinel://h:1/main?foo=secret",
        "redis+sentinel://h:1/main?db=secret",
        "redis+cluster://u:secret@",
        "redis+cluster://u:secret@h:secret",
        "redis+cluster://u:1/secret@h:1",
        "redis+cluster://u:secret@h:1/2",
        "redis+cluster://h:1?sentinel_password=secret",
        "http://u:secret@h",
        "u:secret@h",
        "",
    ],
)
def test_what_cannot_be_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        read(url)

    assert "secret" not in str(refused.value)
    assert "secret" not in shown(url)


def test_a_parameter_that_is_not_taken_is_named_and_so_are_those_that_are() -> None:
    with pytest.raises(AddressError, match=r"foo; there are client_name, db, password, username"):
        read("redis://h/?foo=bar")
    with pytest.raises(AddressError, match=r"foo; there are .*ssl_ca_certs"):
        read("rediss://h/?foo=bar")
    with pytest.raises(AddressError, match=r"foo; there are client_name, sentinel_password, "):
        read("redis+sentinel://h/main?foo=bar")


def test_an_address_of_several_tells_how_each_is_reached() -> None:
    sentinels = read("redis+sentinel://ana:p%40ss@h:1,[::1]:2/main/3?sentinel_password=s%2Fx")
    cluster = read("redis+cluster://ana:p%40ss@h:1,i?client_name=liveblog")

    assert (sentinels.kind, sentinels.service) == ("sentinel", "main")
    assert sentinels.hosts == (("h", 1), ("::1", 2))
    assert sentinels.sentinel("::1", 2) == "redis://:s%2Fx@[::1]:2"
    assert sentinels.server("k", 4) == "redis://ana:p%40ss@k:4/3"
    assert (cluster.kind, cluster.hosts) == ("cluster", (("h", 1), ("i", 6379)))
    assert cluster.server("k", 4) == "redis://ana:p%40ss@k:4/?client_name=liveblog"
