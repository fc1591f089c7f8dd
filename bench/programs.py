"""The C programs, built and spoken to: a line goes in, a line of JSON comes back."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")

Answer = dict[str, float]


class BenchError(Exception):
    """What was to be measured couldn't be; the message says why."""


def build(into: Path = BUILD) -> None:
    """Compile `floor`, `load` and `get` where their source is newer.

    Raises: BenchError.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BenchError("no C compiler: install gcc")
    into.mkdir(exist_ok=True)
    for name in ("floor", "load", "get"):
        source, program = HERE / f"{name}.c", into / name
        if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
            continue
        # With zlib, where its headers are; without it, what is compressed isn't measured.
        made = _compiled(compiler, source, program, "-DWITH_ZLIB", "-lz")
        if made.returncode != 0:
            made = _compiled(compiler, source, program)
        if made.returncode != 0:
            raise BenchError(f"{source.name} doesn't compile:\n{made.stderr}")


def _compiled(
    compiler: str, source: Path, program: Path, *extra: str
) -> subprocess.CompletedProcess[str]:
    command = [compiler, *_FLAGS, "-o", str(program), str(source), *extra]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, on one core where there are several.

    Without it the driver and the audience would now and then take the server's core from it.
    """
    if core is None or not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Program:
    """One running C program; it ends with the `with` block, and also if its driver dies."""

    def __init__(
        self, name: str, *arguments: object, core: int | None = None, folder: Path = BUILD
    ) -> None:
        self._name = name
        with on_core(core):
            self._process = subprocess.Popen(
                [str(folder / name), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, command: str, *, within_seconds: float = 10) -> Answer:
        """Raises: BenchError, where it answers with an error, too late, or not at all."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command.encode() + b"\n")
        except BrokenPipeError as error:
            raise BenchError(f"{self._name} has ended") from error
        return self.hear(within_seconds=within_seconds)

    def hear(self, *, within_seconds: float = 10) -> Answer:
        """The next line, without a command before it: the floor says its port on its own."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            if not select.select([pipe], [], [], within_seconds)[0]:
                raise BenchError(f"{self._name} said nothing for {within_seconds:g} s")
            heard = os.read(pipe, 65536)
            if not heard:
                raise BenchError(f"{self._name} has ended")
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        answer = orjson.loads(line)
        if "error" in answer:
            raise BenchError(f"{self._name}: {answer['error']}")
        return dict(answer)

    def connect(self, count: int, path: str) -> Answer:
        """Open `count` more viewers of `path`; `load` only.

        Raises: BenchError, where one of them was refused.
        """
        opened = self.ask(f"connect {count} {path}", within_seconds=70)
        if opened["failed"]:
            raise BenchError(f"{opened['failed']:.0f} of {count} viewers were refused")
        return opened

    def wait_for_entries(self, count: int, *, within_seconds: float = 30) -> None:
        """Until every viewer got `count` entries since the reset, in order and none twice.

        Raises: BenchError.
        """
        waited = self.ask(
            f"entries {count} {within_seconds * 1000:.0f}", within_seconds=within_seconds + 5
        )
        stats = self.ask("stats")
        if not waited["complete"]:
            raise BenchError(f"{count} entries were due, a viewer got {stats['fewest']:.0f}")
        if stats["holes"] or stats["closed"] or stats["most"] > count:
            raise BenchError(f"not each entry once and in order to everybody: {stats}")


def get(port: int, path: str, *, readers: int, times: int, folder: Path = BUILD) -> Answer:
    """Have so many readers ask for a page so many times each, on connections that are kept.

    Raises: BenchError, where an answer isn't the page.
    """
    command = [str(folder / "get"), str(port), str(readers), str(times), path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"get: {done.stderr.strip()}")
    return dict(orjson.loads(done.stdout))
