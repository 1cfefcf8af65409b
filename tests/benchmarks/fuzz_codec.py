"""Hostile input for the codecs: good messages, broken in bytes and in structure, and what must hold whatever comes.

    python -m tests.benchmarks.fuzz_codec --inputs 200000 --seed 1

Exits with 1 and shows the batch when something does not hold. The seed alone decides what is sent."""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from collectors.codecs.bounds import Bounds
from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.line import LineCodec
from collectors.codecs.mapped import MappedCodec
from collectors.codecs.mixed import GPU_TOPICS
from collectors.codecs.router import Claim, CodecRouter
from collectors.codecs.sparkplug import SPARKPLUG_TOPICS, SparkplugCodec
from collectors.codecs.topics import matcher
from dcim.app.codec_settings import Line, MappedTopic
from dcim.core.ledger import SAMPLE_BYTES, Kind
from dcim.core.points import PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.readings import Quality
from tests import forms

NOW_MS = 1_743_620_423_000
BOUNDS = Bounds(payload_bytes_max=60_000, metadata_bytes_max=20_000, states_max=20, serves_max=20)
POINTS_MAX = 3_000
NEAR = "BMS/v1/PUB/Value/Rack/RackPower/the-neighbour"
SEVERAL_ITEMS = (GPU_TOPICS, SPARKPLUG_TOPICS, b"telegraf", b"plant/")
"""How topics begin whose messages may be several items."""
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


def everything(index: PointIndex) -> CodecRouter:
    """A source with every codec there is."""
    line = Line(topics=("telegraf/#",))
    mapped = MappedTopic.model_validate(
        {
            "topic": "plant/{rack}/{what}",
            "asset": "{rack}",
            "kind": "Rack",
            "time": "ts",
            "fields": [
                {"path": "v", "quantity": "{what}", "unit_path": "u", "unit": "kW"},
                {"path": "deep.0.x", "quantity": "RackLiquidFlow"},
                {"path": "leak", "quantity": "RackLeakDetect"},
            ],
        }
    )
    return CodecRouter(
        [
            Claim(GpuCodec(index, site="s", bounds=BOUNDS), GPU_TOPICS),
            Claim(SparkplugCodec(index, site="s", bus="b", bounds=BOUNDS), SPARKPLUG_TOPICS),
            Claim(LineCodec(index, site="s", bus="b", rules=line.rules(), bounds=BOUNDS), matcher(line.topics)),
            Claim(
                MappedCodec(index, site="s", bus="b", mappings=[mapped.mapping()], bounds=BOUNDS),
                matcher([mapped.topic_filter]),
            ),
        ],
        DsxCodec(index, site="s", bus="b", bounds=BOUNDS),
    )


def good(rng: random.Random) -> Message:
    """A message that a well-behaved sender could send."""
    draw = rng.choice(
        [good_dsx, good_dsx, good_gpu, good_packed, good_sparkplug, good_sparkplug, good_line, good_mapped]
    )
    return draw(rng)


def good_packed(rng: random.Random) -> Message:
    """GPUs in MessagePack."""
    n, instants = rng.randrange(12), rng.randrange(1, 4)
    seats = [{"index": i, "uuid": f"GPU-{i + rng.randrange(2)}-{i}"} for i in range(rng.randrange(1, 4))]
    cells = [rng.random() * 90 for _ in range(len(seats) * instants)]
    told: dict[str, Any] = {"rack": f"R{n % 3}", "gpus": seats, "fields": {}}
    for _ in range(3):
        told["fields"][rng.choice(["155", "150", "112", "156", "1004", "7"])] = {rng.choice(["f4", "f8", "f8"]): cells}
    told |= {"time": NOW_MS - n} if instants == 1 else {"times": {"i8": [NOW_MS - n - i for i in range(instants)]}}
    if rng.random() < 0.4:
        holder, key = rng.choice(list(walk(told)))
        holder[key] = rng.choice([None, -1, 2**63 - 1, "x", [], {}, {"f4": []}, {"f4": [float("inf")]}, b"\xff", 0.5])
    try:
        payload = forms.packed(told)
    except (TypeError, ValueError, OverflowError):  # numpy does not take everything for a column
        payload = b"\xc1"
    return Message(f"dcim/v1/s/gpu/h{n}/msgpack".encode(), payload)


