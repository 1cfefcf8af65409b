"""A real nats-server for tests, with JetStream and its MQTT gateway: the broker that DSX Exchange uses."""

from __future__ import annotations

from pathlib import Path

from tests.broker import Broker, free_port


class Nats(Broker):
    """One gateway, on the loopback. It speaks MQTT 3.1.1 alone."""

    program = "nats-server"

    def __init__(self, folder: Path, *mqtt: str) -> None:
        """mqtt: further lines of its mqtt block."""
        port = free_port()
        lines = "\n".join(["mqtt {", f'  listen: "127.0.0.1:{port}"', *(f"  {line}" for line in mqtt), "}", ""])
        config = (
            'server_name: "gateway"\nhost: "127.0.0.1"\nport: -1\n'  # -1: any; its own clients are not wanted here
            f'jetstream {{ store_dir: "{folder}/streams" }}\n{lines}'
        )
        super().__init__(folder, config, port)
