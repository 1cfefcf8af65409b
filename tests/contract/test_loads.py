"""Loads from meters: what is believed, what is put together, and what stays unknown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from collectors.codecs.mixed import MixedCodec
from dcim.app import planning
from dcim.app.planning import Picture, Planning
from dcim.capacity.loads import POWER_FACTOR, STALE_AFTER_S
from dcim.core.assets import AssetKey
from dcim.core.claims import Claim
from dcim.core.inventory import Origin, ThingKind
from dcim.core.live import Latest
from dcim.core.plant import survey
from dcim.core.points import PointIndex
from dcim.core.ports import Message
from dcim.core.times import to_us
from tests.capacity import SITE, say

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT3 = 3.0**0.5


def meter(asset: str, serves: Sequence[str], **values: float) -> list[tuple[str, str, dict[str, object], float]]:
    """Readings of a power meter: Voltage, PowerFactor …, or A, B, C for currents of phases."""
    return [
        ("PowerMeter", "PhaseCurrent" if name in "ABC" else name,
         {"objectId": asset, "objectName": asset, "servesId": list(serves), "engUnit": UNITS.get(name, "A"),
          **({"phase": name} if name in "ABC" else {})}, value)
        for name, value in values.items()
    ]  # fmt: skip


UNITS = {"Voltage": "V", "PowerFactor": "", "ActivePower": "kW", "ApparentPower": "kVA", "Current": "A"}


def rack(name: str, kw: float) -> list[tuple[str, str, dict[str, object], float]]:
    return [("Rack", "RackPower", {"rackLocationId": name, "rackLocationName": name, "engUnit": "kW"}, kw)]


def seen(
    *told: tuple[str, str, dict[str, object], float], claims: Sequence[Claim] = (), later_s: float = 0.0
) -> Picture:
    """The picture that these readings make, `later_s` after they came."""
    index, latest = PointIndex(), Latest()
    codec = MixedCodec(index, site=SITE, bus="bms")
    messages = []
    for number, (kind, point, fields, value) in enumerate(told):
        tail = f"{kind}/{point}/p{number}"
        described = {"objectType": kind, "pointType": point, **{k: v for k, v in fields.items() if v != ""}}
        body = {"value": value, "timestamp": to_us(AT) // 1000, "quality": 1}
        messages.append(Message(f"BMS/v1/PUB/Metadata/{tail}".encode(), json.dumps(described).encode()))
        messages.append(Message(f"BMS/v1/PUB/Value/{tail}".encode(), json.dumps(body).encode()))
    latest.take(codec.decode(messages, to_us(AT)).readings, to_us(AT))
    plant = survey(index, {})
    return Planning(claims, {}, lambda: plant, lambda: latest, lambda: AT + timedelta(seconds=later_s)).picture()


def kva(picture: Picture, feed: str) -> list[float]:
    return [float(one) for one in picture.loads.feed_kva[picture.network.feed_of[AssetKey(SITE, feed)]]]


TAP = meter("tap", ["r"], Voltage=400.0, A=100.0, B=110.0, C=120.0)


def test_phases_are_kept_apart_and_sums_run_up() -> None:
    bus = meter("bus", ["tap"], Voltage=400.0)
    picture = seen(*TAP, *bus, *rack("r", 220.0))
    per_amp = 400.0 / ROOT3 / 1_000.0
    assert kva(picture, "tap") == pytest.approx([100 * per_amp, 110 * per_amp, 120 * per_amp])
    assert kva(picture, "bus") == pytest.approx(kva(picture, "tap"))
    measured = picture.loads.feed_measured[[picture.network.feed_of[AssetKey(SITE, one)] for one in ("tap", "bus")]]
    assert measured.tolist() == [True, False]


def test_what_is_stale_is_missing() -> None:
    fresh, old = (seen(*TAP, *rack("r", 220.0), later_s=STALE_AFTER_S + by) for by in (-1.0, 1.0))
    assert fresh.loads.rack_kw[0] == 220.0
    assert np.isnan(old.loads.rack_kw[0]) and np.isnan(kva(old, "tap")).all()


def test_a_rack_without_a_meter_is_the_sum_of_its_taps() -> None:
    r = say(ThingKind.RACK, "r", hall="H")
    other = meter("other", ["r"], Voltage=400.0, Current=50.0, PowerFactor=0.9)
    picture = seen(*meter("tap", ["r"], Voltage=400.0, Current=100.0, PowerFactor=0.9), *other, claims=r)
    assert picture.loads.rack_kw[0] == pytest.approx(ROOT3 * 400.0 * 150.0 * 0.9 / 1_000.0)
    assert not picture.loads.rack_measured[0]


def test_what_a_rack_draws_beyond_its_metered_tap_is_the_other_one_s() -> None:
    tap = meter("tap", ["r"], Voltage=400.0, Current=100.0, PowerFactor=0.9)
    dark = meter("other", ["r"], Voltage=400.0)
    picture = seen(*tap, *dark, *rack("r", 100.0))
    first = ROOT3 * 400.0 * 100.0 * 0.9 / 1_000.0
    assert sum(kva(picture, "other")) * POWER_FACTOR == pytest.approx(100.0 - first)


def test_power_factors_are_measured_or_active_by_apparent_power_or_assumed() -> None:
    given = meter("a", ["x"], Voltage=400.0, PowerFactor=0.97)
    worked_out = meter("b", ["x"], Voltage=400.0, ActivePower=90.0, ApparentPower=100.0)
    neither = meter("c", ["x"], Voltage=400.0)
    picture = seen(*given, *worked_out, *neither)
    factors = {feed.id: float(picture.loads.factor[n]) for n, feed in enumerate(picture.network.feeds)}
    assert factors == pytest.approx({"a": 0.97, "b": 0.9, "c": POWER_FACTOR})


def test_a_feed_is_dead_without_voltage_unless_it_carries_a_current() -> None:
    dead = meter("dead", ["r"], Voltage=0.0, A=0.0, B=0.0, C=0.0)
    alive = meter("alive", ["r"], Voltage=0.0, A=40.0, B=40.0, C=40.0)
    volts = meter("tap", ["r"], Voltage=400.0, A=10.0, B=10.0, C=10.0)
    picture = seen(*dead, *alive, *volts, *rack("r", 30.0))
    told = {feed.id: bool(picture.loads.dead[n]) for n, feed in enumerate(picture.network.feeds)}
    assert told == {"dead": True, "alive": False, "tap": False}
    assert sum(kva(picture, "alive")) == pytest.approx(ROOT3 * 400.0 * 40.0 / 1_000.0), "at its neighbours' voltage"


@pytest.mark.parametrize(("currents", "by_phase"), [({"B": 25.0}, [0, 6, 0]), ({"Current": 25.0}, [2, 2, 2])])
def test_a_single_phase_is_counted_once(currents: dict[str, float], by_phase: list[float]) -> None:
    claims = say(ThingKind.FEED, "tap", volts=240.0, phases=1)
    picture = seen(*meter("tap", ["r"], **currents), *rack("r", 5.7), claims=claims)
    assert kva(picture, "tap") == pytest.approx(by_phase)


def test_what_serves_somebody_unheard_of_is_no_sum() -> None:
    picture = seen(*TAP, *meter("bus", ["tap", "unheard-of"], Voltage=400.0), *rack("r", 220.0))
    assert np.isnan(kva(picture, "bus")).all()


def test_the_bus_says_what_a_breaker_is_rated_for() -> None:
    limit = meter("tap", ["r"], CurrentLimit=250.0)
    picture = seen(*TAP, *limit, *rack("r", 220.0), claims=say(ThingKind.FEED, "tap", rated_a=200.0))
    assert picture.inventory.feeds[AssetKey(SITE, "tap")].rated_a == 200.0
    assert [conflict.said for conflict in picture.inventory.conflicts] == [((Origin.TOML, "200"), (Origin.BUS, "250"))]


def test_limits_are_made_once_and_when_somebody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    find = planning.find_limits

    def counted(*of: Any) -> Any:
        made.append(of)
        return find(*of)

    monkeypatch.setattr(planning, "find_limits", counted)
    picture = seen(*TAP, *rack("r", 70.0))
    assert picture.loads.rack_kw.tolist() == [70.0]
    assert not made
    with ThreadPoolExecutor(4) as threads:
        limits = list(threads.map(lambda _: picture.limits, range(8)))
    assert len(made) == 1
    assert all(one is picture.limits for one in limits)
