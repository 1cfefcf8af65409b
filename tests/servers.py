"""Real servers for tests, of time series and of alerts: each started on a free port with a folder of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

PATIENCE_S = 60.0


class Server:
    """A program that speaks HTTP, which can be killed and started again with what it has."""

    def __init__(self, folder: Path, health: str, *command: str) -> None:
        """health: a path that is answered when it is up. command: with {port} and {folder}."""
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._health = health
        self._command = [part.format(port=self.port, folder=folder) for part in command]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.get(self._health)
            except OSError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"it does not start: {(self.folder / 'log').read_text()}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def get(self, path: str, body: object = None) -> bytes:
        """What it answers; a body is posted as JSON."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=10) as answer:
            told: bytes = answer.read()
            return told

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def victoria(folder: Path) -> Server:
    """A VictoriaMetrics that shows what it has at once."""
    return Server(
        folder, "/health", "victoria-metrics", "-storageDataPath={folder}/data", "-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.disableCache",
    )  # fmt: skip


def influxd(folder: Path) -> Server:
    """An InfluxDB 2, not set up yet."""
    return Server(
        folder, "/health", "influxd", "--http-bind-address=127.0.0.1:{port}", "--reporting-disabled",
        "--bolt-path={folder}/influxd.bolt", "--sqlite-path={folder}/influxd.sqlite", "--engine-path={folder}/engine",
    )  # fmt: skip


def alertmanager(folder: Path) -> Server:
    """An Alertmanager that groups and resolves as we do, and is told of by nobody."""
    config = "global: {resolve_timeout: 5m}\nroute: {receiver: dcim, group_by: [site, asset], group_wait: 0s}\n"
    (folder / "alertmanager.yml").write_text(config + "receivers: [{name: dcim}]\n")
    return Server(
        folder, "/-/ready", "prometheus-alertmanager", "--config.file={folder}/alertmanager.yml",
        "--storage.path={folder}/data", "--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    )  # fmt: skip
