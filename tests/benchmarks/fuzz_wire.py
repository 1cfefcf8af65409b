"""Hostile input for the wire: streams of valid packets, mutated, and plain noise. An oracle of a few lines, written
from the specification and not from our code, says what must come of each.

    python -m tests.benchmarks.fuzz_wire --inputs 200000 --seed 1

Holds: nothing is raised but ProtocolError; nothing hangs; no more is kept than the bounds say; any cut of the stream
gives the same; every message that the oracle reads before the first error comes out, the neighbours of a mutated packet
among them; both sessions survive the same bytes. Exit status 1 when one of these does not hold."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from types import FrameType

from collectors.mqtt import packets
from collectors.mqtt.fields import V5, V311, ProtocolError
from collectors.mqtt.packets import Connack, Connect
from collectors.mqtt.session import Asked, Cut, ListenerSession, Session, SubscriberSession
from collectors.mqtt.wire import CONTROL_BYTES_MAX, Bounds, Cutter
from dcim.core.ports import Message, Oversized
from tests.mqtt_peer import publish

BOUNDS = Bounds(topic_bytes_max=24, payload_bytes_max=64)
HANG_S = 10
"""One input takes less than a millisecond; this long is a hang on any machine."""

Item = Message | Oversized | str
"""A message, one that was put aside, or the type of another packet."""


class Violation(Exception):  # noqa: N818  what was looked for, not an error of this program
    """Something that must never be."""


# --- the oracle: MQTT by the book, slowly -----------------------------------------------------------------------------


class Wrong(Exception):  # noqa: N818
    """Not MQTT."""


def _length(stream: bytes, at: int, version: int) -> tuple[int, int] | None:
    digits = b""
    while len(digits) < 4:
        if at + len(digits) == len(stream):
            return None
        digits = stream[at : at + len(digits) + 1]
        if digits[-1] < 0x80:
            if version == V5 and len(digits) > 1 and digits[-1] == 0:
                raise Wrong
            return sum((digit & 0x7F) << (7 * place) for place, digit in enumerate(digits)), at + len(digits)
    raise Wrong


def _properties_end(body: bytes, at: int) -> int:
    found = _length(body, at, V5)
    if found is None or found[1] + found[0] > len(body):
        raise Wrong
    size, at = found
    stop, seen = at + size, []
    while at < stop:
        code, at = body[at], at + 1
        if code == 0x01:
            if at < stop and body[at] > 1:
                raise Wrong
            at += 1
        elif code == 0x02:
            at += 4
        elif code in {0x03, 0x08, 0x09}:
            at += 2 + int.from_bytes(body[at : min(at + 2, stop)], "big")
        elif code == 0x26:
            for _ in range(2):
                if at + 2 > stop:
                    raise Wrong
                at += 2 + int.from_bytes(body[at : at + 2], "big")
        else:
            raise Wrong  # unknown, not for PUBLISH of a client, or an alias, which nobody allowed
        if at > stop or (code != 0x26 and code in seen):
            raise Wrong
        seen.append(code)
    return at


def _publish(first: int, body: bytes, version: int) -> Item:
    qos = first >> 1 & 3
    if qos > 1 or (qos == 0 and first & 8) or len(body) < 2:
        raise Wrong
    at = 2 + int.from_bytes(body[:2], "big")
    topic = body[2:at]
    if qos:
        if body[at : at + 2] == b"\0\0":
            raise Wrong
        at += 2
    if at > len(body):
        raise Wrong
    if version == V5:
        at = _properties_end(body, at)
    if not topic or any(sign in topic for sign in b"+#\0"):
        raise Wrong
    if len(topic) > BOUNDS.topic_bytes_max or len(body) - at > BOUNDS.payload_bytes_max:
        return Oversized(topic[: BOUNDS.topic_bytes_max], len(body) - at)
    return Message(topic, body[at:], qos, bool(first & 1))


def oracle(stream: bytes, version: int) -> tuple[list[Item], bool]:
    """What a stream holds up to its first error, and whether there is one."""
    items: list[Item] = []
    at = 0
    try:
        while at + 2 <= len(stream):
            first = stream[at]
            kind, flags = first >> 4, first & 15
            if kind == 3:
                if flags >> 1 & 3 > 1 or (not flags >> 1 & 3 and flags & 8):
                    raise Wrong
            elif kind == 0 or (kind == 15 and version != V5) or flags != (2 if kind in {6, 8, 10} else 0):
                raise Wrong
            found = _length(stream, at + 1, version)
            if found is None:
                break
            length, body_at = found
            if body_at - at + length > (BOUNDS.packet_bytes_max if kind == 3 else CONTROL_BYTES_MAX):
                raise Wrong
            if kind == 3 and body_at - at + length > BOUNDS.buffered_bytes_max:
                _begins_well(stream[body_at : body_at + length], first, length, version)
            if body_at + length > len(stream):
                break
            body = stream[body_at : body_at + length]
            items.append(_publish(first, body, version) if kind == 3 else str(kind))
            at = body_at + length
    except Wrong:
        return items, True
    return items, False


def _begins_well(head: bytes, first: int, length: int, version: int) -> None:
    """What is too large to keep is judged by its head, as soon as that is there."""
    if len(head) < 2:
        return
    at = 2 + int.from_bytes(head[:2], "big")
    if len(head) < min(length, at + 6):
        return
    topic = head[2:at]
    if not topic or any(sign in topic for sign in b"+#\0") or (first & 6 and head[at : at + 2] == b"\0\0"):
        raise Wrong
    if version == V5:
        found = _length(head, at + (2 if first & 6 else 0), V5)
        if found is None or sum(found) > length:
            raise Wrong


# --- inputs -----------------------------------------------------------------------------------------------------------

_CONTROLS = (
    packets.PINGREQ,
    packets.PINGRESP,
    b"\x40\x02\x00\x07",
    b"\x62\x02\x00\x07",
    b"\xe0\x00",
    packets.write_subscribe(3, ["a/#"], 1, V311),
)
_PROPERTIES = (b"", b"", b"", b"\x01\x01", b"\x02\0\0\0\x3c", b"\x26\0\x01k\0\x01v", b"\x03\0\x04json", b"\x23\0\x01")
_SIGNS = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x30, 0x32, 0x10, 0x2B, 0x23)


def _packet(rng: random.Random, version: int) -> bytes:
    if rng.random() < 0.15:
        return rng.choice(_CONTROLS)
    topic = bytes(rng.choice(b"abc/\xc3\xa9\xff") for _ in range(rng.choice((1, 3, 10, 24, 30))))
    return publish(
        topic,
        rng.randbytes(rng.choice((0, 1, 20, 64, 65, 200))),
        rng.randrange(2),
        rng.choice((1, 7, 65_535)),
        version,
        retain=rng.random() < 0.2,
        properties=rng.choice(_PROPERTIES),
    )


def _mutate(rng: random.Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(7)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1 and at < len(data):
            data[at] = rng.choice(_SIGNS)
        elif how == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 5))
        elif how == 3:
            del data[at : at + rng.randrange(1, 5)]
        elif how == 4:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        elif how == 5:
            data[min(1, len(data)) : 2] = rng.choice((b"\xff\xff\xff\x7f", b"\xff\xff\x7f", b"\x80\x01", b"\x80\x00"))
        else:
            del data[at:]
    return bytes(data)


def inputs(rng: random.Random, count: int) -> Iterator[tuple[int, bytes]]:
    """Versions and streams: mostly a mutated packet among good ones, some noise, some that are wholly good."""
    for _ in range(count):
        version = rng.choice((V311, V5))
        kind = rng.random()
        if kind < 0.1:
            yield version, rng.randbytes(rng.randrange(1, 200))
            continue
        parts = [_packet(rng, version) for _ in range(rng.randrange(1, 6))]
        if kind < 0.9:
            place = rng.randrange(len(parts))
            parts[place] = _mutate(rng, parts[place])
        elif kind < 0.95:
            parts.append(publish(b"large", bytes(rng.randrange(131_000, 140_000)), 1, 9, version))
            parts.append(publish(b"after", b"", 0, 1, version))
        yield version, b"".join(parts)


# --- the check --------------------------------------------------------------------------------------------------------


def read(stream: bytes, version: int, marks: list[int]) -> tuple[list[Item], str]:
    """What our cutter makes of a stream that comes in these pieces, and how it ended."""
    items: list[Item] = []
    cutter = Cutter(BOUNDS, version, from_client=True)
    cutter.takes_publish = True
    try:
        for begin, end in zip([0, *marks], [*marks, len(stream)], strict=True):
            cutter.feed(memoryview(stream)[begin:end])
            while True:
                cut = Cut()
                try:
                    packet = cutter.cut(cut, limit=1)
                finally:
                    items += cut.messages
                    items += cut.oversized
                    if len(cut.ids) > len(cut.messages) + len(cut.oversized):
                        raise Violation("more acknowledgements than messages")
                if packet is not None:
                    items.append(str(int(packet.type)))
                elif not cut:
                    break
            if cutter.buffered > BOUNDS.buffered_bytes_max:
                raise Violation(f"{cutter.buffered} bytes kept")
    except ProtocolError as error:
        return items, error.reason.name.lower()
    return items, "unfinished" if cutter.buffered else "whole"


def check(version: int, stream: bytes, rng: random.Random) -> str:
    """Holds one input to all of it; answers how it ended."""
    expected, wrong = oracle(stream, version)
    whole, outcome = read(stream, version, [])
    if _sorted(whole) != _sorted(expected):
        raise Violation(f"read {whole}, but the oracle read {expected}")
    if wrong != (outcome not in {"whole", "unfinished"}):
        raise Violation(f"ended as {outcome}, but the oracle says {'wrong' if wrong else 'right'}")
    marks = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(1, 6)))
    pieces, end = read(stream, version, marks)
    if _sorted(pieces) != _sorted(whole) or end != outcome:
        raise Violation(f"cut at {marks} it gives {pieces} and {end}, whole it gives {whole} and {outcome}")
    for session in _sessions(version):
        told = session.receive(stream, 1.0)
        messages = [message for event in told if isinstance(event, Cut) for message in event.messages]
        first_other = next((place for place, item in enumerate(whole) if isinstance(item, str)), len(whole))
        sure = [item for item in whole[:first_other] if isinstance(item, Message)]
        if messages[: len(sure)] != sure:
            raise Violation(f"{type(session).__name__} gives {messages}, the wire gave {sure}")
        session.to_send()
    return outcome


def _sorted(items: list[Item]) -> list[list[Item]]:
    """Each kind in its order: between the kinds a cut keeps none."""
    return [[item for item in items if type(item) is kind] for kind in (Message, Oversized, str)]


def _sessions(version: int) -> Iterator[Session]:
    listener = ListenerSession(BOUNDS, 65_535, 0.0)
    (asked,) = listener.receive(packets.write_connect(Connect(version, "c")), 0.0)
    if not isinstance(asked, Asked):
        raise Violation("a plain CONNECT is not understood")
    listener.admit("c", 0.0)
    subscriber = SubscriberSession(Connect(version, "c"), ["#"], 1, BOUNDS, 0.0)
    subscriber.receive(packets.write_connack(Connack(0), version), 0.0)
    yield listener
    yield subscriber


def _hangs(_signal: int, _frame: FrameType | None) -> None:
    raise Violation(f"no end after {HANG_S} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    args = parser.parse_args()
    rng = random.Random(args.seed)
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    signal.signal(signal.SIGALRM, _hangs)
    for number, (version, stream) in enumerate(inputs(rng, args.inputs), 1):
        signal.alarm(HANG_S)
        try:
            outcomes[check(version, stream, rng)] += 1
        except Exception:  # noqa: BLE001  whatever it is, it is a violation, and its input is what is wanted
            traceback.print_exc()
            shown = f"{stream[:500].hex()}{'…' if len(stream) > 500 else ''}"
            print(f"violated by input {number} of seed {args.seed}, version {version}: {shown}", file=sys.stderr)
            return 1
        if number % max(1, args.inputs // 10) == 0:
            print(f"{number:,} of {args.inputs:,}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    signal.alarm(0)
    took = time.monotonic() - began
    print(f"fuzz_wire: {args.inputs:,} inputs, seed {args.seed}, {took:.1f} s, no violation")
    for outcome, count in outcomes.most_common():
        print(f"  {outcome:24} {count:>9,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
