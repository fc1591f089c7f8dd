"""Asks for known vulnerabilities in what the lock files name, and says so where nobody answered."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A release with advisories that nobody will withdraw. The tool ends well where its source can't be
# reached, so only finding these shows that the source was.
CONTROL = "jinja2==2.4.1\n"


def findings(*options: str) -> dict[str, list[str]] | None:
    """The advisories for each package that has some; None where the tool could not tell."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "15", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return {
        package["name"]: [vulnerability["id"] for vulnerability in package["vulns"]]
        for package in packages
        if package.get("vulns")
    }


def main() -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as control:
        control.write(CONTROL)
        control.flush()
        if not findings("--no-deps", "--requirement", control.name):
            print(
                "not reached: the advisory source did not know the control, so nothing was checked"
            )
            return 0
    found = findings("--require-hashes", "--requirement", str(ROOT / "requirements-dev.lock"))
    if found is None:
        print("the advisory source answered for the control and not for the lock")
        return 1
    for name, advisories in found.items():
        print(f"{name}: {', '.join(advisories)}")
    if not found:
        print("none known")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
