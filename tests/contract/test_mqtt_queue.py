"""The queue between sockets and store: what a batch holds, when it is due, what gives way and what never does."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.mqtt.backoff import Backoff
from collectors.mqtt.intake import Intake, Limits
from collectors.mqtt.wire import Cut
from dcim.core.ports import Message, Oversized


class Connection:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.acknowledged: list[bytes] = []
        self.resumed = 0

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        self.acknowledged += ids

    def resume(self) -> None:
        self.resumed += 1


def cut(*numbers: int, qos: int = 1, size: int = 10) -> Cut:
    messages = [Message(b"t", str(number).encode(), qos) for number in numbers]
    ids = [number.to_bytes(2, "big") for number in numbers] if qos else []
    return Cut(messages, ids, size=size * len(numbers))


def payloads(messages: Sequence[Message]) -> list[int]:
    return [int(message.payload) for message in messages]


def test_nothing_waits_nothing_is_due() -> None:
    assert Intake("s").due() is None


def test_a_batch_is_due_200_ms_after_its_first_message() -> None:
    intake = Intake("s", Limits(batch_s=0.2))
    intake.put(None, cut(1, qos=0), 10.0, 0)
    intake.put(None, cut(2, qos=0), 10.15, 0)
    assert intake.due() == 10.2


def test_a_batch_that_somebody_waits_for_is_due_when_it_falls_quiet() -> None:
    intake = Intake("s", Limits(batch_s=0.2, quiet_s=0.02))
    sender = Connection()
    intake.put(sender, cut(1), 10.0, 0)
    assert intake.due() == 10.02
    intake.put(sender, cut(2), 10.01, 0)
    assert intake.due() == 10.03
    for step in range(3, 30):
        intake.put(sender, cut(step), 10.0 + step / 100, 0)
    assert intake.due() == 10.2  # it never falls quiet, and still goes


def test_a_full_batch_is_due_at_once_and_wakes_whoever_waits() -> None:
    woken = []
    intake = Intake("s", Limits(batch_messages_max=4), wake=lambda: woken.append(True))
    intake.put(None, cut(1, 2, qos=0), 10.0, 0)
    assert len(woken) == 1
    intake.put(None, cut(3, qos=0), 10.0, 0)
    assert len(woken) == 1
    intake.put(None, cut(4, qos=0), 10.001, 0)
    assert len(woken) == 2
    assert intake.due() == 10.0


def test_a_batch_holds_no_more_than_it_may_in_order_and_the_last_instant() -> None:
    intake = Intake("s", Limits(batch_messages_max=4))
    sender = Connection()
    for number in range(0, 9, 3):
        intake.put(sender, cut(number, number + 1, number + 2), 10.0 + number, 1_000 + number)
    first = intake.take()
    assert payloads(first.batch.messages) == [0, 1, 2]
    assert first.batch.received == 1_000
    intake.settle()
    second = intake.take()
    assert payloads(second.batch.messages) == [3, 4, 5]
    assert intake.due() == 16.02  # the third: from when it came
    assert second.receipts == [(sender, [bytes([0, 3]), bytes([0, 4]), bytes([0, 5])])]


def test_each_connection_is_thanked_once_for_all_its_messages() -> None:
    intake, a, b = Intake("s"), Connection(), Connection()
    intake.put(a, cut(1), 0.0, 0)
    intake.put(b, cut(2), 0.0, 0)
    intake.put(a, cut(3), 0.0, 0)
    intake.put(None, cut(4, qos=0), 0.0, 0)
    handover = intake.take()
    assert payloads(handover.batch.messages) == [1, 2, 3, 4]
    assert handover.receipts == [(a, [b"\0\1", b"\0\3"]), (b, [b"\0\2"])]


def test_oversized_messages_travel_with_the_batch() -> None:
    intake, sender = Intake("s"), Connection()
    intake.put(sender, Cut([Message(b"t", b"1")], [b"\0\7"], [Oversized(b"big", 5_000_000)], size=4), 0.0, 0)
    handover = intake.take()
    assert handover.batch.oversized == [Oversized(b"big", 5_000_000)]
    assert handover.receipts == [(sender, [b"\0\7"])]


def test_qos_1_beyond_the_bound_stops_its_connection_until_there_is_room() -> None:
    intake, loud, quiet = Intake("s", Limits(messages_max=4)), Connection(), Connection()
    assert intake.put(loud, cut(1, 2, 3, 4), 0.0, 0)
    assert not intake.put(loud, cut(5), 0.0, 0)
    assert intake.put(quiet, cut(6, qos=0), 0.0, 0)  # it has only QoS 0: that gives way, and its pings are answered
    assert intake.due() == 0.0  # full: waiting any longer helps nobody
    handover = intake.take()
    assert payloads(handover.batch.messages) == [1, 2, 3, 4, 5]
    assert loud.resumed == 0
    intake.settle()
    assert loud.resumed == 1
    assert quiet.resumed == 0
    assert intake.messages == intake.size == 0


def test_bytes_are_bounded_like_messages() -> None:
    intake, sender = Intake("s", Limits(bytes_max=100)), Connection()
    assert intake.put(sender, cut(1, size=100), 0.0, 0)
    assert not intake.put(sender, cut(2, size=1), 0.0, 0)


def test_of_qos_0_the_oldest_gives_way_and_is_counted() -> None:
    intake = Intake("s", Limits(messages_max=5))
    intake.put(None, cut(1, 2, 3, qos=0), 0.0, 0)
    intake.put(None, cut(4, 5, qos=0), 0.0, 0)
    intake.put(None, cut(6, 7, qos=0), 0.0, 0)
    handover = intake.take()
    assert payloads(handover.batch.messages) == [3, 4, 5, 6, 7]
    assert handover.batch.overflowed == 2
    intake.settle()
    intake.put(None, cut(8, qos=0), 0.0, 0)
    assert intake.take().batch.overflowed == 0  # told once


def test_what_is_under_way_never_gives_way() -> None:
    intake = Intake("s", Limits(messages_max=3))
    intake.put(None, cut(1, 2, 3, qos=0), 0.0, 0)
    assert payloads(intake.take().batch.messages) == [1, 2, 3]
    intake.put(None, cut(4, 5, qos=0), 0.0, 0)  # no room at all: these are the oldest that wait
    assert intake.due() is None
    intake.settle()
    intake.put(None, cut(6, qos=0), 0.0, 0)
    handover = intake.take()
    assert payloads(handover.batch.messages) == [6]
    assert handover.batch.overflowed == 2


def test_oversized_messages_of_qos_0_give_way_too() -> None:
    intake = Intake("s", Limits(messages_max=3))
    for _ in range(5):
        intake.put(None, Cut(oversized=[Oversized(b"big", 5_000_000)]), 0.0, 0)
    handover = intake.take()
    assert (len(handover.batch.oversized), handover.batch.overflowed) == (3, 2)
    intake.settle()
    assert intake.messages == 0


def test_a_flood_of_qos_0_behind_qos_1_leaves_nothing_behind() -> None:
    intake, sender = Intake("s", Limits(messages_max=100)), Connection()
    intake.put(sender, cut(*range(90)), 0.0, 0)
    for number in range(10_000):
        intake.put(None, cut(number, qos=0), 0.0, 0)
    assert intake.messages == 100
    assert len(intake._waiting) == 11
    assert len(intake._loose) <= 11
    handover = intake.take()
    assert payloads(handover.batch.messages) == [*range(90), *range(9_990, 10_000)]
    assert handover.batch.overflowed == 9_990


def test_a_lost_connection_takes_back_what_there_is_no_room_for() -> None:
    intake, lost, other = Intake("s", Limits(messages_max=10)), Connection(), Connection()
    intake.put(lost, cut(1, 2, 3, 4), 0.0, 0)
    assert payloads(intake.take().batch.messages) == [1, 2, 3, 4]  # under way: that stays
    intake.put(
        lost, Cut([Message(b"t", b"5", 1), Message(b"t", b"6")], [b"\0\5", b"\0\7"], [Oversized(b"b", 9)]), 0.0, 0
    )
    intake.put(other, cut(8), 0.0, 0)
    intake.forget(lost)
    assert intake.messages == 8  # there is room: all of it is stored, and what comes again is a duplicate
    assert not intake.put(lost, cut(*range(10, 20)), 0.0, 0)
    intake.forget(lost)
    assert intake.messages == 5
    intake.settle()
    assert lost.resumed == 0
    handover = intake.take()
    assert payloads(handover.batch.messages) == [8]
    assert handover.batch.oversized == []
    assert handover.receipts == [(other, [b"\0\x08"])]
    assert handover.batch.overflowed == 1  # the one of QoS 0, when there was no room
    intake.settle()
    assert (intake.messages, intake.size) == (0, 0)


def test_what_comes_again_while_it_waits_is_dropped_wherever_the_first_of_it_is() -> None:
    intake, sender, other = Intake("s"), Connection(), Connection()
    intake.put(sender, cut(1, 2), 0.0, 0)
    under_way = intake.take()
    intake.put(sender, cut(3, 4), 0.0, 0)
    repeats = cut(5, 1, 4, 6, 5, 6, qos=1)
    repeats.again = [(place, repeats.ids[place]) for place in (1, 2, 4, 5)]
    intake.put(sender, repeats, 0.0, 0)
    only_repeats = cut(2, 3)
    only_repeats.again = [(0, only_repeats.ids[0]), (1, only_repeats.ids[1])]
    assert intake.put(sender, only_repeats, 0.0, 0)
    anothers = cut(1)
    anothers.again = [(0, anothers.ids[0])]
    intake.put(other, anothers, 0.0, 0)
    assert [ids for _, ids in under_way.receipts] == [[b"\0\1", b"\0\2"]]
    intake.settle()
    handover = intake.take()
    assert payloads(handover.batch.messages) == [3, 4, 5, 6, 1]
    assert handover.receipts == [(sender, [b"\0\3", b"\0\4", b"\0\5", b"\0\6"]), (other, [b"\0\1"])]
    intake.settle()
    assert (intake.messages, intake.size) == (0, 0)


def test_senders_that_cannot_wait_do_not_fill_memory_while_nothing_can_be_kept() -> None:
    intake = Intake("s", Limits(messages_max=100))
    for _ in range(1_000):
        attempt = Connection()
        if not intake.put(attempt, cut(*range(50)), 0.0, 0):
            intake.forget(attempt)
    assert intake.messages <= 150
    assert len(intake._held) == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 1), st.integers(1, 7), st.integers(0, 2)),
            st.tuples(st.just("take"), st.just(0), st.just(0), st.just(0)),
            st.tuples(st.just("lose"), st.just(0), st.just(0), st.integers(0, 2)),
        ),
        max_size=60,
    ),
    st.integers(1, 20),
    st.integers(10, 200),
)
@settings(deadline=None)
def test_everything_that_is_put_is_taken_once_or_counted(
    steps: list[tuple[str, int, int, int]], messages_max: int, bytes_max: int
) -> None:
    limits = Limits(messages_max=messages_max, bytes_max=bytes_max, batch_messages_max=7)
    intake, senders = Intake("s", limits), [Connection() for _ in range(3)]
    stopped: set[int] = set()
    put: list[tuple[int, int]] = []
    taken: list[int] = []
    overflowed = number = 0
    waiting: dict[int, list[int]] = {0: [], 1: [], 2: []}  # by sender, QoS 1 that is not acknowledged
    given_back: set[int] = set()

    def take() -> None:
        nonlocal overflowed
        handover = intake.take()
        assert len(handover.batch.messages) <= limits.batch_messages_max
        taken.extend(payloads(handover.batch.messages))
        overflowed += handover.batch.overflowed
        for owner, ids in handover.receipts:
            owner.acknowledge(ids)
        for numbers in waiting.values():
            numbers[:] = [one for one in numbers if one not in taken]
        intake.settle()

    for kind, qos, count, who in steps:
        if kind == "take":
            if intake.due() is not None:
                take()
            continue
        if kind == "lose":
            full = intake.full
            intake.forget(senders[who])
            if full:
                given_back.update(waiting[who])
                waiting[who].clear()
            stopped.discard(who)
            continue
        if who in stopped and senders[who].resumed:
            stopped.discard(who)
            senders[who].resumed = 0
        if who in stopped:
            continue
        numbers = range(number, number + count)
        number += count
        put += [(one, qos) for one in numbers]
        waiting[who] += [one for one in numbers if qos]
        if not intake.put(senders[who], cut(*numbers, qos=qos), float(number), 0):
            stopped.add(who)
        assert intake.messages >= 0
        assert intake.size >= 0
    while intake.due() is not None:
        take()
    assert intake.messages == intake.size == 0
    assert taken == sorted(taken)
    assert len(taken) == len(set(taken))
    waited_for = {one for one, qos in put if qos}
    assert waited_for - set(taken) == given_back  # QoS 1 never gives way, and is given back only to whom it is from
    acknowledged = {int.from_bytes(i, "big") for sender in senders for i in sender.acknowledged}
    assert acknowledged == waited_for - given_back
    assert all(sender.resumed for who, sender in enumerate(senders) if who in stopped)
    intake.put(None, Cut([Message(b"t", b"0")], size=2), 0.0, 0)  # what gave way last is told with the next batch
    overflowed += intake.take().batch.overflowed
    assert len(taken) + overflowed + len(given_back) == len(put)


def test_delays_grow_with_full_jitter_and_stay_under_the_cap() -> None:
    draws = iter([0.0, 0.5, 0.999])
    backoff = Backoff(0.5, 30.0, draw=lambda: next(draws))
    assert [backoff.next_s() for _ in range(3)] == [0.0, 0.5, 2 * 0.999]
    backoff.reset()
    backoff.draw = lambda: 0.999
    assert backoff.next_s() < 0.5
    assert all(backoff.next_s() < 30.0 for _ in range(2_000))
