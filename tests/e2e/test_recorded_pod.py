"""The recorded pod through the whole system: over a real broker and over our own ear, twice, and through kill -9."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import DCIM, Running, free_port, replay, serving, wait_for

START = "2026-11-23T12:00:00Z"


@pytest.fixture
def recording(recordings: Path) -> Path:
    return recordings / "dsx" / "dsx_exemplar.csv"


@pytest.fixture
def ear_port() -> int:
    return free_port()


@pytest.fixture
def service(tmp_path: Path, ear_port: int) -> Iterator[Running]:
    with serving(tmp_path, ear(ear_port)) as running:
        yield running


def ear(port: int) -> str:
    return f'[[sources]]\nname = "ear"\nkind = "listener"\nsite = "titan"\nbind = "127.0.0.1:{port}"\n'


def counts(account: dict[str, int]) -> tuple[int, int, int, int, int]:
    return tuple(account[key] for key in ("received", "stored", "duplicate", "rejected", "pending"))  # type: ignore[return-value]  # five keys, five numbers


@pytest.mark.slow
def test_the_pod_through_our_ear(service: Running, ear_port: int, recording: Path) -> None:
    to = f"mqtt://127.0.0.1:{ear_port}"
    assert replay(str(recording), "--to", to, "--once", "--speed", "0", "--start", START).returncode == 0
    account = service.ledger("ear")
    assert counts(account) == (4_711, 4_711, 0, 0, 0)
    assert account["kinds"]["metadata"]["received"] == 166
    assert account["kinds"]["value"]["received"] == 4_545

    points = service.get("/api/v1/points")
    assert points["total"] == len(points["items"]) == 166
    assert all(point["unit_known"] for point in points["items"])
    assets = {asset["id"]: asset for asset in service.get("/api/v1/assets")["items"]}
    assert sorted(name for name, asset in assets.items() if asset["kind"] == "Rack") == [
        f"Pod1C-E0{number}" for number in range(1, 7)
    ]
    assert [name for name, asset in assets.items() if asset["kind"] == "CDU"] == ["C-F00-CDU-05"]
    assert sorted(name for name, asset in assets.items() if asset["kind"] == "PowerMeter") == [
        "C-E-BUS-E1",
        "C-E-BUS-E2",
        "C-E05-TAP-E1",
        "C-E05-TAP-E2",
    ]

    cdu = service.get("/api/v1/assets/C-F00-CDU-05")
    assert set(cdu["feeds"]["coolant"]) == {f"Pod1C-{row}0{n}" for row in "EF" for n in range(2, 7)}
    edges = service.get("/api/v1/topology")["edges"]
    assert {edge["fed"] for edge in edges if edge["feeder"] == "C-E-BUS-E1"} == {
        f"C-E0{number}-TAP-E1" for number in range(1, 7)
    }
    assert {"site": "titan", "feeder": "C-E05-TAP-E1", "fed": "Pod1C-E05", "medium": "power"} in edges

    supply = service.get("/api/v1/points?asset=C-F00-CDU-05&quantity=LiquidTemperature")["items"]
    places = {(point["loop"], point["side"], point["setpoint"]) for point in supply}
    assert places >= {("primary", "supply", False), ("secondary", "return", False), ("secondary", "supply", True)}
    flow = service.get("/api/v1/points?asset=C-F00-CDU-05&quantity=LiquidFlow")["items"]
    assert {(point["loop"], point["unit"]) for point in flow} == {("primary", "L/min"), ("secondary", "L/min")}

    again = replay(str(recording), "--to", to, "--once", "--speed", "0", "--start", START)
    assert again.returncode == 0
    assert counts(service.ledger("ear")) == (9_422, 4_711, 4_711, 0, 0)
    assert rows_kept(service) == 4_545


@pytest.mark.mosquitto
@pytest.mark.slow
def test_the_pod_through_a_broker_and_an_ear_is_one_pod(tmp_path: Path, ear_port: int, recording: Path) -> None:
    broker_port = free_port()
    broker = subprocess.Popen(
        ["mosquitto", "-p", str(broker_port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    subscription = (
        f'[[sources]]\nname = "bus"\nkind = "broker"\nsite = "titan"\nurl = "mqtt://127.0.0.1:{broker_port}"\n'
    )
    try:
        with serving(tmp_path, subscription + ear(ear_port)) as service:
            wait_for("the subscription", lambda: service.ledger("bus")["connected"])
            for port in (broker_port, ear_port):
                to = f"mqtt://127.0.0.1:{port}"
                assert replay(str(recording), "--to", to, "--once", "--speed", "0", "--start", START).returncode == 0
            wait_for("the broker's share", lambda: service.ledger("bus")["received"] >= 4_711)
            assert counts(service.ledger("bus")) == (4_711, 4_711, 0, 0, 0)
            assert counts(service.ledger("ear")) == (4_711, 0, 4_711, 0, 0)
            assert service.get("/api/v1/points")["total"] == 166
            assert rows_kept(service) == 4_545
            assert service.stop() == 0
    finally:
        broker.terminate()
        broker.wait()


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nothing_that_was_acknowledged(
    service: Running, ear_port: int, recording: Path
) -> None:
    # 99 s of recording in 10 s: the service dies in the middle, the replay waits for it and goes on.
    publishing = subprocess.Popen(
        [*DCIM, "replay", str(recording), "--to", f"mqtt://127.0.0.1:{ear_port}", "--once", "--speed", "10",
         "--start", START],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_for("a part of the replay", lambda: service.ledger("ear")["received"] > 1_500)
        service.kill()
        service.start()
        _, _ = publishing.communicate(timeout=120)
        assert publishing.returncode == 0
    finally:
        if publishing.poll() is None:
            publishing.kill()
            publishing.communicate()
    assert service.get("/api/v1/points")["total"] == 166
    assert rows_kept(service) == 4_545
    service.ledger("ear")


def rows_kept(service: Running) -> int:
    """Readings in the store, counted through the API."""
    points = ",".join(str(point["id"]) for point in service.get("/api/v1/points")["items"])
    query = "&".join(f"point={number}" for number in points.split(","))
    answer = service.get(f"/api/v1/readings?start=2026-11-23T00:00:00Z&end=2026-11-24T00:00:00Z&{query}")
    return sum(len(series["times"]) for series in answer["series"])


def test_the_recording_is_what_these_tests_think(recording: Path) -> None:
    topics = [row[1] for row in csv.reader(io.StringIO(recording.read_text()))][1:]
    assert len({topic.replace("/Metadata/", "/Value/") for topic in topics}) == 166
