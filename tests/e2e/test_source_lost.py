"""A broker that goes away under the running service: one alarm, which says so, and goes when the broker is back."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.contract.inside import rack_metadata, rack_value
from tests.e2e.running import serving, wait_for
from tests.mosquitto import Mosquitto


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.timeout(300)
def test_a_broker_that_is_gone_is_one_alarm_until_it_is_back(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        source = f'[[sources]]\nname = "bus"\nkind = "broker"\nsite = "titan"\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        with serving(tmp_path, source) as service:

            def standing() -> list[dict[str, Any]]:
                return list(service.get("/api/v1/alarms")["items"])

            wait_for("the subscription", lambda: service.ledger("bus")["connected"])
            for topic, body in (rack_metadata("RackPower", engUnit="kW"), rack_value("RackPower", 90)):
                broker.publish(topic, str(body).replace("'", '"'), "--qos", "1")
            wait_for("the value", lambda: service.ledger("bus")["stored"] == 2)
            assert standing() == []

            broker.stop(signal.SIGKILL)
            (alarm,) = wait_for("the alarm", standing)
            assert (alarm["rule"], alarm["state"], alarm["qualifier"]) == ("source-lost", "unacknowledged", "bus")
            shown = {line["what"]: line["shows"] for line in alarm["evidence"]}
            assert shown["What was said of it"].startswith("nobody listens there")
            assert shown["Points of the site, from any source"] == "0 of 1 heard since"
            account = service.ledger("bus")
            assert account["trouble"] == shown["What was said of it"]
            assert account["faults"]["connection_refused"] > 0

            broker.start()
            wait_for("its end", lambda: [one["state"] for one in standing()] == ["returned"], patience_s=120)
            (again,) = standing()
            assert (again["id"], again["activations"]) == (alarm["id"], 1)
