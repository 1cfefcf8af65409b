"""Currents: phases, breakers, feeds; what is found once and where, and what must not be."""

from __future__ import annotations

import numpy as np

from dcim.core.assets import AssetKey, Placement
from dcim.core.findings import Detection, FindingKind
from dcim.core.limits import Limit
from dcim.detect.electrical import Electrical
from dcim.detect.limits import Limits
from dcim.detect.norms import Learned, Norms
from tests.scenarios.full import RATING_A, Full, look, only, times
from tests.scenarios.loop import SITE

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


def _three() -> Full:
    """Three feeds of one load, each with the same breaker."""
    plant = Full(racks=1, gpus=1)
    plant.add("crah", "flow", "CRAH", "LiquidFlow")
    for number in (1, 2, 3):
        plant.meter(f"ups-{number}", ("crah",))
    plant.survey()
    return plant


THREE = _three()


def usually(plant: Full, **shares: float) -> Norms:
    """What feeds were seen to carry of what their group does."""
    points = np.array([plant[meter.replace("_", "-"), "phase A"] for meter in shares])
    learned = Learned("feed share", points, np.array(list(shares.values())), [])
    return Norms().learn([learned], 600.0).learn([learned], 600.0)


def three(shares: tuple[float, float, float], norms: Norms | None = None) -> Detection:
    """What is said of them; shares are of their ratings."""
    given = {
        (f"ups-{number}", f"phase {phase}"): share * RATING_A
        for number, share in enumerate(shares, 1)
        for phase in "ABC"
    }
    return look(Electrical(norms), THREE, given, lasts_s=300.0)


def test_three_feeds_have_a_spare_while_two_of_them_can_carry_the_load() -> None:
    assert three((0.5, 0.5, 0.5)).findings == ()
    found = only(three((0.56, 0.56, 0.5)), FindingKind.FAILOVER_OVERLOAD)
    assert (found.subject.asset, found.subject.qualifier) == ("ups-1", "ups-2, ups-3")
    assert "101 %" in found.summary
    assert sum(line.what.startswith("ups-") for line in found.evidence) == 3


def test_what_a_dead_feed_of_three_could_carry_is_not_counted_unless_it_is_a_standby() -> None:
    assert only(three((0.42, 0.42, 0.0)), FindingKind.FAILOVER_OVERLOAD)
    assert three((0.42, 0.42, 0.0), usually(THREE, ups_1=0.5, ups_2=0.5, ups_3=0.0)).findings == ()


def test_one_of_three_feeds_that_goes_dead_is_lost_and_the_others_carry() -> None:
    answer = three((0.3, 0.0, 0.3), usually(THREE, ups_1=0.33, ups_2=0.33, ups_3=0.33))
    found = {finding.kind: finding for finding in answer.findings}
    assert set(found) == {FindingKind.FEED_LOST}
    assert found[FindingKind.FEED_LOST].subject.asset == "ups-2"
    assert "the other 2 feeds" in found[FindingKind.FEED_LOST].summary


def test_a_dead_feed_whose_partner_is_not_heard_is_unknown() -> None:
    given = carried(0.0, "bus-A") | {("bus-B", f"phase {phase}"): np.nan for phase in "ABC"}
    answer = look(Electrical(), PLANT, given, lasts_s=300.0)
    assert any(
        "not heard" in u.why for u in answer.unknown if (u.kind, u.subject.asset) == (FindingKind.FEED_LOST, "bus-A")
    )


def test_a_feed_over_its_breaker_that_carries_all_alone_is_told_of_the_breaker_only() -> None:
    given = {("r-1-tap-A", f"phase {phase}"): 0.85 * RATING_A for phase in "ABC"} | carried(0.0, "r-1-tap-B")
    norms = usually(PLANT, r_1_tap_A=1.0, r_1_tap_B=0.0)
    only(look(Electrical(norms), PLANT, given, lasts_s=300.0), FindingKind.BREAKER_OVERLOADED)


def test_a_feed_that_is_judged_by_its_currents_is_not_judged_by_its_rated_power_as_well() -> None:
    plant = Full(racks=1, gpus=1)
    plant.add("plain", "power", "PowerMeter", "ActivePower")
    for meter in ("plain", "bus-A"):
        plant.placements[AssetKey(SITE, meter)] = Placement(rated_power_kw=10.0)
    plant.survey()
    limits = Limits([Limit("feed-loaded", "ActivePower", above=0.75, per_rated_power=True)])
    answer = look(limits, plant, {("plain", "power"): 55.0}, lasts_s=300.0)
    assert only(answer, FindingKind.LIMIT).subject.asset == "plain"


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
