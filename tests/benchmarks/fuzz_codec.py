"""Hostile input for the codecs: good messages, broken in bytes and in structure, and what must hold whatever comes.

    python -m tests.benchmarks.fuzz_codec --inputs 200000 --seed 1

Exits with 1 and shows the batch when something does not hold. The seed alone decides what is sent."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from collectors.codecs.bounds import Bounds
from collectors.codecs.mixed import MixedCodec
from dcim.core.ledger import SAMPLE_BYTES, Kind
from dcim.core.points import PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.readings import Quality

NOW_MS = 1_743_620_423_000
BOUNDS = Bounds(payload_bytes_max=60_000, metadata_bytes_max=20_000, states_max=20, serves_max=20)
POINTS_MAX = 3_000
NEAR = "BMS/v1/PUB/Value/Rack/RackPower/the/neighbour"
STATES = [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]
HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *("", " ", "1", "NaN", "\x00", "é", "\ud7ff", "𝛥", "a" * 600, "LPM", "degF", "A", "PUB", "x|y/z"),
    *([], {}, [[]], [None] * 30, [1, "2"], ["a"] * 30, [{"value": 1, "text": "x"}] * 3, {"value": 1, "text": 2}),
    *(NOW_MS, NOW_MS * 1000, 946_684_799_000, 4_070_908_800_000, -NOW_MS, 9_223_372_036_854_775_794, 2.0**47),
]
LITERALS = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b"0" * 20,
    b"\\ud800",
    b"\xff\xfe",
    b"\x00",
    b'"',
    b"}",
    b"[" * 90,
]


def good(rng: random.Random) -> Message:
    """A message that a well-behaved sender could send."""
    n = rng.randrange(12)
    kind = rng.randrange(5)
    if kind == 0:
        told = {
            "value": rng.choice([None, 1, rng.random() * 100]),
            "timestamp": NOW_MS - n,
            "quality": rng.randrange(3),
        }
        rest = rng.choice(["CDU/LiquidFlow", "Rack/RackPower", "Sensor/LeakDetect", "CDU/GenericPoint"])
        return Message(f"BMS/v1/PUB/Value/{rest}/a/{n}".encode(), dump(told))
    if kind == 1:
        told = {"value": rng.randrange(2), "timestamp": NOW_MS, "quality": 1}
        writer = rng.choice(["NICO", "SUCC", "PUB"])
        return Message(f"BMS/v1/{writer}/Value/Rack/RackLeakDetectTray/{n}".encode(), dump(told))
    if kind == 2:
        told = {"objectType": "CDU", "pointType": "LiquidFlow", "objectId": f"cdu-{n}", "objectName": "CDU"}
        told |= {"engUnit": rng.choice(["LPM", "GPM", "buckets"]), "servesId": [f"cdu-{rng.randrange(12)}"]}
        told |= {"processArea": rng.choice([["Primary", "Inlet"], ["Seccondary"], []]), "isSetpoint": n == 3}
        return Message(f"BMS/v1/PUB/Metadata/CDU/LiquidFlow/a/{n}".encode(), dump(told))
    if kind == 3:
        point_type = rng.choice(["RackLeakDetectTray", "RackLeakDetect", "RackPower", "GenericPoint"])
        told = {"objectType": "Rack", "pointType": point_type, "rackLocationId": f"R{n}", "integration": "NICO"}
        told |= rng.choice([{"stateText": STATES}, {"engUnit": "kW"}, {"phase": "2"}])
        return Message(f"BMS/v1/PUB/Metadata/Rack/{point_type}/{n}".encode(), dump(told))
    seats = [{"index": i, "uuid": f"GPU-{i + rng.randrange(2)}-{i}"} for i in range(rng.randrange(1, 4))]
    fields = {rng.choice(["155", "150", "112", "156", "1004", "7"]): [rng.random() for _ in seats] for _ in range(3)}
    told = {"time": NOW_MS - n, "rack": f"R{n % 3}", "gpus": seats, "fields": fields}
    return Message(f"dcim/v1/s/gpu/h{n}".encode(), dump(told))


def dump(told: object) -> bytes:
    """JSON with everything that JSON has no word for, too: NaN, lone surrogates."""
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def break_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes gone, changed, doubled or strange."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at, size = rng.randrange(len(out) + 1), rng.randrange(1, 9)
        match rng.randrange(5):
            case 0:
                del out[at : at + size]
            case 1:
                out[at:at] = rng.randbytes(size)
            case 2:
                out[at:at] = rng.choice(LITERALS)
            case 3:
                out[at:at] = out[at : at + 40]
            case _:
                out[at : at + size] = rng.choice(LITERALS)
    return bytes(out)


def break_structure(rng: random.Random, payload: bytes) -> bytes:
    """One place of the document is another thing, missing, renamed, or very deep."""
    told = json.loads(payload)
    places = list(walk(told))
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(["value", "engUnit", "stateText", "associateId", "objectId", "gpus"])] = holder.pop(key)
        case 2:
            deep: Any = holder[key]
            for _ in range(rng.choice([2, 40, 300])):
                deep = [deep] if rng.random() < 0.5 else {"x": deep}
            holder[key] = deep
        case _:
            holder[key] = rng.choice(HOSTILE)
    return dump(told)


def walk(told: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    for key in list(told) if isinstance(told, dict) else range(len(told)):
        yield told, key
        if isinstance(told[key], dict | list):
            yield from walk(told[key])


def hostile(rng: random.Random) -> Message:
    """A good message, mostly broken."""
    message = good(rng)
    topic, payload = message.topic, message.payload
    chance = rng.random()
    if chance < 0.1:
        return message
    if chance < 0.2:
        topic = break_bytes(rng, topic)
    elif chance < 0.55:
        payload = break_bytes(rng, payload)
    elif chance < 0.98:
        payload = break_structure(rng, payload)
    else:
        payload = rng.choice(
            [b"", b"[" * 10_000, b'{"a":' * 10_000, b'"' + b'\\"' * 20_000, b" " * 70_000, dump(HOSTILE[9])]
        )
    return Message(topic, payload)


def broken_promise(got: Decoded, sent: list[Message], index: PointIndex, neighbours: int) -> str:
    """What does not hold, or ""."""
    gpus = sum(message.topic.startswith(b"dcim/") for message in sent)
    items = sum(got.items.values())
    if items < len(sent) - gpus or (gpus == 0 and items != len(sent)):
        return f"{len(sent)} messages, {gpus} of them of GPUs, came to {items} items"
    for readings in (got.readings, got.held):
        if np.isinf(readings.value).any():
            return "an infinite value was taken"
        if (np.isnan(readings.value) & (readings.quality != Quality.BAD)).any():
            return "a missing value was not bad"
        ahead = readings.time - NOW_MS * 1000
        if ((ahead > BOUNDS.ahead_max_s * 1_000_000) | (-ahead > BOUNDS.age_max_s * 1_000_000)).any():
            return "a time out of bounds was taken"
    if any(index[number] is None for number in got.readings.point.tolist()):
        return "a reading of a point without description was not held"
    if any(index[number] is not None for number in got.held.point.tolist()):
        return "a reading of a described point was held"
    near = index.locate("s|b|Rack/RackPower/the/neighbour")
    mine = got.readings.value[got.readings.point == near]
    if mine.tolist() != list(range(neighbours)):
        return f"of {neighbours} good neighbours {len(mine)} came through"
    if any(len(reject.topic) > SAMPLE_BYTES or len(reject.payload) > SAMPLE_BYTES for reject in got.rejects):
        return "a reject is larger than it may be"
    if any(not reject.detail or not reject.detail.isprintable() for reject in got.rejects):
        return "a reject has no plain detail"
    return ""


def restart(index: PointIndex) -> str:
    """Whether what is known survives the disk."""
    again = PointIndex(POINTS_MAX)
    records = index.changed()
    for record in records:
        (record.described or "").encode()
        record.key.encode()
    again.restore(records)
    same = all(again[number] == index[number] for number in range(len(index)))
    return "" if same and len(again) == len(index) else "the index came back from disk another"


def fuzz(inputs: int, seed: int, say: Callable[[str], None]) -> tuple[str, list[Message]]:
    """Sends so many messages in batches of 1 to 60. Answers what did not hold, with the batch, or ("", [])."""
    rng = random.Random(seed)
    index = PointIndex(POINTS_MAX)
    codec = MixedCodec(index, site="s", bus="b", bounds=BOUNDS)
    told = {"objectType": "Rack", "pointType": "RackPower", "engUnit": "kW", "rackLocationId": "N"}
    codec.decode([Message(NEAR.replace("Value", "Metadata").encode(), dump(told))], NOW_MS * 1000)
    reasons: Counter[str] = Counter()
    sent, start, shown = 0, time.perf_counter(), 0
    while sent < inputs:
        batch = []
        neighbours = rng.randrange(1, 30)
        for n in range(neighbours):
            batch.append(Message(NEAR.encode(), dump({"value": n, "timestamp": NOW_MS, "quality": 1})))
            batch += [hostile(rng) for _ in range(rng.randrange(3))]
        try:
            got = codec.decode(batch, NOW_MS * 1000)
        except Exception as error:  # noqa: BLE001  whatever it is, it must not be
            return f"{type(error).__name__}: {error}", batch
        wrong = broken_promise(got, batch, index, neighbours)
        if wrong:
            return wrong, batch
        sent += len(batch) - neighbours
        reasons.update(str(reject.reason) for reject in got.rejects)
        reasons["stored"] += got.items[Kind.VALUE] and len(got.readings)
        reasons["held"] += len(got.held)
        reasons["described"] += got.described
        if sent - shown >= max(1, inputs // 10):
            shown = sent
            say(f"{sent:,} of {inputs:,} inputs, {sent / (time.perf_counter() - start):,.0f} a second")
    say("  ".join(f"{reason} {count:,}" for reason, count in reasons.most_common()))
    return restart(index), []


def main() -> int:
    """Runs, and says what did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    wrong, batch = fuzz(chosen.inputs, chosen.seed, lambda line: print(line, flush=True))
    if wrong:
        print(f"seed {chosen.seed}: {wrong}", file=sys.stderr)
        for message in batch:
            print(f"  {message.topic[:200]!r} {message.payload[:400]!r}", file=sys.stderr)
        return 1
    print(f"{chosen.inputs:,} inputs, seed {chosen.seed}: everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
