"""Replay: the recorded format, when each message is due, and what its timestamps say."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.replay import Recorded, parse_offset, read, schedule
from dcim.core.errors import Permanent

HEAD = "offset,topic,payload\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("3.4731ms", 0.0034731), ("1m39.3673211s", 99.3673211), ("1h0m0.5s", 3600.5), ("12µs", 12e-6)],
)
def test_offsets_as_they_are_recorded(text: str, seconds: float) -> None:
    assert parse_offset(text) == pytest.approx(seconds)


@given(st.text(max_size=12))
def test_an_offset_is_read_whole_or_refused(text: str) -> None:
    try:
        seconds = parse_offset(text)
    except ValueError:
        return
    assert seconds >= 0
    assert text[0] in ".0123456789"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("topic,payload\n", r":1: the head is not offset,topic,payload"),
        (HEAD + "1s,a\n", r":2: a line wants an offset, a topic and a payload"),
        (HEAD + "0s,a,b\nsoon,a,b\n", r":3: 'soon' is no offset"),
        (HEAD, "there is no message in it"),
    ],
)
def test_a_bad_recording_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "recording.csv"
    file.write_text(content)
    with pytest.raises(Permanent, match=said):
        read(file)


def test_payloads_keep_their_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "recording.csv"
    file.write_text(HEAD + '1.5s,a/b,"{""value"":1,\n""timestamp"":{{timestamp_ms}}}"\n', newline="")
    assert read(file) == [Recorded(1.5, "a/b", b'{"value":1,\n"timestamp":{{timestamp_ms}}}')]


RECORDED = [Recorded(0.0, "BMS/v1/PUB/Metadata/x", b"{}"), Recorded(2.0, "v", b"{{timestamp_ms}}")]


def test_at_the_recorded_pace_the_timestamp_is_the_moment_of_publishing() -> None:
    first, second = schedule(RECORDED, speed=1, once=True, start_ms=5_000, at_publishing=True)
    assert (first.due_s, second.due_s) == (0, 2)
    assert second.body(123) == b"123"


def test_at_once_the_timestamps_keep_the_recorded_spacing() -> None:
    first, second = schedule(RECORDED, speed=0, once=True, start_ms=5_000, at_publishing=False)
    assert (first.due_s, second.due_s) == (None, None)
    assert second.body(123) == b"7000"


def test_without_once_it_begins_again_after_its_span() -> None:
    rounds = schedule(RECORDED, speed=2, once=False, start_ms=0, at_publishing=False)
    due = [message.due_s for message in itertools.islice(rounds, 5)]
    assert due == [0, 1, 1.5, 2.5, 3]


def test_metadata_is_retained_only_when_asked() -> None:
    plain = list(schedule(RECORDED, speed=0, once=True, start_ms=0, at_publishing=True))
    asked = list(schedule(RECORDED, speed=0, once=True, start_ms=0, at_publishing=True, retain=True))
    assert [message.retain for message in plain] == [False, False]
    assert [message.retain for message in asked] == [True, False]


def test_the_recorded_pod(recordings: Path) -> None:
    recorded = read(recordings / "dsx" / "dsx_exemplar.csv")
    assert len(recorded) == 4_711
    assert sum("/Metadata/" in message.topic for message in recorded) == 166
    messages = schedule(recorded, speed=0, once=True, start_ms=0, at_publishing=False)
    instants = [(message.topic, message.body(0)) for message in messages if "/Value/" in message.topic]
    assert len(set(instants)) == 4_545
