"""How alarms go, second by second, under the shipped rules: each test reads like the report of an incident."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.lifecycle import Assign, BringBack, Close, ClosingCause, Comment, TakeOut, Unshelve
from dcim.core.findings import FindingKind
from tests.scenarios.timeline import Timeline, dry, gone, hovers, stands, unclear, wet

FLOW = FindingKind.FLOW_LOST
WARM = "rack-supply-temperature-high"  # on-delay 120 s, off-delay 30 s


def test_a_wet_sensor_is_told_at_once_and_becomes_critical_after_thirty_seconds(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.expect_record(
        ["00:10 rack-7 rack-leak-wet activated, high", "00:40 rack-7 rack-leak-wet escalated, critical"]
    )


def test_a_blip_of_twenty_seconds_is_on_record_and_never_critical(plant: Timeline) -> None:
    plant.at("03:17", wet("rack-7"))
    plant.expect("03:17", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.at("03:37", dry("rack-7"))
    plant.expect("03:42", alarms=["rack-7 rack-leak-wet: returned, high"])  # off-delay 5 s
    plant.acknowledge("08:00", "rack-7", by="ana")
    plant.expect("08:00", alarms=[])
    plant.expect_record(
        [
            "03:17 rack-7 rack-leak-wet activated, high",
            "03:42 rack-7 rack-leak-wet returned, high",
            "08:00 rack-7 rack-leak-wet acknowledged, high by ana",
        ]
    )


def test_a_second_sensor_makes_it_critical_before_the_thirty_seconds(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.at("00:14", wet("rack-7", confidence=0.95))
    plant.expect("00:14", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.at("00:16", wet("rack-7"))  # less sure again: a priority does not fall by itself


def test_two_signals_from_the_start_are_critical_from_the_start(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7", confidence=0.95))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.expect_record(["00:10 rack-7 rack-leak-wet activated, critical"])


def test_whoever_acknowledged_high_is_asked_again_when_it_becomes_critical(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.acknowledge("00:20", "rack-7", by="ana")
    plant.expect("00:20", alarms=["rack-7 rack-leak-wet: acknowledged, high"])
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.acknowledge("00:50", "rack-7", by="ana")
    plant.expect("00:50", alarms=["rack-7 rack-leak-wet: acknowledged, critical"])


def test_a_drop_that_flutters_on_the_contact_is_one_alarm(plant: Timeline) -> None:
    for second in range(10, 50, 4):
        plant.at(f"00:{second}", wet("rack-7"))
        plant.at(f"00:{second + 2}", dry("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])  # gaps of 2 s do not interrupt
    plant.expect("00:53", alarms=["rack-7 rack-leak-wet: returned, critical"])  # dry at 00:48, off-delay 5 s


def test_what_is_gone_does_not_escalate_while_its_off_delay_runs(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.at("00:38", dry("rack-7"))
    plant.expect("00:43", alarms=["rack-7 rack-leak-wet: returned, high"])


def test_acknowledged_and_then_gone_leaves_the_list(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.acknowledge("00:15", "rack-7", by="ana")
    plant.expect("00:15", alarms=["rack-7 rack-leak-wet: acknowledged, high"])
    plant.acknowledge("00:16", "rack-7", by="ben", refused="acknowledged by ana")
    plant.at("00:20", dry("rack-7"))
    plant.expect("00:25", alarms=[])


def test_a_returned_alarm_that_comes_again_alarms_again_and_is_the_same_occurrence(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.at("00:15", dry("rack-7"))
    plant.expect("00:20", alarms=["rack-7 rack-leak-wet: returned, high"])
    plant.at("01:00", wet("rack-7"))
    plant.expect("01:00", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.expect("01:30", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.at("01:40", dry("rack-7"))
    plant.expect("01:45", alarms=["rack-7 rack-leak-wet: returned, critical"])
    plant.at("02:00", wet("rack-7"))
    plant.expect("02:00", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])  # it was, and nobody has looked


def test_a_warm_supply_must_stand_for_two_minutes(plant: Timeline) -> None:
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.at("02:09", gone(WARM, "rack-7"))
    plant.at("03:00", stands(WARM, "rack-7"))
    plant.expect("04:59", alarms=[])
    plant.expect("05:00", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.at("06:00", gone(WARM, "rack-7"))
    plant.at("06:29", stands(WARM, "rack-7"))
    plant.at("07:00", gone(WARM, "rack-7"))
    plant.expect("07:30", alarms=["rack-7 rack-supply-temperature-high: returned, medium"])


def test_inside_the_deadband_what_stands_stands_and_what_does_not_does_not_begin(plant: Timeline) -> None:
    plant.at("00:00", hovers(WARM, "rack-8"))
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.expect("02:10", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.at("03:00", hovers(WARM, "rack-7"))
    plant.at("09:00", gone(WARM, "rack-7"))
    plant.expect("09:30", alarms=["rack-7 rack-supply-temperature-high: returned, medium"])


def test_what_cannot_be_told_is_held_and_says_so(plant: Timeline) -> None:
    plant.at("00:05", unclear(FindingKind.LEAK_WET, "rack-8"))  # nothing stands there, and nothing begins
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.at("00:20", unclear(FindingKind.LEAK_WET, "rack-7"))
    plant.expect("00:20", alarms=["rack-7 rack-leak-wet: unacknowledged, high, cannot tell"])
    # A wet sensor that falls silent was wet when last heard: it goes on to critical.
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: unacknowledged, critical, cannot tell"])
    plant.at("05:00", dry("rack-7"))
    plant.expect("05:00", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.expect("05:05", alarms=["rack-7 rack-leak-wet: returned, critical"])


def test_a_delay_does_not_run_out_while_nobody_can_tell(plant: Timeline) -> None:
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.at("01:00", unclear(WARM, "rack-7"))
    plant.at("04:00", gone(WARM, "rack-7"))
    plant.at("05:00", stands(WARM, "rack-7"))
    plant.at("06:00", unclear(WARM, "rack-7"))
    plant.expect("07:59", alarms=[])
    plant.at("08:00", stands(WARM, "rack-7"))
    plant.expect("08:00", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.at("08:10", gone(WARM, "rack-7"))
    plant.at("08:20", unclear(WARM, "rack-7"))
    plant.expect("08:20", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium, cannot tell"])
    plant.at("09:00", gone(WARM, "rack-7"))
    plant.expect("09:00", alarms=["rack-7 rack-supply-temperature-high: returned, medium"])


def test_a_latched_alarm_stays_until_a_person_resets_it(plant: Timeline) -> None:
    plant.rules(
        """
        [[rule]]
        name = "burst"
        title = "Burst at {asset}"
        finding = "flow_lost"
        priority = "critical"
        latch = true
        """
    )
    plant.at("00:10", stands(FindingKind.FLOW_LOST, "rack-7"))
    plant.expect("00:10", alarms=["rack-7 burst: unacknowledged, critical"])
    plant.at("00:20", gone(FindingKind.FLOW_LOST, "rack-7"))
    plant.expect("00:20", alarms=["rack-7 burst: latched unacknowledged, critical"])
    plant.reset("00:25", "rack-7", by="ana", refused="is latched_unacknowledged")
    plant.acknowledge("00:30", "rack-7", by="ana")
    plant.expect("00:30", alarms=["rack-7 burst: latched acknowledged, critical"])
    plant.at("00:40", stands(FindingKind.FLOW_LOST, "rack-7"))
    plant.expect("00:40", alarms=["rack-7 burst: unacknowledged, critical"])
    plant.acknowledge("00:50", "rack-7", by="ana")
    plant.expect("00:50", alarms=["rack-7 burst: acknowledged, critical"])
    plant.at("01:00", gone(FindingKind.FLOW_LOST, "rack-7"))
    plant.expect("01:00", alarms=["rack-7 burst: latched acknowledged, critical"])
    plant.reset("01:10", "rack-7", by="ana")
    plant.expect("01:10", alarms=[])


def test_a_restart_neither_tells_twice_nor_forgets(plant: Timeline) -> None:
    plant.at("00:08", wet("cdu-1"))
    plant.expect("00:08", alarms=["cdu-1 leak-wet: unacknowledged, high"])
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high", "cdu-1 leak-wet: unacknowledged, high"])
    plant.acknowledge("00:12", "rack-7", by="ana")
    plant.expect("00:12", alarms=["rack-7 rack-leak-wet: acknowledged, high", "cdu-1 leak-wet: unacknowledged, high"])
    plant.restart("00:15", until="00:25")
    plant.at("00:18", dry("cdu-1"))  # while nobody looked
    plant.expect("00:30", alarms=["rack-7 rack-leak-wet: acknowledged, high", "cdu-1 leak-wet: returned, high"])
    plant.at("00:35", dry("rack-7"))
    plant.expect("00:40", alarms=["cdu-1 leak-wet: returned, high"])
    plant.expect_record(
        [
            "00:08 cdu-1 leak-wet activated, high",
            "00:10 rack-7 rack-leak-wet activated, high",
            "00:12 rack-7 rack-leak-wet acknowledged, high by ana",
            "00:30 cdu-1 leak-wet returned, high",
            "00:40 rack-7 rack-leak-wet returned, high",
        ]
    )


def test_a_delay_goes_on_over_a_restart(plant: Timeline) -> None:
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.restart("01:00", until="01:20")
    plant.expect("02:10", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.at("03:00", gone(WARM, "rack-7"))
    plant.restart("03:10", until="03:20")
    plant.expect("03:30", alarms=["rack-7 rack-supply-temperature-high: returned, medium"])


@pytest.mark.slow
def test_a_silent_source_hides_its_stale_points_and_says_how_many(plant: Timeline) -> None:
    stale = [("rack-7", f"point {number}") for number in range(3)]
    plant.at("00:10", stands(FindingKind.SOURCE_SILENT, "bms"))
    plant.expect("00:10", alarms=["bms source-silent: unacknowledged, high"])
    plant.at("01:00", *(stands(FindingKind.POINT_STALE, *where) for where in stale))
    plant.expect_masked("09:00", 3)
    plant.at("10:00", gone(FindingKind.SOURCE_SILENT, "bms"))
    plant.expect("10:10", alarms=["bms source-silent: returned, high"])
    # It speaks again; two points do as well, one does not and gets its turn after its own delay of 120 s.
    plant.at("11:00", *(gone(FindingKind.POINT_STALE, *where) for where in stale[:2]))
    plant.expect_masked("11:00", 0)
    plant.expect(
        "12:10",
        alarms=["bms source-silent: returned, high", "rack-7 point-stale: unacknowledged, low"],
    )


@pytest.mark.slow
def test_a_mask_hides_no_clear_and_nothing_that_stood_before(plant: Timeline) -> None:
    plant.at("00:10", stands(FindingKind.POINT_STALE, "rack-7", "a"), stands(FindingKind.POINT_STALE, "rack-8", "b"))
    first, second = "rack-7 point-stale: unacknowledged, low", "rack-8 point-stale: unacknowledged, low"
    plant.expect("02:10", alarms=[second, first])
    plant.at("03:00", stands(FindingKind.SOURCE_SILENT, "bms"))
    silent = "bms source-silent: unacknowledged, high"
    plant.expect("03:00", alarms=[silent, second, first])
    plant.at("04:00", gone(FindingKind.POINT_STALE, "rack-7", "a"))
    plant.expect("04:10", alarms=[silent, second, "rack-7 point-stale: returned, low"])
    plant.at("05:00", stands(FindingKind.POINT_STALE, "rack-7", "a"))  # a re-alarm would be news: it is masked
    plant.expect_masked("05:00", 1)
    plant.expect("09:00", alarms=[silent, second, "rack-7 point-stale: returned, low"])


# --- What people put aside --------------------------------------------------------------------------------------------


def test_a_shelved_alarm_asks_nobody_until_its_time_is_over(plant: Timeline) -> None:
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.expect("02:10", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.shelve("03:00", "rack-7", by="ana", reason="the valve is being set", until="10:00")
    plant.expect("03:00", alarms=["rack-7 rack-supply-temperature-high: shelved, medium"])
    plant.acknowledge("04:00", "rack-7", by="ben", refused="is shelved, and cannot be acknowledged")
    plant.at("05:00", gone(WARM, "rack-7"))  # beneath the shelf it comes and goes
    plant.at("07:00", stands(WARM, "rack-7"))
    plant.expect("10:00", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.expect_record(
        [
            "02:10 rack-7 rack-supply-temperature-high activated, medium",
            "03:00 rack-7 rack-supply-temperature-high shelved, medium by ana: the valve is being set",
            "05:30 rack-7 rack-supply-temperature-high returned, medium",
            "09:00 rack-7 rack-supply-temperature-high activated, medium",
            "10:00 rack-7 rack-supply-temperature-high unshelved, medium: its time on the shelf is over",
        ]
    )


def test_what_is_gone_when_the_shelf_ends_is_over(plant: Timeline) -> None:
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.expect("02:10", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.shelve("03:00", "rack-7", by="ana", reason="the valve is being set", until="10:00")
    plant.expect("03:00", alarms=["rack-7 rack-supply-temperature-high: shelved, medium"])
    plant.at("05:00", gone(WARM, "rack-7"))
    plant.person("06:00", "rack-7", Unshelve("ana", "it is set"))
    plant.expect("06:00", alarms=[])


def test_a_shelf_has_a_reason_and_an_end_and_is_short_for_what_is_urgent(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7", confidence=0.95))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.shelve("00:20", "rack-7", by="ana", reason=" ", until="01:00", refused="a reason is wanted")
    plant.shelve("00:21", "rack-7", by="ana", reason="a spill", until="00:20", refused="would be over already")
    plant.shelve("00:22", "rack-7", by="ana", reason="a spill", until="61:00", refused="for 1 h at most")


def test_a_shelf_does_not_hold_what_becomes_more_urgent(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.shelve("00:20", "rack-7", by="ana", reason="a spill", until="30:00")
    plant.expect("00:20", alarms=["rack-7 rack-leak-wet: shelved, high"])
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])


def test_a_shelf_outlives_a_restart(plant: Timeline) -> None:
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.expect("02:10", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])
    plant.shelve("03:00", "rack-7", by="ana", reason="the valve is being set", until="10:00")
    plant.expect("03:00", alarms=["rack-7 rack-supply-temperature-high: shelved, medium"])
    plant.restart("04:00", until="05:00")
    plant.expect("10:00", alarms=["rack-7 rack-supply-temperature-high: unacknowledged, medium"])


@pytest.mark.slow
def test_a_silence_hides_what_stands_and_what_comes_while_it_lasts_also_over_a_restart(plant: Timeline) -> None:
    warm = "rack-supply-temperature-high"
    plant.at("00:10", stands(WARM, "rack-7"))
    plant.expect("02:10", alarms=[f"rack-7 {warm}: unacknowledged, medium"])
    plant.silence("03:00", f"alertname={warm}", 'asset=~"rack-.*"', until="20:00", by="ana", comment="valves are set")
    plant.expect("03:00", alarms=[f"rack-7 {warm}: shelved, medium"])
    plant.at("04:00", stands(WARM, "rack-8"))
    plant.expect("06:00", alarms=[f"rack-8 {warm}: shelved, medium", f"rack-7 {warm}: shelved, medium"])
    plant.restart("07:00", until="08:00")
    plant.at("08:10", gone(WARM, "rack-7"))
    plant.at("09:00", stands(WARM, "rack-9"))
    nine = f"rack-9 {warm}: shelved, medium"
    plant.expect("11:00", alarms=[nine, f"rack-8 {warm}: shelved, medium", f"rack-7 {warm}: shelved, medium"])
    plant.person("12:00", "rack-9", Unshelve("ben", "I am there"))  # nobody overrules whoever looks
    out = f"rack-9 {warm}: unacknowledged, medium"
    plant.expect("12:00", alarms=[out, f"rack-8 {warm}: shelved, medium", f"rack-7 {warm}: shelved, medium"])
    plant.expect("20:00", alarms=[out, f"rack-8 {warm}: unacknowledged, medium"])
    plant.expect_record(
        [
            f"02:10 rack-7 {warm} activated, medium",
            f"03:00 rack-7 {warm} shelved, medium by ana: valves are set",
            f"06:00 rack-8 {warm} silenced, medium by ana: valves are set",
            f"08:40 rack-7 {warm} returned, medium",
            f"11:00 rack-9 {warm} silenced, medium by ana: valves are set",
            f"12:00 rack-9 {warm} unshelved, medium by ben: I am there",
            f"20:00 rack-8 {warm} unshelved, medium: its time on the shelf is over",
            f"20:00 rack-7 {warm} unshelved, medium: its time on the shelf is over",
        ]
    )


def test_what_comes_out_of_hiding_while_a_silence_lasts_comes_out_on_the_shelf(plant: Timeline) -> None:
    plant.at("00:10", stands(FindingKind.SOURCE_SILENT, "bms"))
    silent = "bms source-silent: unacknowledged, high"
    plant.expect("00:10", alarms=[silent])
    plant.at("01:00", stands(FindingKind.POINT_STALE, "rack-7", "a"))
    plant.silence("02:00", "alertname=point-stale", until="30:00", by="ana", comment="a gateway is changed")
    plant.expect_hidden("05:00", ["rack-7 point-stale: source_silent stands at oslo"])
    plant.at("06:00", gone(FindingKind.SOURCE_SILENT, "bms"))
    plant.expect("06:10", alarms=["bms source-silent: returned, high"])
    plant.expect("08:10", alarms=["bms source-silent: returned, high", "rack-7 point-stale: shelved, low"])


def test_a_silence_is_bounded_by_what_it_could_hide_and_leaves_leak_sensors_alone(plant: Timeline) -> None:
    plant.silence("00:05", "asset=rack-7", until="61:00", by="ana", comment="work", refused="shelved for 1 h at most")
    plant.silence("00:06", "asset=rack-7", until="50:00", by="ana", comment=" ", refused="a comment is wanted")
    plant.silence("00:07", "alertname=rack-leak-wet", until="09:00", by="ana", comment="x", refused="leak sensor")
    plant.silence("00:08", "asset=rack-7", until="50:00", by="ana", comment="work")
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])


def test_out_of_service_lasts_until_somebody_brings_it_back(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.person("00:20", "rack-7", TakeOut("ana", "", "10.0.0.7"), refused="a reason is wanted")
    plant.person("00:20", "rack-7", TakeOut("ana", "the rope is torn", "10.0.0.7"))
    plant.expect("00:20", alarms=["rack-7 rack-leak-wet: out of service, high"])
    plant.expect("00:40", alarms=["rack-7 rack-leak-wet: out of service, critical"])  # it is not believed, but followed
    plant.at("05:00", dry("rack-7"))
    plant.at("09:00", wet("rack-7"))
    plant.person("10:00", "rack-7", BringBack("ben", "a new rope"))
    plant.expect("10:00", alarms=["rack-7 rack-leak-wet: unacknowledged, critical"])
    plant.expect_record(
        [
            "00:10 rack-7 rack-leak-wet activated, high",
            "00:20 rack-7 rack-leak-wet taken_out, high by ana: the rope is torn",
            "00:40 rack-7 rack-leak-wet escalated, critical",
            "05:05 rack-7 rack-leak-wet returned, critical",
            "09:00 rack-7 rack-leak-wet activated, critical",
            "10:00 rack-7 rack-leak-wet brought_back, critical by ben: a new rope",
        ]
    )


def test_an_alarm_is_closed_with_what_it_was_once_its_condition_is_gone(plant: Timeline) -> None:
    plant.at("00:10", wet("rack-7"))
    plant.expect("00:10", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    plant.person("00:12", "rack-7", Assign("ana", "ben"))
    plant.person("00:15", "rack-7", Comment("ben", "condensate on the manifold"))
    plant.person("00:16", "rack-7", Close("ben", ClosingCause.FALSE), refused="still stands")
    plant.at("00:20", dry("rack-7"))
    plant.expect("00:25", alarms=["rack-7 rack-leak-wet: returned, high"])
    plant.person("00:30", "rack-7", Close("ben", ClosingCause.FALSE, "wiped it"))
    plant.expect("00:30", alarms=[])
    plant.expect_record(
        [
            "00:10 rack-7 rack-leak-wet activated, high",
            "00:12 rack-7 rack-leak-wet assigned, high by ana: ben",
            "00:15 rack-7 rack-leak-wet commented, high by ben: condensate on the manifold",
            "00:25 rack-7 rack-leak-wet returned, high",
            "00:30 rack-7 rack-leak-wet closed, high by ben: false: wiped it",
        ]
    )


def test_what_was_acknowledged_and_stands_on_is_asked_about_again(plant: Timeline) -> None:
    plant.rules(
        """
        [[rule]]
        name = "no-flow"
        title = "No flow at {asset}"
        finding = "flow_lost"
        priority = "high"
        remind_after_s = 60
        """
    )
    plant.at("00:10", stands(FindingKind.FLOW_LOST, "rack-7"))
    plant.expect("00:10", alarms=["rack-7 no-flow: unacknowledged, high"])
    plant.acknowledge("00:20", "rack-7", by="ana")
    plant.expect("00:20", alarms=["rack-7 no-flow: acknowledged, high"])
    plant.expect("01:20", alarms=["rack-7 no-flow: unacknowledged, high"])
    plant.acknowledge("01:30", "rack-7", by="ana")
    plant.expect("01:30", alarms=["rack-7 no-flow: acknowledged, high"])
    plant.at("02:00", gone(FindingKind.FLOW_LOST, "rack-7"))
    plant.expect("02:00", alarms=[])


# --- What the design hides --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cdu_that_gives_no_coolant_explains_its_racks(plant: Timeline) -> None:
    plant.feeds("cdu-1", "rack-7", "rack-8")
    plant.at("00:05", stands(FLOW, "rack-9"))
    plant.at("00:10", *(stands(FLOW, asset) for asset in ("rack-7", "rack-8", "cdu-1")))
    alone, cause = "rack-9 flow-lost: unacknowledged, critical", "cdu-1 flow-lost: unacknowledged, critical"
    plant.expect("00:05", alarms=[alone])
    plant.expect("00:10", alarms=[cause, alone])
    plant.expect_hidden("00:30", [f"{rack} flow-lost: flow-lost stands at cdu-1" for rack in ("rack-7", "rack-8")])
    plant.at("00:40", stands(WARM, "rack-7"))
    plant.expect_masked("04:00", 3)
    plant.at("05:00", gone(FLOW, "rack-8"))  # a clear comes through
    plant.expect_masked("05:10", 2)
    plant.at("06:00", gone(FLOW, "cdu-1"))
    own, over = "rack-7 flow-lost: unacknowledged, critical", "cdu-1 flow-lost: returned, critical"
    plant.expect("06:10", alarms=[own, over, alone])  # and what still stands without its cause gets its turn
    plant.expect_hidden("08:20", ["rack-7 rack-supply-temperature-high: flow-lost stands at rack-7"])


def test_what_is_hidden_is_on_record_with_its_cause_and_its_clear(plant: Timeline) -> None:
    plant.feeds("cdu-1", "rack-7")
    plant.at("00:10", stands(FLOW, "cdu-1"), stands(FLOW, "rack-7"))
    plant.expect("00:10", alarms=["cdu-1 flow-lost: unacknowledged, critical"])
    plant.restart("00:20", until="00:30")
    plant.at("00:40", gone(FLOW, "cdu-1"), gone(FLOW, "rack-7"))
    plant.expect("00:50", alarms=["cdu-1 flow-lost: returned, critical"])
    plant.expect_record(
        [
            "00:10 cdu-1 flow-lost activated, critical",
            "00:10 rack-7 flow-lost suppressed, critical: flow-lost stands at cdu-1",
            "00:50 cdu-1 flow-lost returned, critical",
            "00:50 rack-7 flow-lost returned, critical",
        ]
    )


def test_of_two_cdus_one_explains_nothing_and_both_do(plant: Timeline) -> None:
    for cdu in ("cdu-1", "cdu-2"):
        plant.feeds(cdu, "rack-7", "rack-8")
    plant.at("00:10", stands(FLOW, "cdu-1"), stands(FLOW, "rack-7"))
    first = ["rack-7 flow-lost: unacknowledged, critical", "cdu-1 flow-lost: unacknowledged, critical"]
    plant.expect("00:10", alarms=first)
    plant.at("01:00", stands(FLOW, "cdu-2"), stands(FLOW, "rack-8"))
    plant.expect("01:00", alarms=["cdu-2 flow-lost: unacknowledged, critical", *first])
    plant.expect_hidden("01:10", ["rack-8 flow-lost: flow-lost stands at cdu-1"])


def test_a_feed_explains_its_cdu_and_through_it_the_racks(plant: Timeline) -> None:
    plant.feeds("feed-a", "cdu-1", power=True)
    plant.feeds("cdu-1", "rack-7")
    plant.at("00:10", stands(FindingKind.FEED_LOST, "feed-a"))
    plant.expect("00:12", alarms=["feed-a feed-lost: unacknowledged, high"])
    plant.at("00:20", stands(FLOW, "rack-7"), stands(FLOW, "cdu-1"))
    plant.expect_hidden(
        "00:30", ["cdu-1 flow-lost: feed-lost stands at feed-a", "rack-7 flow-lost: flow-lost stands at cdu-1"]
    )


def test_what_is_out_of_service_explains_nothing(plant: Timeline) -> None:
    plant.feeds("cdu-1", "rack-7")
    plant.at("00:10", stands(FLOW, "cdu-1"))
    plant.expect("00:10", alarms=["cdu-1 flow-lost: unacknowledged, critical"])
    plant.person("00:20", "cdu-1", TakeOut("ana", "its meter is broken"))
    plant.expect("00:20", alarms=["cdu-1 flow-lost: out of service, critical"])
    plant.at("00:30", stands(FLOW, "rack-7"))
    plant.expect(
        "00:30", alarms=["rack-7 flow-lost: unacknowledged, critical", "cdu-1 flow-lost: out of service, critical"]
    )


def test_work_hides_what_begins_there_and_never_a_rope(plant: Timeline) -> None:
    plant.feeds("cdu-1", "rack-7")
    plant.maintenance("01:00", "cdu-1", until="10:00", by="ana", reason="new filter", downstream=True, planned="00:05")
    plant.at("00:10", stands(FLOW, "cdu-1"))
    before = "cdu-1 flow-lost: unacknowledged, critical"
    plant.expect("00:10", alarms=[before])  # the work has not begun
    plant.at("02:00", stands(FindingKind.FILTER_CLOGGED, "cdu-1"), stands(FLOW, "rack-8"))
    elsewhere = "rack-8 flow-lost: unacknowledged, critical"
    plant.expect("02:00", alarms=[elsewhere, before])
    plant.at("03:00", wet("rack-7", confidence=0.95))
    rope = "rack-7 rack-leak-wet: unacknowledged, critical"
    plant.expect("03:00", alarms=[rope, elsewhere, before])
    plant.at("04:00", gone(FLOW, "cdu-1"))  # what stood before comes to its end in the open
    plant.expect("04:10", alarms=[rope, elsewhere, "cdu-1 flow-lost: returned, critical"])


def test_when_the_work_is_over_what_it_has_left_behind_is_told(plant: Timeline) -> None:
    plant.maintenance("01:00", "rack-7", until="10:00", by="ana", reason="new hoses")
    plant.at("02:00", stands(FLOW, "rack-7"))
    plant.expect("00:00", alarms=[])
    plant.expect_hidden("05:00", ["rack-7 flow-lost: maintenance by ana: new hoses"])
    plant.expect("10:00", alarms=["rack-7 flow-lost: unacknowledged, critical"])


@pytest.mark.slow
def test_equipment_that_is_off_has_no_worn_pump(plant: Timeline) -> None:
    plant.rules(
        """
        [[rule]]
        name = "pump"
        title = "Pump at {asset}"
        finding = "pump_worn"
        priority = "low"
        on_delay_s = 60
        needs_running = true
        """
    )
    plant.switched_off("00:00", "cdu-1", until="10:00")
    plant.at("00:10", stands(FindingKind.PUMP_WORN, "cdu-1"), stands(FindingKind.PUMP_WORN, "cdu-2"))
    plant.expect("01:10", alarms=["cdu-2 pump: unacknowledged, low"])
    plant.expect_hidden("01:10", ["cdu-1 pump: cdu-1 says Off"])
    plant.expect("11:00", alarms=["cdu-1 pump: unacknowledged, low", "cdu-2 pump: unacknowledged, low"])


def test_of_a_group_the_first_out_is_remembered_by_those_that_follow(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    timeline.at("00:10", stands(FindingKind.GPU_THROTTLED, "rack-7"))
    timeline.at("03:00", stands(FLOW, "rack-7"))
    first, second = "rack-7 gpu-throttled: unacknowledged, medium", "rack-7 flow-lost: unacknowledged, critical"
    timeline.expect("00:20", alarms=[first])
    timeline.expect("03:00", alarms=[second, first])
    timeline.expect_first_out("04:00", {"flow-lost": "gpu-throttled", "gpu-throttled": "gpu-throttled"})
    timeline.restart("05:00", until="05:10")
    timeline.at("06:00", gone(FindingKind.GPU_THROTTLED, "rack-7"))
    timeline.expect("07:00", alarms=[second, "rack-7 gpu-throttled: returned, medium"])
    timeline.acknowledge("08:00", "rack-7 gpu-throttled", by="ana")
    timeline.expect("08:00", alarms=[second])
    timeline.expect_first_out("08:10", {"flow-lost": "gpu-throttled"})
    assert timeline.run() == []


# --- The timelines themselves -----------------------------------------------------------------------------------------


def test_a_timeline_that_goes_another_way_fails(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    timeline.at("00:10", wet("rack-7"))
    timeline.expect("00:12", alarms=["rack-7 rack-leak-wet: unacknowledged, high"])
    assert timeline.run() == [
        "00:10: expected [], but ['rack-7 rack-leak-wet: unacknowledged, high']",
    ]


def test_a_timeline_that_expects_nothing_fails(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    timeline.at("00:10", wet("rack-7"))
    assert timeline.run() == ["nothing is expected of this timeline"]
