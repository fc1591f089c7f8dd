"""Measures the server against the floor and prints one table: `make bench`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson

# Run as a file, only its own folder is on the path; the project itself need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.programs import BenchError, build
from bench.report import for_document, for_scaling, for_terminal, machine
from bench.rows import FULL, QUICK, ROWS, Row, prediction
from bench.simulate import COSTS, Costs

_DOCS = Path(__file__).resolve().parent.parent / "docs"
_DOCUMENT, _SCALING = _DOCS / "benchmarks.md", _DOCS / "scaling.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few viewers, one round: a smoke run")
    parser.add_argument("--rows", default=",".join(ROWS), help="only these: " + ", ".join(ROWS))
    parser.add_argument(
        "--write", action="store_true", help="also write what docs/ and bench/costs.json say"
    )
    options = parser.parse_args()

    chosen = options.rows.split(",")
    if unknown := [name for name in chosen if name not in ROWS]:
        parser.error(f"no such rows: {', '.join(unknown)}")
    if options.write and (options.quick or chosen != list(ROWS)):
        parser.error("--write is for a whole run: neither --quick nor --rows")

    facts = machine()
    scale = QUICK if options.quick else FULL
    print("\n".join(facts), flush=True)
    rows: list[Row] = []
    missing: list[str] = []

    def take(name: str, measure: Callable[[], list[Row]]) -> None:
        began = time.monotonic()
        try:
            measured = measure()
        except BenchError as error:
            missing.append(name)
            measured = [Row(name, f"not measured: {error}")]
        print(f"\n{name}, {time.monotonic() - began:.0f} s", for_terminal(measured), sep="\n")
        sys.stdout.flush()
        rows.extend(measured)

    build()
    for name in chosen:
        take(name, partial(ROWS[name], scale))
    costs = dict(cost for row in rows for cost in row.costs)
    if chosen == list(ROWS) and not missing:
        take("prediction", partial(prediction, scale, Costs(**costs)))
    if options.quick:
        print("A smoke run: with so few viewers and rounds these figures say nothing.")
    if options.write:
        if missing:
            print("Not written: something couldn't be measured.", file=sys.stderr)
        else:
            _DOCUMENT.write_text(for_document(rows, facts))
            COSTS.write_bytes(orjson.dumps(costs, option=orjson.OPT_INDENT_2) + b"\n")
            _SCALING.write_text(for_scaling(_SCALING.read_text(), rows, Costs(**costs)))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
