"""What decoding costs: values per CPU-second of one core, and how many times that is of the naive way, in one run.

    python -m tests.benchmarks.bench_codec [--rounds 9]

The naive way is what one writes first: json.loads, a dictionary of points, lists, and the same columns at the end."""

from __future__ import annotations

import argparse
import json
import platform
import random
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.gpus import SENT
from collectors.codecs.line import LineCodec
from collectors.codecs.mapped import MappedCodec
from collectors.codecs.mixed import MixedCodec
from collectors.codecs.sparkplug import SparkplugCodec
from dcim.app.codec_settings import Line, MappedTopic
from dcim.core.points import PointIndex
from dcim.core.ports import Message
from dcim.core.quantities import BY_DCGM_FIELD, Nature
from dcim.core.readings import Quality, Readings
from tests import forms

Decode = Callable[[Sequence[Message], int], object]

NOW_MS = 1_743_620_423_000
RECEIVED = NOW_MS * 1000
BATCH = 20_000
GPU_FIELDS = (150, 140, 155, 157, 203, 1001, 1002, 1004, 1005, 100, 112, 156)


def machine() -> str:
    """The processor, and the versions that the figures hold for."""
    model = "an unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = f"{len(names)} × {names[0]}" if names else model
    return (
        f"{model}, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"msgspec {msgspec.__version__}, numpy {np.__version__}"
    )


def rest_of(point: int) -> str:
    """A path as long as those of real buses."""
    return f"Rack/RackLiquidSupplyTemperature/site/hall1/row{point % 40:02}/rack{point:06}/valve/supply/feedback/value"


def descriptions(points: int) -> list[Message]:
    """Metadata of that many racks."""
    return [
        Message(
            f"BMS/v1/PUB/Metadata/{rest_of(n)}".encode(),
            json.dumps(
                {
                    "objectType": "Rack",
                    "pointType": "RackLiquidSupplyTemperature",
                    "engUnit": "degF",
                    "rackLocationId": f"rack-{n}",
                    "rackLocationName": f"Rack {n}",
                }
            ).encode(),
        )
        for n in range(points)
    ]


def values(points: int, size: int) -> list[Message]:
    """A batch of values with payloads of `size` bytes, its topics fresh as from a socket."""
    made = []
    for n in range(BATCH):
        payload = b'{"value":%.6f,"timestamp":%d,"quality":1}' % (70 + random.random(), NOW_MS + n % 1000)
        if size > len(payload) + 8:
            payload = payload[:-1] + b',"x":"' + b"y" * (size - len(payload) - 7) + b'"}'
        made.append(Message(f"BMS/v1/PUB/Value/{rest_of(random.randrange(points))}".encode(), payload))
    return made


def full_scale(field: int) -> float:
    """A value that a field can have, as it is sent."""
    return min(BY_DCGM_FIELD[field].high, 90)


def reports(hosts: int, gpus: int) -> list[Message]:
    """One second of so many hosts."""
    made = []
    for host in range(hosts):
        seats = [{"index": n, "uuid": f"GPU-{host:08x}-5c1b-4d2e-9f00-{n:012x}"} for n in range(gpus)]
        fields = {str(field): [round(random.random() * full_scale(field), 3) for _ in seats] for field in GPU_FIELDS}
        told = {"time": NOW_MS, "rack": f"rack-{host}", "gpus": seats, "fields": fields}
        made.append(Message(f"dcim/v1/s/gpu/host{host}".encode(), json.dumps(told, separators=(",", ":")).encode()))
    return made


def packed(hosts: int, gpus: int, instants: int) -> list[Message]:
    """The same in MessagePack, so many instants a message."""
    made = []
    for host in range(hosts):
        seats = [{"index": n, "uuid": f"GPU-{host:08x}-5c1b-4d2e-9f00-{n:012x}"} for n in range(gpus)]
        fields = {
            field: (np.random.default_rng(host).random(gpus * instants) * full_scale(field))
            .astype("<f8" if BY_DCGM_FIELD[field].nature is Nature.COUNTER else "<f4")
            .tobytes()
            for field in GPU_FIELDS
        }
        told: dict[str, object] = {"rack": f"rack-{host}", "gpus": seats, "fields": fields}
        told |= {"time": NOW_MS} if instants == 1 else {"times": (NOW_MS - np.arange(instants) * 50).tobytes()}
        made.append(Message(f"dcim/v1/s/gpu/host{host}/msgpack".encode(), msgspec.msgpack.encode(told)))
    return made


