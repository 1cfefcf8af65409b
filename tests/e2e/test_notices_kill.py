"""kill -9 while a notice is on its way: it is sent after the restart, as the same message."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dcim.core.times import now, to_us
from tests.contract.inside import LEAK_WORDS
from tests.e2e.insistent import Publisher
from tests.e2e.running import free_port, serving, wait_for
from tests.receivers import secret


class Receiver:
    """Takes every message, but answers only once it is told to."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.answers = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[int]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.answers.wait(60)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                self.answers.set()
                server.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_may_have_been_sent_is_sent_again_as_the_same_message(tmp_path: Path) -> None:
    port, start_ms, receiver = free_port(), to_us(now()) // 1000, Receiver()
    secret(tmp_path, "open sesame")
    described = {"objectType": "Rack", "pointType": "RackLeakDetect", "rackLocationId": "R1", "stateText": LEAK_WORDS}

    def message(number: int) -> tuple[bytes, bytes]:
        if number == 0:
            return b"BMS/v1/PUB/Metadata/Rack/RackLeakDetect/R1/leak", json.dumps(described).encode()
        value = {"value": int(number > 1), "timestamp": start_ms + number, "quality": 1}
        return b"BMS/v1/PUB/Value/Rack/RackLeakDetect/R1/leak", json.dumps(value).encode()

    with receiver.listening() as hook:
        settings = f"""
        [[sources]]
        name = "ear"
        kind = "listener"
        site = "titan"
        bind = "127.0.0.1:{port}"
        [[notices.receivers]]
        name = "night"
        kind = "webhook"
        url = "http://127.0.0.1:{hook}/"
        secret_file = "{tmp_path / "secret"}"
        [[notices.routes]]
        receivers = ["night"]
        kinds = ["leak_wet"]
        """
        with serving(tmp_path, settings) as service:
            with Publisher(port, message, 4) as publisher:
                wait_for("acknowledgements", lambda: len(publisher.acknowledged) > 4)
                wait_for("the message", lambda: receiver.taken)
            service.kill()
            receiver.answers.set()
            service.start()
            wait_for("the message again", lambda: len(receiver.taken) > 1)
            first, again = receiver.taken[:2]
            assert again == first
            assert [news["news"] for news in first["news"]] == ["began"]
            assert first["news"][0]["alarm"] in {alarm["id"] for alarm in service.get("/api/v1/alarms")["items"]}
