"""Alarms about ourselves: a source that brings nothing, a store that takes nothing, a spool, a wrong ledger. One
cause is one alarm, whatever follows from it."""

from __future__ import annotations

import pytest

from dcim.core.findings import Bearing
from dcim.core.ledger import Kind, Posting
from dcim.detect.ways import Way, Ways
from tests.scenarios.house import House, connect, lose, spool, trouble
from tests.scenarios.loop import START, at


def always(second: int) -> bool:
    return True


@pytest.mark.slow
def test_a_source_that_falls_silent_is_one_alarm_that_explains_what_lies_beneath() -> None:
    """Ten minutes without a word: neither the heartbeat nor the points are told apart from it, then or afterwards."""
    house = House(lambda second: not 300 <= second < 900).play(30)
    assert house.told == ["05:20 source-lost activated", "15:30 source-lost returned"]
    assert house.masked >= 3


def test_what_is_told_of_a_silent_source() -> None:
    house = House(lambda second: second < 300).play(7)
    (alarm,) = house.standing
    assert (alarm.title, alarm.site, alarm.asset, alarm.qualifier) == ("Source lost: bus", "s", "", "bus")
    assert alarm.summary == "bus: nothing received for 119 s"
    assert alarm.finding is not None
    shown = {line.what: (line.shows, line.bearing) for line in alarm.finding.evidence}
    assert shown["Last received"] == ("12:04:59 UTC, 119 s ago", Bearing.FOR)
    assert shown["Too long for it"] == ("more than 20 s: its own pauses say", Bearing.FOR)
    assert shown["Its connection is gone"] == ("it stands", Bearing.RULED_OUT)
    heard, points = shown["Points of the site, from any source"][0].split(" of ")
    assert heard == "0"
    assert int(points.split()[0]) > 20
    assert alarm.masks > 0


@pytest.mark.slow
def test_a_connection_that_is_gone_is_one_alarm() -> None:
    house = House(always, at={300: lose(300), 900: connect(900)}).play(25)
    assert house.told == ["05:12 source-lost activated", "15:30 source-lost returned"]
    assert house.masked >= 3


def test_a_connection_that_is_back_at_once_is_no_alarm() -> None:
    house = House(always, at={300: lose(300), 309: connect(309)}).play(10)
    assert house.told == []
    assert any("just been lost" in why for why in house.unknown)


def test_a_connection_that_never_stood_is_told_and_says_why() -> None:
    house = House(always, beats=False, at={0: lose(0)}).play(2)
    (alarm,) = house.standing
    assert house.told == ["00:12 source-lost activated"]
    assert alarm.finding is not None
    said = [line.shows for line in alarm.finding.evidence]
    assert "nobody listens there. Is the broker running?" in said
    assert "nothing, ever" in said


@pytest.mark.slow
def test_a_slow_source_teaches_its_pace_and_is_missed_by_it() -> None:
    house = House(lambda second: second % 60 == 0 and second < 1200, beats=False).play(40)
    assert house.told[0] == "22:02 source-lost activated", "three of its pauses after 19:00"
    assert [line for line in house.told if "source-lost" in line] == house.told


@pytest.mark.slow
def test_one_outage_does_not_make_us_deaf_for_the_next() -> None:
    def comes(second: int) -> bool:
        return not (300 <= second < 900 or 1500 <= second < 1700)

    house = House(comes, beats=False).play(30)
    assert [line for line in house.told if "activated" in line] == [
        "05:20 source-lost activated",
        "25:20 source-lost activated",
    ]


@pytest.mark.slow
def test_a_new_habit_is_learned_when_it_was_seen_three_times() -> None:
    """A source that spoke every second is told to speak every minute: after three pauses that is its pace."""
    house = House(lambda second: second < 300 or second % 60 == 0, beats=False).play(30)
    assert house.told == [
        "05:22 source-lost activated",
        "08:30 source-lost returned",  # 08:00 ends the third of those pauses
    ]


def test_the_settings_say_how_long() -> None:
    house = House(lambda second: second < 300, beats=False, silent_after_s=100).play(8)
    assert house.told == ["06:40 source-lost activated"]


def test_a_source_that_never_sent_is_not_known_to_be_lost() -> None:
    house = House(lambda _: False, beats=False).play(3)
    assert house.told == []
    assert house.unknown == {"nothing has ever been received from it"}


def test_a_source_that_an_earlier_run_has_heard_gets_its_time_from_the_start() -> None:
    house = House(lambda _: False, beats=False, heard_before_s=3600).play(6)
    assert [line for line in house.told if "source-lost" in line] == ["04:12 source-lost activated"]


def test_what_arrives_while_we_look_is_not_taken_for_an_earlier_run() -> None:
    """The instant of a look is taken before it begins; a batch may be booked between the two."""
    house = House(lambda second: second < 290, beats=False).play(5)
    ways = Ways(START, [Way(house.status, "s")], house.ledger)
    for second in range(300, 420, 2):
        house.ledger.post([Posting("bus", "dsx", at=at(second + 0.3))])
        assert ways.watch(house.latest, house.loops.plant, at(second)).findings == ()
    assert ways.watch(house.latest, house.loops.plant, at(440)).findings


@pytest.mark.slow
def test_what_an_earlier_run_heard_may_lie_ahead_of_a_clock_that_was_set_back() -> None:
    house = House(lambda _: False, beats=False, heard_before_s=-3600).play(6)
    assert [line for line in house.told if "source-lost" in line] == ["04:12 source-lost activated"]


@pytest.mark.slow
def test_a_store_that_takes_nothing_is_one_alarm_and_not_a_lost_source() -> None:
    full = "the disk is full. Free some space on it"
    house = House(always, at={300: trouble(300, full), 900: trouble(900, "")}).play(25)
    assert house.told == [
        "05:10 nothing-kept activated",
        "10:10 nothing-kept escalated",
        "15:30 nothing-kept returned",
    ]
    assert house.masked >= 3
    assert any("can be made durable" in why for why in house.unknown)


def test_a_spool_that_fills_and_empties() -> None:
    house = House(always, at={60: spool(0.79), 120: spool(0.81), 300: spool(0.75), 480: spool(0.69)}).play(12)
    assert house.told == ["03:00 spool-filling activated", "09:00 spool-filling returned"]


def test_a_ledger_that_does_not_balance() -> None:

    def forget_three(house: House) -> None:
        house.ledger._accounts["bus"].codecs["dsx"].stored[Kind.VALUE] -= 3  # as a defect would

    house = House(always, at={100: forget_three}).play(5)
    assert house.told == ["01:40 ledger-unbalanced activated"]
    (alarm,) = house.standing
    assert alarm.title == "Items unaccounted for: bus, dsx"
    assert alarm.summary == "bus, dsx: 3 items unaccounted for"
    assert alarm.finding is not None
    assert alarm.finding.since == at(100)
    assert alarm.site == ""
