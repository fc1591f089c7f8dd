"""The real server as a process of its own, and what the kernel says about a process."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from bench.programs import BenchError, on_core

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"

_STORES = ("valkey", "redis")
_START_SECONDS = 30
_STOP_SECONDS = 10
# Servers end a connection that has been idle for a while, and the next request would meet its end.
_IDLE_SECONDS = 4


def stamped(filler: int = 0) -> str:
    """A post's text that says when it was sent, of one length at all times but for `filler`."""
    return f"bench-t={time.monotonic_ns():020d}{' word' * (filler // 5)}{'x' * (filler % 5)}"


def cpu_seconds(pids: list[int]) -> float:
    """What these processes have used so far, all threads, user and system, to the nanosecond."""
    used = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            used += int((task / "schedstat").read_text().split()[0])
    return used / 1e9


def writes(pids: list[int]) -> int:
    """How often these processes have asked the kernel to write so far."""
    called = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("syscw:"):
                called += int(line.split()[1])
    return called


def memory_kib(pids: list[int]) -> int:
    """Their proportional set size: what they share is not counted twice."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def _processes() -> Iterator[tuple[int, int, str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            # The name stands in parentheses and may hold anything, a parenthesis too.
            before, _, after = stat.rpartition(")")
            yield int(folder.name), int(after.split()[1]), before.partition("(")[2]


def family(pid: int) -> list[int]:
    """`pid` and all below it but the embedded store, which is measured by its own makers."""
    found, rows = [pid], list(_processes())
    for parent in found:
        found.extend(
            child
            for child, its_parent, name in rows
            if its_parent == parent and not name.startswith(_STORES)
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """One `liveblog serve` and its own data directory; both are gone after the `with` block."""

    def __init__(self, *arguments: str, core: int | None = None, module: str = "liveblog") -> None:
        self.token = secrets.token_urlsafe(32)
        self.port = _free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="liveblog-bench-"))
        self._said = self._folder / "said.log"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("LIVEBLOG_")
            and name not in {"REDIS_URL", "HOST", "PORT", "WEB_CONCURRENCY"}
        }
        environment |= {
            "LIVEBLOG_OWNER_TOKEN": self.token,
            "LIVEBLOG_DRAIN_SECONDS": "1",
            "LIVEBLOG_LOG_LEVEL": "info",
            "LIVEBLOG_VIEWERS_PER_ADDRESS": "1000000",
            # Storm upon storm, which the bucket for handshakes would put off.
            "LIVEBLOG_VIEWERS_MOST": "1000000",
        }
        command = [sys.executable, "-m", module, "serve", *arguments]
        command += ["--host", HOST, "--port", str(self.port)]
        command += ["--data-dir", str(self._folder / "data")]
        with self._said.open("wb") as said, on_core(core):
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=said, stderr=said
            )
        self._client = http.client.HTTPConnection(HOST, self.port, timeout=30)
        self._called_at = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._client.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if self.call("GET", "/readyz")[0] == http.HTTPStatus.OK:
                    return
            except OSError:
                self._client.close()
            time.sleep(0.1)
        said = self._said.read_text(errors="replace")[-2000:]
        raise BenchError(f"the server didn't become ready; it said:\n{said}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def family(self) -> list[int]:
        return family(self.pid)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.family())

    def writes(self) -> int:
        return writes(self.family())

    def memory_kib(self) -> int:
        return memory_kib(self.family())

    def settle(self) -> None:
        """Until the server has nothing to do any more, 10 s at most."""
        before = self.cpu_seconds()
        for _ in range(40):
            time.sleep(0.25)
            now = self.cpu_seconds()
            if now - before < 0.01:
                return
            before = now

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        content = None
        if body is not None:
            content = orjson.dumps(body)
            headers |= {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
        if time.monotonic() - self._called_at > _IDLE_SECONDS:
            self._client.close()
        self._client.request(method, path, body=content, headers=headers)
        response = self._client.getresponse()
        answer = response.read()
        self._called_at = time.monotonic()
        is_json = "json" in (response.getheader("Content-Type") or "")
        return response.status, orjson.loads(answer) if is_json and answer else answer

    def make_blog(self, slug: str) -> None:
        status, answer = self.call("POST", "/api/blogs", {"slug": slug, "title": slug.title()})
        if status != http.HTTPStatus.CREATED:
            raise BenchError(f"no blog “{slug}”: {status} {answer!r}")

    def publish(self, body: str, *, blog: str = "live") -> None:
        status, answer = self.call("POST", f"/api/blogs/{blog}/posts", {"body": body})
        if status != http.HTTPStatus.CREATED:
            raise BenchError(f"a post was refused: {status} {answer!r}")

    def head(self, blog: str = "live") -> tuple[str, int]:
        """The cursor and the offset of the newest entry."""
        status, answer = self.call("GET", f"/api/blogs/{blog}/posts?limit=1")
        if status != http.HTTPStatus.OK:
            raise BenchError(f"no posts of “{blog}”: {status} {answer!r}")
        return str(answer["cursor"]), int(answer["offset"])

    def metric(self, name: str) -> float:
        """A number of its /metrics."""
        text = self.call("GET", "/metrics")[1].decode()
        for line in text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise BenchError(f"no {name} in /metrics")

    def store(self) -> socket.socket:
        """A connection to its embedded store."""
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(self._folder / "data" / "store" / "store.sock"))
        return end

    def store_cpu_seconds(self) -> float:
        noted = orjson.loads((self._folder / "data" / "store" / "holder.json").read_bytes())
        return cpu_seconds([noted["valkey"]["pid"]])

    def store_commands(self) -> int:
        """How many commands its store has been asked so far, this question not counted."""
        with self.store() as asking:
            asking.sendall(b"INFO stats\r\n")
            said = asking.recv(65536).decode()
        line = next(line for line in said.splitlines() if line.startswith("total_commands"))
        return int(line.partition(":")[2])

    def durability(self) -> str:
        answer = self.call("GET", "/readyz")[1]
        return str(answer["durability"]) if isinstance(answer, dict) else "unknown"