def sparkplug(nodes: int, messages: int, metrics: int) -> tuple[list[Message], list[Message]]:
    """Births of so many nodes, and then so many messages of each with so many changed metrics."""
    births, made = [], []
    for node in range(nodes):
        told = [
            {"name": f"Loop {n}/Supply/liquid_temperature_c", "alias": n, "datatype": 9, "float_value": 35.0}
            for n in range(metrics)
        ]
        payload = forms.sparkplug({"timestamp": NOW_MS, "seq": 0, "metrics": told})
        births.append(Message(f"spBv1.0/G/NBIRTH/n{node}".encode(), payload))
    for seq in range(1, messages + 1):
        for node in range(nodes):
            changed = [
                {"alias": n, "timestamp": NOW_MS + seq, "float_value": 35 + random.random()} for n in range(metrics)
            ]
            payload = forms.sparkplug({"timestamp": NOW_MS, "seq": seq, "metrics": changed})
            made.append(Message(f"spBv1.0/G/NDATA/n{node}".encode(), payload))
    return births, made


def telegraf(messages: int, lines: int) -> list[Message]:
    """What Telegraf sends of so many racks at once, four fields a line."""
    made = []
    for _ in range(messages):
        told = [
            f"rack,asset=E{n:04},hall=Pod\\ 1C,host=gateway-1 liquid_flow_lpm={178 + random.random():.3f},"
            f"liquid_supply_temperature_c={35 + random.random():.3f},power_kw=118i,leak_detect=0i {NOW_MS}000000"
            for n in range(lines)
        ]
        made.append(Message(b"telegraf/racks", "\n".join(told).encode()))
    return made


def plain(messages: int) -> tuple[MappedTopic, list[Message]]:
    """Plain JSON with four values a message, and its mapping."""
    names = ("RackPower", "RackLiquidFlow", "RackLiquidSupplyTemperature", "RackLeakDetect")
    told = {
        "topic": "plant/{hall}/{rack}",
        "asset": "{rack}",
        "kind": "Rack",
        "time": "ts",
        "fields": [{"path": f"values.{name}", "quantity": name} for name in names],
    }
    made = [
        Message(
            f"plant/h1/E{n % 1_000}".encode(),
            json.dumps({"ts": NOW_MS, "values": dict.fromkeys(names, round(random.random(), 3))}).encode(),
        )
        for n in range(messages)
    ]
    return MappedTopic.model_validate(told), made


def naive_dsx(points: int) -> Callable[[Sequence[Message], int], Readings]:
    """The way one writes first, with the same answer."""
    known = {f"BMS/v1/PUB/Value/{rest_of(n)}": (n, 5 / 9, -160 / 9, 0.0, 90.0) for n in range(points)}

    def decode(messages: Sequence[Message], received: int) -> Readings:
        point, times, value, quality = [], [], [], []
        for message in messages:
            told = json.loads(message.payload)
            number, scale, offset, low, high = known[message.topic.decode()]
            if not isinstance(told["value"], int | float) or not 0 <= told["timestamp"] * 1000 <= received + 3e8:
                continue
            kept = told["value"] * scale + offset
            point.append(number)
            times.append(told["timestamp"] * 1000)
            value.append(kept)
            doubt = Quality.GOOD if low <= kept <= high else Quality.UNCERTAIN
            quality.append(Quality.BAD if told["quality"] != 1 else doubt)
        return Readings.of(point, times, value, quality)

    return decode


def naive_gpu(messages: Sequence[Message], received: int) -> Readings:
    """The same for GPUs."""
    return to_readings_naively([(m.topic.decode().rsplit("/", 1)[1], json.loads(m.payload)) for m in messages])


def to_readings_naively(reports: list[tuple[str, dict[str, Any]]]) -> Readings:
    """Reports by host to readings, value by value."""
    numbers: dict[tuple[str, str, object], int] = {}
    point, times, value, quality = [], [], [], []
    for host, told in reports:
        for field, column in told["fields"].items():
            row = BY_DCGM_FIELD[int(field)]
            for gpu, sent in zip(told["gpus"], column, strict=True):
                kept = sent * SENT.get(int(field), 1.0)
                point.append(numbers.setdefault((host, gpu["uuid"], field), len(numbers)))
                times.append(told["time"] * 1000)
                value.append(kept)
                quality.append(Quality.GOOD if row.low <= kept <= row.high else Quality.UNCERTAIN)
    return Readings.of(point, times, value, quality)


