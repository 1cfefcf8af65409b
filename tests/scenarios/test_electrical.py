"""Currents: phases, breakers, feeds; what is found once and where, and what must not be."""

from __future__ import annotations

import numpy as np

from dcim.core.findings import FindingKind
from dcim.detect.electrical import Electrical
from tests.scenarios.full import RATING_A, Full, look, only, times

PLANT = Full(racks=4, gpus=1)
LASTS = times(300.0)


def carried(share: float, *meters: str) -> dict[tuple[str, str], float]:
    """Meters that carry a share of what is healthy."""
    return {
        (meter, f"phase {phase}"): share * PLANT.value(meter, f"phase {phase}") for meter in meters for phase in "ABC"
    }


def on_feed(feed: str) -> list[str]:
    return [f"bus-{feed}", *(f"{rack}-tap-{feed}" for rack in PLANT.racks)]


def test_a_healthy_plant_is_quiet() -> None:
    answer = look(Electrical(), PLANT, lasts_s=300.0)
    assert answer.findings == ()
    assert not answer.between
    assert not answer.unknown


def test_twenty_percent_more_on_one_phase_is_an_imbalance() -> None:
    uneven = {("r-1-tap-A", "phase B"): 1.25 * PLANT.value("r-1-tap-A", "phase B")}
    found = only(look(Electrical(), PLANT, uneven, lasts_s=300.0), FindingKind.PHASE_IMBALANCE)
    assert found.subject.asset == "r-1-tap-A"
    assert "phase B" in found.summary


def test_an_idle_meter_has_no_imbalance() -> None:
    idle = {("r-1-tap-A", f"phase {phase}"): amps for phase, amps in zip("ABC", (5.5, 9.0, 20.0), strict=True)}
    assert look(Electrical(), PLANT, idle, lasts_s=300.0).findings == ()


def test_a_lost_phase_is_told_at_the_uppermost_meter_and_not_as_an_imbalance() -> None:
    lost = {(meter, "phase C"): 0.0 for meter in on_feed("A")}
    found = only(look(Electrical(), PLANT, lost, lasts_s=300.0), FindingKind.PHASE_LOST)
    assert found.subject.asset == "bus-A"


def test_a_breaker_is_loaded_at_75_and_overloaded_at_80_percent() -> None:
    def at_share(share: float) -> list[FindingKind]:
        given = {("r-1-tap-A", f"phase {phase}"): share * RATING_A for phase in "ABC"}
        given |= {("r-1-tap-B", f"phase {phase}"): 5.5 for phase in "ABC"}
        return [finding.kind for finding in look(Electrical(), PLANT, given, lasts_s=300.0).findings]

    assert at_share(0.70) == []
    assert at_share(0.77) == [FindingKind.BREAKER_LOADED]
    assert FindingKind.BREAKER_OVERLOADED in at_share(0.83)
    assert FindingKind.BREAKER_LOADED not in at_share(0.83)


def test_two_feeds_that_one_could_not_carry_are_no_pair() -> None:
    heavy = {(f"r-2-tap-{feed}", f"phase {phase}"): 0.45 * RATING_A for feed in "AB" for phase in "ABC"}
    found = only(look(Electrical(), PLANT, heavy, lasts_s=300.0), FindingKind.FAILOVER_OVERLOAD)
    assert {found.subject.asset, found.subject.qualifier} == {"r-2-tap-A", "r-2-tap-B"}


def lost_feed(at_s: float) -> dict[tuple[str, str], np.ndarray]:
    given = {}
    for feed, share in (("A", 0.0), ("B", 2.0)):
        for meter in on_feed(feed):
            for phase in "ABC":
                healthy = PLANT.value(meter, f"phase {phase}")
                given[meter, f"phase {phase}"] = np.where(at_s > LASTS, healthy, share * healthy)
    return given


def test_a_lost_feed_is_one_finding_at_its_head_and_since_when() -> None:
    found = only(look(Electrical(), PLANT, lost_feed(200.0), lasts_s=300.0), FindingKind.FEED_LOST)
    assert found.subject.asset == "bus-A"
    assert "bus-B" in found.summary
    assert abs((found.since.minute * 60 + found.since.second) - 200) <= 5


def test_a_feed_that_was_never_seen_to_carry_is_unknown_and_a_known_standby_is_fine() -> None:
    dead = look(Electrical(), PLANT, lost_feed(0.0), lasts_s=300.0)
    assert dead.findings == ()
    assert any("whether it usually does" in unknown.why for unknown in dead.unknown)
    detector = Electrical()
    for lasts_s in (300.0, 600.0, 900.0, 1_200.0):
        given = carried(0.0, *on_feed("A")) | carried(2.0, *on_feed("B"))
        answer = look(detector, PLANT, given, lasts_s=lasts_s)
        detector.learn(frozenset())
    assert answer.findings == ()
    standby = look(detector, PLANT, carried(0.0, *on_feed("A")) | carried(2.0, *on_feed("B")), lasts_s=1_500.0)
    assert not any(u.kind is FindingKind.FEED_LOST for u in standby.unknown)


def test_a_lost_feed_stays_found_when_the_window_has_forgotten_it() -> None:
    detector = Electrical()
    for lasts_s in (300.0, 900.0, 1_500.0):
        look(detector, PLANT, lasts_s=lasts_s)
        detector.learn(frozenset())
    for lasts_s in (2_100.0, 4_000.0):
        given = carried(0.0, *on_feed("A")) | carried(2.0, *on_feed("B"))
        found = only(look(detector, PLANT, given, lasts_s=lasts_s), FindingKind.FEED_LOST)
        detector.learn(frozenset())
        assert found.subject.asset == "bus-A"


def test_racks_that_were_switched_off_have_lost_no_feed() -> None:
    off = carried(0.0, "r-0-tap-A", "r-0-tap-B") | carried(0.75, "bus-A", "bus-B")
    assert look(Electrical(), PLANT, off, lasts_s=300.0).findings == ()


def test_load_steps_of_half_are_none_of_these() -> None:
    meters = [*on_feed("A"), *on_feed("B")]
    for share in (0.5, 1.2):
        series = np.where(LASTS < 150.0, 1.0, share)
        given = {
            (meter, f"phase {phase}"): series * PLANT.value(meter, f"phase {phase}")
            for meter in meters
            for phase in "ABC"
        }
        assert look(Electrical(), PLANT, given, lasts_s=300.0).findings == ()


def test_without_a_rating_it_is_unknown() -> None:
    answer = look(Electrical(), PLANT, {("r-0-tap-A", "limit"): 0.0}, lasts_s=300.0)
    kinds = {unknown.kind for unknown in answer.unknown if unknown.subject.asset == "r-0-tap-A"}
    assert {FindingKind.BREAKER_LOADED, FindingKind.PHASE_LOST} <= kinds