def good_sparkplug(rng: random.Random) -> Message:
    """The life of a few nodes, in which messages are missing, doubled, and not what they were said to be."""
    verb = rng.choice(["NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDATA", "DDATA", "NDEATH", "DDEATH", "NCMD"])
    birth = verb.endswith("BIRTH")
    metrics: list[dict[str, Any]] = []
    if verb in {"NBIRTH", "NDEATH"}:
        metrics.append({"name": "bdSeq", "datatype": 8, "long_value": rng.randrange(2)})
    for alias in range(rng.randrange(5)) if verb != "NDEATH" else ():
        metric: dict[str, Any] = {"timestamp": rng.choice([*range(NOW_MS - 20, NOW_MS), 0, 2**64 - 1])}
        name = rng.choice(
            [f"Supply/liquid_temperature_c{alias}", "active_power_kw", "foo", "a/b/LiquidFlow", "bdSeq", ""]
        )
        metric |= {"name": name} if birth or rng.random() < 0.3 else {}
        metric |= {"alias": alias + 10 * rng.randrange(2)} if rng.random() < 0.9 else {}
        metric |= {"datatype": rng.choice([*range(15), 9, 9, 9, 9, 9, 9, 9, 9])} if birth else {}
        metric |= {"is_historical": rng.random() < 0.2, "is_null": rng.random() < 0.1}
        metric |= {"properties": {"engUnit": rng.choice(["degF", "W", "buckets"])}} if rng.random() < 0.2 else {}
        metric |= rng.choice(
            [
                {"int_value": rng.choice([0, 1, 300, 2**32 - 1])},
                {"long_value": rng.choice([0, 2**63, 2**64 - 1])},
                *[{"float_value": rng.choice([1.5, math.nan, math.inf])}] * 6,
                {"double_value": rng.choice([1.5, 1e308, -math.inf])},
                {"boolean_value": True},
                {"string_value": "x"},
                {},
            ]
        )
        metrics.append(metric)
    told: dict[str, Any] = {"timestamp": NOW_MS - rng.randrange(9), "metrics": metrics}
    if rng.random() < 0.9:
        told["seq"] = rng.randrange(4)
    device = f"/d{rng.randrange(3)}" if verb.startswith("D") else ""
    return Message(f"spBv1.0/G/{verb}/N{rng.randrange(3)}{device}".encode(), forms.sparkplug(told))


def good_line(rng: random.Random) -> Message:
    """Lines, some of which are none."""
    made = []
    for _ in range(rng.randrange(1, 5)):
        head = rng.choice(
            ["rack,asset=E04", "cdu,loop=primary,asset=C1", "gpu,gpu=0,asset=G", "cpu,host=h,asset=a\\ b"]
        )
        fields = ",".join(
            rng.choice(
                ["power_kw=1.5", "foo=2i", "leak_detect=t", 'text="a, b=\\" c"', "bar=nan", "baz", 'n="\n"', "q=1u"]
            )
            for _ in range(rng.randrange(1, 4))
        )
        made.append(f"{head} {fields}" + rng.choice(["", f" {NOW_MS - rng.randrange(9)}000000", " x"]))
    return Message(b"telegraf/h", "\n".join(made).encode())


def good_mapped(rng: random.Random) -> Message:
    """Plain JSON."""
    told = {"ts": NOW_MS - rng.randrange(9), "v": rng.random(), "u": rng.choice(["W", "buckets"]), "leak": True}
    told |= {"deep": [{"x": rng.choice([1, None, "x"])}]}
    what = rng.choice(["RackPower", "power_w", "foo", "LeakDetect"])
    return Message(f"plant/R{rng.randrange(3)}/{what}".encode(), dump(told))


def good_dsx(rng: random.Random) -> Message:
    """The BMS event bus."""
    n = rng.randrange(12)
    kind = rng.randrange(4)
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
    point_type = rng.choice(["RackLeakDetectTray", "RackLeakDetect", "RackPower", "GenericPoint"])
    told = {"objectType": "Rack", "pointType": point_type, "rackLocationId": f"R{n}", "integration": "NICO"}
    told |= rng.choice([{"stateText": STATES}, {"engUnit": "kW"}, {"phase": "2"}])
    return Message(f"BMS/v1/PUB/Metadata/Rack/{point_type}/{n}".encode(), dump(told))


def good_gpu(rng: random.Random) -> Message:
    """GPUs in JSON."""
    n = rng.randrange(12)
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
    """One place of the document is another thing, missing, renamed, or very deep; what is no document is broken in
    its bytes."""
    try:
        told = json.loads(payload)
    except ValueError:
        return break_bytes(rng, payload)
    places = list(walk(told))
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(["value", "engUnit", "stateText", "associateId", "objectId", "gpus", "v", "ts"])] = (
                holder.pop(key)
            )
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
    if chance < 0.1 or (not payload.startswith(b"{") and rng.random() < 0.5):  # some are drawn strange enough
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
    many = sum(message.topic.startswith(SEVERAL_ITEMS) for message in sent)
    gpus = sum(message.topic.startswith(GPU_TOPICS) for message in sent)
    items = sum(got.items.values())
    if items < len(sent) - gpus or (many == 0 and items != len(sent)):
        return f"{len(sent)} messages, {many} of them of several items, came to {items} items"
    for readings in (got.readings, got.held, got.past):
        if np.isinf(readings.value).any():
            return "an infinite value was taken"
        if (np.isnan(readings.value) & (readings.quality != Quality.BAD)).any():
            return "a missing value was not bad"
        ahead = readings.time - NOW_MS * 1000
        # A microsecond at a time is added to what has no time of its own, and to a death after the last value.
        if ((ahead > BOUNDS.ahead_max_s * 1_000_000 + 1_000) | (-ahead > BOUNDS.age_max_s * 1_000_000)).any():
            return "a time out of bounds was taken"
    described = [*got.readings.point.tolist(), *got.past.point.tolist(), *got.alive.tolist()]
    if any(index[number] is None for number in described):
        return "a reading of a point without description was not held"
    if any(index[number] is not None for number in got.held.point.tolist()):
        return "a reading of a described point was held"
    near = index.locate("s|b|Rack/RackPower/the-neighbour")
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
    codec = everything(index)
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
        reasons["past"] += len(got.past)
        reasons["alive"] += len(got.alive)
        reasons["wishes"] += len(got.wishes)
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
