"""Faults under load, with real parts: the service killed, the broker restarted, gone, or a NATS gateway; TLS; a shared
subscription of which one half dies. What was acknowledged to a sender is in the store, and the ledger balances."""

from __future__ import annotations

import contextlib
import random
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from collectors.mqtt import tls
from dcim.core.times import from_us, now
from dcim.store.embedded import EmbeddedStore
from tests import certificates
from tests.broker import Broker
from tests.e2e.running import Running, free_port, serving, wait_for
from tests.load import Load, describe, key
from tests.mosquitto import Mosquitto
from tests.nats import Nats

pytestmark = [pytest.mark.mosquitto, pytest.mark.slow, pytest.mark.timeout(900)]

POINTS = 200
RATE = 4_000.0
"""Messages a second, of each load: enough that a batch is always under way."""
LATER = now().replace(year=2200)


def bus(broker: Broker, name: str = "bus", **settings: str) -> str:
    """A subscription. Its points are those of its own bus."""
    lines = {"url": f"mqtt://127.0.0.1:{broker.port}", "bus": name} | settings
    told = "".join(f'{setting} = "{value}"\n' for setting, value in lines.items())
    return f'[[sources]]\nname = "{name}"\nkind = "broker"\nsite = "s"\n{told}'


def ear(port: int, more: str = "") -> str:
    return f'[[sources]]\nname = "ear"\nkind = "listener"\nsite = "s"\nbus = "ear"\nbind = "127.0.0.1:{port}"\n{more}'


def connected(service: Running, *sources: str) -> None:
    for source in sources:
        wait_for(f"{source} to be connected", lambda source=source: service.ledger(source)["connected"])


def drained(service: Running, broker: Broker, source: str) -> None:
    """Waits until all that was published before is in the store: what comes last is a message that is put aside."""
    before = service.ledger(source)["reasons"].get("topic_unknown", 0)
    broker.publish("BMS/v1/the/end", "x", "-q", "1", "-V", "mqttv311")
    wait_for("the last message", lambda: service.ledger(source)["reasons"].get("topic_unknown", 0) > before, 240)


@contextlib.contextmanager
def loading(port: int, tls_context: ssl.SSLContext | None = None, rate: float = RATE) -> Iterator[Load]:
    """A load that is described and begun."""
    describe("127.0.0.1", port, POINTS, tls=tls_context)
    load = Load("127.0.0.1", port, POINTS, rate, tls_context)
    load.start()
    try:
        yield load
    finally:
        load.finish()


def more(load: Load, count: int) -> None:
    """Waits until so many more messages are acknowledged."""
    goal = load.acknowledged + count
    wait_for(f"{count} more acknowledgements", lambda: load.acknowledged >= goal)


def kept(folder: Path, load: Load, of: str) -> pl.DataFrame:
    """What the store of a service that has ended holds of a load: point of the load, time in microseconds, value."""
    with EmbeddedStore(folder / "telemetry.duckdb", now) as store:
        assert store.damage is None
        ids = {record.key: record.id for record in store.recall()}
        number = {ids[key(point, "s", of)]: point for point in range(POINTS) if key(point, "s", of) in ids}
        # Further back than readings are kept as they came, there would be means of minutes.
        frame = store.window(list(number), from_us(load.base_ms * 1000) - timedelta(days=1), LATER)
        assert not any(store.held().get(point, 0) for point in number)
    points = frame["point"].replace_strict(number, return_dtype=pl.Int64) if number else frame["point"].cast(pl.Int64)
    return pl.DataFrame({"point": points, "time": frame["time"].dt.epoch("us"), "value": frame["value"]})


def expect_all(load: Load, *stores: pl.DataFrame) -> None:
    """Every acknowledged message is in one store, with its value, once; besides, only what was not acknowledged yet."""
    frame = pl.concat(stores)
    assert frame.select("point", "time").is_duplicated().sum() == 0
    points, times, values = load.expected()
    assert len(points) > 0
    wanted = pl.DataFrame({"point": points, "time": times, "wanted": values})
    joined = wanted.join(frame, on=["point", "time"], how="left")
    assert joined["value"].null_count() == 0, f"{joined['value'].null_count()} acknowledged messages are missing"
    np.testing.assert_allclose(joined["value"].to_numpy(), joined["wanted"].to_numpy(), atol=1e-9)
    extra = frame.join(wanted, on=["point", "time"], how="anti")
    assert (extra["time"] >= times[-1] - 1000).all()


def stop(service: Running, *sources: str) -> None:
    """The ledger of every source balances, and the service ends in order."""
    for source in sources:
        account = service.ledger(source)  # which checks the balance
        assert (
            account["received"] == account["stored"] + account["duplicate"] + account["rejected"] + account["pending"]
        )
    assert service.stop() == 0


