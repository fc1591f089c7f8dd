"""Checks that everything the server brings along may be used and passed on under known terms."""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"

# Permissive, or (MPL) binding only the files that carry it; then how older packages say the same.
ALLOWED = {
    "0BSD": (),
    "Apache-2.0": ("Apache Software License", "Apache License 2.0"),
    "BSD-2-Clause": ("BSD 2-Clause License",),
    "BSD-3-Clause": ("BSD License", "BSD"),
    "ISC": ("ISC License (ISCL)",),
    "MIT": ("MIT License",),
    "MPL-2.0": ("Mozilla Public License 2.0 (MPL 2.0)",),
    "PSF-2.0": ("Python Software Foundation License",),
}
KNOWN = set(ALLOWED) | {name for names in ALLOWED.values() for name in names}


def terms(package: Distribution) -> list[str]:
    """Every licence that `package` names, by the best of the three places where it may."""
    expression = (package.metadata.get_all("License-Expression") or [None])[0]
    if expression:
        return re.findall(r"[\w.+-]+", re.sub(r"\b(AND|OR|WITH)\b", " ", expression))
    classifiers = package.metadata.get_all("Classifier") or []
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    if named:
        return named
    text: str = (package.metadata.get_all("License") or ["none named"])[0]
    return text.strip().splitlines()[:1]


def main() -> int:
    names = re.findall(r"^([\w.-]+)==", LOCK.read_text(), flags=re.MULTILINE)
    packages = []
    for name in names:
        try:
            packages.append(distribution(name))
        except PackageNotFoundError:
            continue  # for another platform or another Python
    # All of an expression's licences must be known, whichever of them one may choose.
    refused = [package for package in packages if not set(terms(package)) <= KNOWN]
    for package in refused:
        print(f"{package.name} {package.version}: {', '.join(terms(package))} is not on the list")
    if not refused:
        print(f"{len(packages)} packages")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
