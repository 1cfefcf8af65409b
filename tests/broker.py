"""A real broker for tests: a process with a configuration of its own on a free port, stopped in the end.

Lives here: what all brokers share. Not here: their configurations (mosquitto.py, nats.py)."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

PATIENCE_S = 10.0


class Broker:
    """One broker, which can be stopped or killed and started again with what it had kept.

    >>> with Mosquitto(tmp_path) as broker:  # doctest: +SKIP
    ...     broker.publish("a/b", "x", "--qos", "1")
    """

    program: ClassVar[str]

    def __init__(self, folder: Path, config: str, port: int) -> None:
        """folder: for its configuration, its log and what it keeps."""
        self.folder = folder
        self.host, self.port = "127.0.0.1", port
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / f"{self.program}.conf"
        self._log = folder / f"{self.program}.log"
        self._config.write_text(config)

    def start(self) -> None:
        """Returns when it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self.program, "-c", self._config], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"{self.program} does not start: {self._log.read_text()}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM lets it write what it keeps to disk; SIGKILL does not."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def publish(self, topic: str, payload: str | bytes, *options: str) -> None:
        """By mosquitto_pub, which returns when it is sent (QoS 0) or acknowledged (QoS 1)."""
        given = payload if isinstance(payload, bytes) else payload.encode()
        subprocess.run([*self.command("mosquitto_pub", topic, *options), "-s"], input=given, check=True, timeout=60)

    def publish_lines(self, topic: str, lines: list[str], *options: str) -> None:
        """Each line a message, over one connection."""
        given = "".join(f"{line}\n" for line in lines).encode()
        subprocess.run([*self.command("mosquitto_pub", topic, *options), "-l"], input=given, check=True, timeout=60)

    def command(self, program: str, topic: str, *options: str) -> list[str]:
        """A mosquitto client's command line for this broker."""
        return [program, "-h", self.host, "-p", str(self.port), "-t", topic, *options]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
