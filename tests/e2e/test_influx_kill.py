"""The service in front of a server that fails all the time, killed and started again: what it acknowledged arrives."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.e2e.insistent import Publisher
from tests.e2e.running import free_port, serving, wait_for
from tests.e2e.test_ledger_kill import WINDOW, Traffic
from tests.influx_faults import BREAK_LATE, UNAVAILABLE, Answer, InfluxFaults

KILLS = 4


def fails(number: int, lines: list[str]) -> Answer | None:
    if number % 7 == 3:
        return UNAVAILABLE
    return BREAK_LATE if number % 11 == 5 else None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_acknowledged_reaches_the_server_whatever_is_killed(tmp_path: Path) -> None:
    rng = random.Random(7)
    port = free_port()
    ear = f'[[sources]]\nname = "ear"\nkind = "listener"\nsite = "titan"\nbind = "127.0.0.1:{port}"\n'
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    traffic = Traffic()
    with InfluxFaults() as server:
        server.schedule = fails
        store = f"""kind = "influx"
        [store.influx]
        url = "{server.url}"
        org = "org"
        token_file = "{token}"
        spool_folder = "{tmp_path}/influx"
        [store.retention]
        raw_days = 36500
        minute_days = 36500
        hour_days = 36500
        """
        with serving(tmp_path, ear, store=store) as service, Publisher(port, traffic, WINDOW) as publisher:
            for kill in range(KILLS):
                before = len(publisher.acknowledged)
                wait_for("acknowledgements", lambda: len(publisher.acknowledged) > before + WINDOW)  # noqa: B023
                if kill == 1:
                    server.stop()
                    wait_for("acknowledgements", lambda: len(publisher.acknowledged) > before + 3 * WINDOW)  # noqa: B023
                time.sleep(rng.random() * 0.15)  # not to wait for anything: to be anywhere in a batch
                service.kill()
                service.start()
                if kill == 2:
                    server.start()
                    traffic.described_from = publisher.sent + WINDOW
            sent = publisher.finish()
            assert publisher.acknowledged == set(range(sent))
            wait_for("the rest", lambda: service.get("/api/v1/ledger")["store"]["backlog"]["waiting"] == 0)
            found = service.ledger("ear")
            assert found["pending"] == 0
        readings = [key for key in server.rows if ",point=" in key[0]]  # the rest are facts for boards
        times = {time // 1000 for _, time in readings}
        assert times == traffic.times_of_values(publisher.acknowledged)
        assert len(readings) == len(times)
        assert [line for line in server.changed if ",point=" in line] == []
        # What comes again while the server cannot be asked is counted as stored, and found out later.
        assert found["kinds"]["value"]["stored"] >= len(times)
        assert not any("point=#" in head for head, _ in readings), "every point is known by its name"
