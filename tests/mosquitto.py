"""A real Mosquitto for tests: started on a free port with a configuration of its own, stopped in the end."""

from __future__ import annotations

import getpass
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

PATIENCE_S = 10.0


class Mosquitto:
    """One broker, which can be killed and started again with what it had kept.

    >>> with Mosquitto(tmp_path) as broker:  # doctest: +SKIP
    ...     broker.publish("a/b", "x", "--qos", "1")
    """

    def __init__(self, folder: Path, *settings: str, access: str = "allow_anonymous true") -> None:
        """folder: for its configuration and what it keeps. settings: further lines of mosquitto.conf; those of its
        listener, such as certfile, among them. access: who may come."""
        self.folder = folder
        self.host, self.port = "127.0.0.1", _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            "\n".join(
                [
                    f"listener {self.port} {self.host}",
                    access,
                    f"user {getpass.getuser()}",  # or root would become somebody who may not write here
                    "persistence true",
                    f"persistence_location {folder}/",
                    "autosave_interval 1",
                    "max_queued_messages 0",
                    "set_tcp_nodelay true",
                    *settings,
                    "",
                ]
            )
        )

    def start(self) -> None:
        """Returns when it accepts connections."""
        log = (self.folder / "mosquitto.log").open("ab")
        with log:
            self._process = subprocess.Popen(["mosquitto", "-c", self._config], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    told = (self.folder / "mosquitto.log").read_text()
                    raise RuntimeError(f"mosquitto does not start: {told}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM writes what it keeps to disk; SIGKILL does not."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def publish(self, topic: str, payload: str | bytes, *options: str) -> None:
        """By mosquitto_pub, which returns when it is sent (QoS 0) or acknowledged (QoS 1)."""
        subprocess.run(
            [*self.command("mosquitto_pub", topic, *options), "-s"],
            input=payload if isinstance(payload, bytes) else payload.encode(),
            check=True,
            timeout=60,
        )

    def publish_lines(self, topic: str, lines: list[str], *options: str) -> None:
        """Each line a message, over one connection."""
        subprocess.run(
            [*self.command("mosquitto_pub", topic, *options), "-l"],
            input="".join(f"{line}\n" for line in lines).encode(),
            check=True,
            timeout=60,
        )

    def command(self, program: str, topic: str, *options: str) -> list[str]:
        """A mosquitto client's command line for this broker."""
        return [program, "-h", self.host, "-p", str(self.port), "-t", topic, *options]

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
