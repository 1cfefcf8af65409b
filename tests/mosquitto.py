"""A real Mosquitto for tests."""

from __future__ import annotations

import getpass
from pathlib import Path

from tests.broker import Broker, free_port


class Mosquitto(Broker):
    """One Mosquitto, on the loopback."""

    program = "mosquitto"

    def __init__(self, folder: Path, *settings: str, access: str = "allow_anonymous true") -> None:
        """settings: further lines of mosquitto.conf; those of its listener, such as certfile, among them.
        access: who may come."""
        port = free_port()
        lines = [
            f"listener {port} 127.0.0.1",
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
        super().__init__(folder, "\n".join(lines), port)
