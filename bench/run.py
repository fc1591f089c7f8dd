"""Measures the server against the floor and prints one table: `make bench`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Run as a file, only its own folder is on the path; the project itself need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.programs import BenchError, build
from bench.report import for_document, for_terminal, machine
from bench.rows import FULL, QUICK, ROWS, Row

_DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few viewers, one round: a smoke run")
    parser.add_argument("--rows", default=",".join(ROWS), help="only these: " + ", ".join(ROWS))
    parser.add_argument("--write", action="store_true", help="also write docs/benchmarks.md")
    options = parser.parse_args()

    chosen = options.rows.split(",")
    if unknown := [name for name in chosen if name not in ROWS]:
        parser.error(f"no such rows: {', '.join(unknown)}")
    if options.write and (options.quick or chosen != list(ROWS)):
        parser.error("--write is for a whole run: neither --quick nor --rows")

    facts = machine()
    print("\n".join(facts), flush=True)
    rows: list[Row] = []
    missing = 0
    build()
    for name in chosen:
        try:
            measured = ROWS[name](QUICK if options.quick else FULL)
        except BenchError as error:
            missing += 1
            measured = [Row(name, f"not measured: {error}")]
        print(for_terminal(measured), flush=True)
        rows += measured
    if options.quick:
        print("A smoke run: with so few viewers and rounds these figures say nothing.")
    if options.write:
        if missing:
            print("Not written: something couldn't be measured.", file=sys.stderr)
        else:
            _DOCUMENT.write_text(for_document(rows, facts))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
