"""Other servers that broadcast, each handed the same text for the same audience."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.programs import BenchError, on_core
from bench.server import HOST, cpu_seconds, family, memory_kib

HERE = Path(__file__).resolve().parent
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_START_SECONDS = 15

_NGINX = """\
load_module {module};
worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  nchan_message_buffer_length 0;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /live {{ nchan_subscriber websocket; nchan_channel_id live; }}
    location = /send {{ nchan_publisher; nchan_channel_id live; }}
  }}
}}
"""


class Peer:
    """One other server, on a free port, with nothing left of it after the `with` block."""

    def __init__(self, name: str, *, core: int | None = None) -> None:
        self.name = name
        self.path = "/socket.io/?EIO=4&transport=websocket" if name == "Socket.IO" else "/live"
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        self._folder = Path(tempfile.mkdtemp(prefix="liveblog-peer-"))
        self._sent = 0
        with on_core(core), (self._folder / "said.log").open("wb") as said:
            self._process = subprocess.Popen(
                self._command(), cwd=HERE, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def _command(self) -> list[str]:
        match self.name:
            case "nchan":
                configuration = self._folder / "nginx.conf"
                configuration.write_text(
                    _NGINX.format(module=NCHAN_MODULE, folder=self._folder, port=self.port)
                )
                return ["nginx", "-p", str(self._folder), "-c", str(configuration)]
            case "plain Starlette":
                return [sys.executable, str(HERE / "starlette_app.py"), str(self.port)]
            case "Node ws":
                return ["node", str(HERE / "ws.mjs"), str(self.port)]
            case _:
                return ["node", str(HERE / "socketio.mjs"), str(self.port)]

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        said = (self._folder / "said.log").read_text(errors="replace")[-500:]
        self.__exit__(None, None, None)
        raise BenchError(f"{self.name} didn't start: {said}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def cpu_seconds(self) -> float:
        return cpu_seconds(family(self._process.pid))

    def memory_kib(self) -> int:
        return memory_kib(family(self._process.pid))

    def send(self, size: int) -> None:
        """One text of `size` bytes to every viewer, such as an audience counts and times."""
        self._sent += 1
        start = (
            f'{{"type":"entry","offset":{self._sent},'
            f'"post":{{"body":"bench-t={time.monotonic_ns()} '
        )
        text = f'{start}{"x" * (size - len(start) - 3)}"}}}}'
        client = http.client.HTTPConnection(HOST, self.port, timeout=30)
        client.request("POST", "/send", body=text.encode(), headers={"Content-Type": "text/plain"})
        status = client.getresponse().status
        client.close()
        if status >= http.client.BAD_REQUEST:
            raise BenchError(f"{self.name} refused a text: {status}")


def missing(name: str) -> str:
    """Why a peer can't be measured here; empty where it can."""
    if name == "nchan":
        there = shutil.which("nginx") and NCHAN_MODULE.exists()
        return "" if there else "not here: nginx with libnginx-mod-nchan isn't installed"
    if name in ("Node ws", "Socket.IO"):
        return _without_node()
    return ""


def _without_node() -> str:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "not here: Node.js isn't installed"
    if not (HERE / "node_modules" / "ws").exists():
        command = [npm, "ci", "--silent", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"not here: npm ci failed: {done.stderr.strip()[-200:]}"
    return ""


NAMES = ("nchan", "plain Starlette", "Node ws", "Socket.IO")