def test_killed_ten_times_under_load(tmp_path: Path) -> None:
    dice = random.Random(1)
    port = free_port()
    # What waits at the broker is not saved every second: that would keep it busier than we do.
    with (
        Mosquitto(tmp_path, "autosave_interval 0") as broker,
        serving(tmp_path, bus(broker) + ear(port)) as service,
    ):
        connected(service, "bus", "ear")
        with loading(broker.port, rate=1_500) as through_broker, loading(port) as straight:
            for _ in range(10):
                more(straight, 1_000)
                time.sleep(dice.random() * 0.3)  # somewhere in a batch, a commit, an acknowledgement
                service.kill()
                service.start()
                connected(service, "bus", "ear")
        assert straight.connections >= 10
        drained(service, broker, "bus")
        stop(service, "bus", "ear")
    expect_all(straight, kept(tmp_path, straight, "ear"))
    expect_all(through_broker, kept(tmp_path, through_broker, "bus"))


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_broker_that_restarts_and_then_is_gone_for_a_while(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path) as broker, serving(tmp_path, bus(broker, version=version)) as service:
        connected(service, "bus")
        with loading(broker.port) as load:
            more(load, 8_000)
            broker.stop()
            broker.start()
            more(load, 8_000)
            broker.stop()
            wait_for("the loss to be noticed", lambda: not service.ledger("bus")["connected"])
            wait_for("four more attempts", lambda: service.ledger("bus")["faults"].get("connection_refused", 0) >= 4)
            broker.start()
            connected(service, "bus")
            more(load, 8_000)
        drained(service, broker, "bus")
        faults = service.ledger("bus")["faults"]
        assert faults["connection_lost"] == 2
        stop(service, "bus")
    assert "had not kept our session" not in (tmp_path / "serve.log").read_text()
    expect_all(load, kept(tmp_path, load, "bus"))


def test_two_collectors_share_a_subscription_and_one_is_killed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with Mosquitto(tmp_path) as broker, contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(serving(folder, bus(broker, share="hall", client_id=f"dcim-{folder.name}")))
            for folder in folders
        ]
        for service in services:
            connected(service, "bus")
            # Of a shared description only one of the two would hear: each gets all of them for itself.
        one, two = services
        with loading(broker.port) as load:
            more(load, 8_000)
            two.kill()
            before = one.ledger("bus")["received"]
            more(load, 8_000)
            wait_for("the one that is left to go on", lambda: one.ledger("bus")["received"] > before + 1_000)
            two.start()
            connected(two, "bus")
            more(load, 8_000)
        for _ in range(2):  # the end goes to one of them, and the next to the other
            broker.publish("BMS/v1/the/end", "x", "-q", "1")
        wait_for(
            "both ends",
            lambda: all(service.ledger("bus")["reasons"].get("topic_unknown") for service in services),
        )
        for service in services:
            assert service.ledger("bus")["kinds"]["metadata"]["stored"] == POINTS  # each knows every point
            stop(service, "bus")
    stores = [kept(folder, load, "bus") for folder in folders]
    assert min(len(frame) for frame in stores) > 2_000
    expect_all(load, *stores)


def test_tls_both_ways_and_a_kill(tmp_path: Path) -> None:
    pem = certificates.make(tmp_path)
    port = free_port()
    ours = f'tls.ca_file = "{pem.ca}"\ntls.cert_file = "{pem.client}"\ntls.key_file = "{pem.client_key}"\n'
    listening = f'tls.ca_file = "{pem.ca}"\ntls.cert_file = "{pem.server}"\ntls.key_file = "{pem.server_key}"\n'
    secure = (f"cafile {pem.ca}", f"certfile {pem.server}", f"keyfile {pem.server_key}", "require_certificate true")
    client = ("--cafile", str(pem.ca), "--cert", str(pem.client), "--key", str(pem.client_key))
    theirs = tls.client_context(pem.ca, pem.client, pem.client_key)
    with Mosquitto(tmp_path, *secure) as broker:
        sources = bus(broker, url=f"mqtts://127.0.0.1:{broker.port}") + ours + ear(port, listening)
        with serving(tmp_path, sources) as service:
            connected(service, "bus", "ear")
            with loading(broker.port, theirs) as through_broker, loading(port, theirs) as straight:
                more(straight, 4_000)
                service.kill()
                service.start()
                connected(service, "bus", "ear")
                more(straight, 4_000)
                more(through_broker, 4_000)
            broker.publish("BMS/v1/the/end", "x", "-q", "1", *client)
            wait_for("the last message", lambda: service.ledger("bus")["reasons"].get("topic_unknown"))
            stop(service, "bus", "ear")
    expect_all(straight, kept(tmp_path, straight, "ear"))
    expect_all(through_broker, kept(tmp_path, through_broker, "bus"))


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_session_is_kept_while_the_service_is_down(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path) as broker, serving(tmp_path, bus(broker, version=version)) as service:
        connected(service, "bus")
        with loading(broker.port) as load:
            more(load, 4_000)
            assert service.stop() == 0
            more(load, 8_000)
            broker.stop()  # what it keeps for us outlives it too
            broker.start()
            more(load, 4_000)
            service.start()
            connected(service, "bus")
            more(load, 4_000)
        drained(service, broker, "bus")
        stop(service, "bus")
    expect_all(load, kept(tmp_path, load, "bus"))


@pytest.mark.nats
def test_at_a_nats_gateway_killed_and_restarted(tmp_path: Path) -> None:
    with Nats(tmp_path) as gateway:
        describe("127.0.0.1", gateway.port, POINTS, retain=True)  # as a building's bus does: before anybody listens
        with serving(tmp_path, bus(gateway, version="3.1.1")) as service:
            connected(service, "bus")
            wait_for("the descriptions", lambda: service.ledger("bus")["kinds"]["metadata"]["stored"] == POINTS)
            with loading(gateway.port, rate=1_500) as load:
                more(load, 3_000)
                service.kill()
                service.start()
                connected(service, "bus")
                more(load, 3_000)
                gateway.stop()
                gateway.start()
                connected(service, "bus")
                more(load, 3_000)
            drained(service, gateway, "bus")
            stop(service, "bus")
    expect_all(load, kept(tmp_path, load, "bus"))
