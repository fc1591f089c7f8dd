"""Settings come from the environment and options, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from liveblog.settings import Settings, SettingsError, read, variable


def test_everything_has_a_default() -> None:
    settings = read({})

    assert settings == Settings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.data == Path("data").absolute()
    assert settings.redis_url is settings.public_url is settings.owner_token is None


def test_the_environment_sets() -> None:
    settings = read(
        {
            "HOST": "0.0.0.0",
            "PORT": "80",
            "WEB_CONCURRENCY": "4",
            "REDIS_URL": "redis://r",
            "LIVEBLOG_DATA_DIR": "/srv/data",
            "LIVEBLOG_PUBLIC_URL": "https://live.example.org",
            "LIVEBLOG_OWNER_TOKEN": "0123456789abcdef",
            "LIVEBLOG_TRUSTED_PROXIES": "2",
            "LIVEBLOG_LOG_LEVEL": "debug",
            "LIVEBLOG_DRAIN_SECONDS": "2.5",
            "PATH": "/bin",
        }
    )

    assert settings == Settings(
        host="0.0.0.0",
        port=80,
        workers=4,
        redis_url="redis://r",
        data_dir="/srv/data",
        public_url="https://live.example.org",
        owner_token="0123456789abcdef",
        trusted_proxies=2,
        log_level="debug",
        drain_seconds=2.5,
    )


def test_an_option_wins_over_the_variable() -> None:
    assert read({"PORT": "80", "HOST": "a"}, port="81", host=None).port == 81
    assert read({"PORT": "80", "HOST": "a"}, port="81", host=None).host == "a"


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    assert read({variable(name): ""}) == Settings()


@pytest.mark.parametrize(
    "name, value",
    [
        ("PORT", "eighty"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "257"),
        ("LIVEBLOG_TRUSTED_PROXIES", "-1"),
        ("LIVEBLOG_TRUSTED_PROXIES", "17"),
        ("LIVEBLOG_TRUSTED_PROXIES", "yes"),
        ("LIVEBLOG_LOG_LEVEL", "loud"),
        ("LIVEBLOG_VIEWERS_MOST", "0"),
        ("LIVEBLOG_VIEWERS_PER_ADDRESS", "many"),
        ("LIVEBLOG_DRAIN_SECONDS", "-1"),
        ("LIVEBLOG_DRAIN_SECONDS", "3601"),
        ("LIVEBLOG_DRAIN_SECONDS", "nan"),
        ("LIVEBLOG_DRAIN_SECONDS", "soon"),
        ("LIVEBLOG_OWNER_TOKEN", "short"),
        ("LIVEBLOG_PUBLIC_URL", "live.example.org"),
        ("LIVEBLOG_PUBLIC_URL", "ftp://live.example.org"),
        ("LIVEBLOG_PUBLIC_URL", "https://"),
        ("LIVEBLOG_PUBLIC_URL", "https://live.example.org/blog"),
        ("LIVEBLOG_PUBLIC_URL", "https://live.example.org?x=1"),
        ("LIVEBLOG_PUBLIC_URL", "https://live.example.org#x"),
        ("LIVEBLOG_PUBLIC_URL", "https://user:secret@live.example.org"),
        ("LIVEBLOG_PUBLIC_URL", "https://live.example.org:port"),
        ("LIVEBLOG_PUBLIC_URL", "https://live example.org"),
        ("LIVEBLOG_PUBLIC_URL", 'https://live"><script>'),
        ("LIVEBLOG_PUBLIC_URL", "https://[::1"),
        ("LIVEBLOG_OWNER_TOEKN", "0123456789abcdef"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        read({name: value})

    assert "\n" not in str(error.value)


def test_a_refused_setting_says_what_it_takes() -> None:
    with pytest.raises(
        SettingsError,
        match=r"^PORT \(--port\) is '65536': it must be a whole number from 0 to 65535\.$",
    ):
        read({}, port="65536")
    with pytest.raises(SettingsError, match="at least 16 random characters") as error:
        read({"LIVEBLOG_OWNER_TOKEN": "sesame"})
    assert "sesame" not in str(error.value)
    with pytest.raises(SettingsError, match=r"like https://live\.example\.org"):
        read({"LIVEBLOG_PUBLIC_URL": "live.example.org"})
    with pytest.raises(
        SettingsError, match=r"LIVEBLOG_DATADIR is no setting. There are: .*_DATA_DIR"
    ):
        read({"LIVEBLOG_DATADIR": "x"})


@pytest.mark.parametrize(
    "given, origin",
    [
        ("https://live.example.org/", "https://live.example.org"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("HTTPS://Live.Example.ORG", "https://live.example.org"),
    ],
)
def test_a_public_url_becomes_an_origin(given: str, origin: str) -> None:
    assert read({"LIVEBLOG_PUBLIC_URL": given}).public_url == origin


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")

    assert read({}, data_dir="~/live").data == Path("/home/ana/live")
