"""How alarms go, second by second, under the shipped rules: each test reads like the report of an incident."""

from __future__ import annotations

from pathlib import Path

from dcim.core.findings import FindingKind
from tests.scenarios.timeline import Timeline, dry, gone, hovers, stands, unclear, wet

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