def naive_packed(messages: Sequence[Message], received: int) -> Readings:
    """MessagePack the naive way: unpacked value by value. One instant a message."""
    unpacked = []
    for message in messages:
        told = msgspec.msgpack.decode(message.payload, strict=False)
        width = len(told["gpus"])
        for field, column in told["fields"].items():
            told["fields"][field] = struct.unpack(f"<{width}{'d' if len(column) == 8 * width else 'f'}", column)
        unpacked.append((message.topic.decode().split("/")[4], told))
    return to_readings_naively(unpacked)


def rate(decode: Decode, batch: Sequence[Message], items: int, rounds: int) -> float:
    """Items per CPU-second, best of so many rounds: the others were disturbed."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        decode(batch, RECEIVED)
        best = min(best, time.process_time() - start)
    return items / best


def line(what: str, ours: float, naive: float | None = None) -> None:
    """Prints one result."""
    against = "" if naive is None else f"   {ours / naive:5.1f} × naive ({naive / 1e6:.2f} M/s)"
    print(f"  {what:<62} {ours / 1e6:7.2f} M/s{against}", flush=True)


def main() -> None:
    """Runs and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    random.seed(1)
    print(f"codecs, items per CPU-second on {machine()}")
    for points in (1_000, 100_000):
        codec, naive, told = DsxCodec(PointIndex(), site="s", bus="b"), naive_dsx(points), descriptions(points)
        line(f"dsx, new descriptions, {points:,} points", rate(codec.decode, told, points, 1))
        line("dsx, descriptions that came before", rate(codec.decode, told[:5_000], min(points, 5_000), rounds))
        for size in (55, 144):
            batch = values(points, size)
            assert np.allclose(codec.decode(batch, RECEIVED).readings.value, naive(batch, RECEIVED).value)
            ours, theirs = (rate(decode, batch, BATCH, rounds) for decode in (codec.decode, naive))
            line(f"dsx, values of {len(batch[0].payload)} bytes, {points:,} points", ours, theirs)
    mixed, batch = MixedCodec(PointIndex(), site="s", bus="b"), values(1_000, 144)
    mixed.decode(descriptions(1_000) + batch, RECEIVED)
    line("dsx through the mixed codec, values of 144 bytes", rate(mixed.decode, batch, BATCH, rounds))
    births, changed = sparkplug(20, 20, 50)
    nodes = SparkplugCodec(PointIndex(), site="s", bus="b")
    nodes.decode(births, RECEIVED)
    line("sparkplug, 50 metrics a message", rate(nodes.decode, changed, 20_000, rounds))
    telegraf_codec = LineCodec(PointIndex(), site="s", bus="b", rules=Line(topics=("t/#",)).rules())
    told = telegraf(20, 250)
    telegraf_codec.decode(told, RECEIVED)
    line("line protocol, 4 fields a line", rate(telegraf_codec.decode, told, 20_000, rounds))
    mapping, told = plain(5_000)
    mapped = MappedCodec(PointIndex(), site="s", bus="b", mappings=[mapping.mapping()])
    mapped.decode(told, RECEIVED)
    line("plain JSON by a mapping, 4 values a message", rate(mapped.decode, told, 20_000, rounds))
    for hosts, gpus in ((200, 8), (25, 72)):
        items, rates = hosts * gpus * len(GPU_FIELDS), {}
        for form, batch, naive in (
            ("JSON", reports(hosts, gpus), naive_gpu),
            ("MessagePack", packed(hosts, gpus, 1), naive_packed),
        ):
            gpu = GpuCodec(PointIndex(), site="s")
            assert np.allclose(
                *(np.sort(told.value) for told in (gpu.decode(batch, RECEIVED).readings, naive(batch, 0)))
            )
            rates[form], theirs = (rate(decode, batch, items, rounds) for decode in (gpu.decode, naive))
            line(f"gpu as {form}, {gpus} GPUs × {len(GPU_FIELDS)} fields", rates[form], theirs)
        many, batch = GpuCodec(PointIndex(), site="s"), packed(hosts, gpus, 20)
        many.decode(batch, RECEIVED)
        rates["20 instants"] = rate(many.decode, batch, 20 * items, rounds)
        line("gpu as MessagePack, 20 instants a message", rates["20 instants"])
        print(
            f"  MessagePack against JSON: {rates['MessagePack'] / rates['JSON']:.1f} × at one instant a message, "
            f"{rates['20 instants'] / rates['JSON']:.1f} × at 20"
        )


if __name__ == "__main__":
    main()
