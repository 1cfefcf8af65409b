"""The real service in a process of its own, for tests from outside: started, asked over HTTP, stopped or killed.

Lives here: the process and the questions. Not here: what is expected of the answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DCIM = [sys.executable, "-m", "dcim.app"]
PATIENCE_S = 60
START_PATIENCE_S = 180
"""On a busy machine, what the service imports alone takes most of a minute."""


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, check: Callable[[], Any], patience_s: float = PATIENCE_S, every_s: float = 0.05) -> Any:
    """The first truthy answer of `check`, which is asked every_s seconds; fails the test when none comes."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(every_s)


@dataclass
class Running:
    """`dcim serve` (or another command that serves) over a folder."""

    folder: Path
    command: list[str]
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        log = (self.folder / "serve.log").open("ab")
        with log:
            self.process = subprocess.Popen([*DCIM, *self.command], stdout=log, stderr=log, cwd=self.folder)
        try:
            wait_for("the service", self._alive, START_PATIENCE_S)
        except BaseException:
            self.kill()
            raise

    def _alive(self) -> bool:
        assert self.process.poll() is None, (self.folder / "serve.log").read_text()
        with contextlib.suppress(OSError):
            return bool(self.get("/healthz")["status"] == "ok")
        return False

    def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Status and JSON answer of a POST."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def ledger(self, source: str) -> dict[str, Any]:
        """The account of one source."""
        (found,) = [item for item in self.get("/api/v1/ledger")["items"] if item["source"] == source]
        assert found["balanced"], found
        return dict(found)

    def kill(self) -> None:
        """kill -9, at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def serving(folder: Path, sources: str, data: Path | None = None, store: str = "") -> Iterator[Running]:
    """`dcim serve` with these [[sources]], a store and a journal in the folder, or in another for data. store: its
    settings; an embedded one when left out."""
    port = free_port()
    store = store or f'path = "{data or folder}/telemetry.duckdb"'
    (folder / "site.toml").write_text(
        f"""
        [http]
        bind = "127.0.0.1:{port}"
        [store]
        {store}
        [alarms]
        journal = "sqlite+aiosqlite:///{data or folder}/alarms.sqlite"
        {sources}
        """
    )
    running = Running(folder, ["serve", "--config", str(folder / "site.toml")], port)
    running.start()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`dcim replay` with these arguments, to its end."""
    return subprocess.run(
        [*DCIM, "replay", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
        env=os.environ,
    )
