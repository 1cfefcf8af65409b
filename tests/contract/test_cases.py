"""Every folder under tests/cases/{dsx,gpu,sparkplug,line,mapped} is a case; its name is the symptom.

What is fed, in order: `topic.txt` and `payload.json`, or `01_topic.txt`, `01_payload.json`, `02_…` (`.bin` holds bytes
as they are; `.packed` is MessagePack and `.sparkplug` protobuf, both written down as JSON: tests/forms.py).
`settings.json` may override bounds and `points_max`, and say that messages are `retained`. `rules.toml` is the table of
the codec in the settings of a source; RULES where it is not there.

What must come of it: `readings.csv` (what is stored, past or held at the end), `rejects.csv`, `points.csv` (described
points, any fields of a Point), `remarks.csv` and `wishes.csv`. A file that is not there says "none", except points.csv,
which says nothing. Messages are received at 2025-04-02T19:00:23Z.

Each case is fed message by message, as one batch, and with good neighbours around every message."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from collectors.codecs.bounds import Bounds
from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.line import LineCodec
from collectors.codecs.mapped import MappedCodec
from collectors.codecs.sparkplug import SparkplugCodec
from dcim.app.codec_settings import Line, MappedTopic, Sparkplug
from dcim.core.ledger import SAMPLE_BYTES, RejectReason, Remark
from dcim.core.points import PointIndex
from dcim.core.ports import Codec, Decoded, Message
from dcim.core.readings import Quality, Readings
from tests import forms

CASES = Path(__file__).parent.parent / "cases"
RECEIVED_MS = 1_743_620_423_000

Reasons, Remarks = set[RejectReason], set[Remark]
NOT_OF_A_CODEC = {
    RejectReason.TOO_MANY_HELD,
    RejectReason.STORE_REFUSED,
    RejectReason.PAST_RETENTION,
    RejectReason.OVERFLOW,
}
OF_SPARKPLUG_ALONE = {RejectReason.BIRTH_MISSING, RejectReason.NOT_TELEMETRY}
OF_DSX_ALONE = {RejectReason.OBJECT_TYPE_UNKNOWN}
CHANGES = {Remark.DESCRIPTION_CHANGED, Remark.UNIT_CHANGED, Remark.UNIT_UNKNOWN, Remark.VALUE_IMPLAUSIBLE}

RULES: dict[str, dict[str, Any]] = {
    "sparkplug": {},
    "line": {"topics": ["telegraf/#"]},
    "mapped": {
        "topic": "plant/{hall}/{rack}",
        "asset": "{rack}",
        "kind": "Rack",
        "time": "ts",
        "fields": [
            {"path": "power", "quantity": "RackPower", "unit": "W"},
            {"path": "liquid.supply_f", "quantity": "RackLiquidSupplyTemperature", "unit": "degF"},
            {"path": "leak", "quantity": "RackLeakDetect"},
        ],
    },
}


class KindOf(NamedTuple):
    """What is to be known of a codec in order to feed it."""

    make: Callable[[PointIndex, Bounds, dict[str, Any]], Codec]
    """Index, bounds, and the codec's table."""
    neighbours: tuple[Message, Callable[[int], Message]]
    """A message that makes one point, and the n-th that gives it the value n."""
    first_gives: int
    """Values that the first of them gives."""
    without: Reasons
    """Reasons that it never has."""
    remarks: Remarks
    """All that it has."""


def _first_and_others(first: Message, other: Callable[[int], tuple[bytes, bytes]]) -> tuple[Message, Any]:
    return first, lambda n: Message(*other(n))


KINDS = {
    "dsx": KindOf(
        lambda index, bounds, _: DsxCodec(index, site="hall", bus="b", bounds=bounds),
        _first_and_others(
            Message(
                b"BMS/v1/PUB/Metadata/Rack/RackPower/the-neighbour",
                b'{"objectType":"Rack","pointType":"RackPower","engUnit":"kW","rackLocationId":"N"}',
            ),
            lambda n: (
                b"BMS/v1/PUB/Value/Rack/RackPower/the-neighbour",
                b'{"value":%d,"timestamp":%d,"quality":1}' % (n, RECEIVED_MS - n),
            ),
        ),
        0,
        OF_SPARKPLUG_ALONE | {RejectReason.NOT_NUMERIC},
        CHANGES | {Remark.SERVES_CYCLE},
    ),
    "gpu": KindOf(
        lambda index, bounds, _: GpuCodec(index, site="hall", bounds=bounds),
        _first_and_others(
            Message(
                b"dcim/v1/hall/gpu/the-neighbour",
                b'{"time":%d,"gpus":[{"index":0}],"fields":{"155":[0]}}' % RECEIVED_MS,
            ),
            lambda n: (
                (
                    b"dcim/v1/hall/gpu/the-neighbour",
                    b'{"time":%d,"gpus":[{"index":0}],"fields":{"155":[%d]}}' % (RECEIVED_MS - n, n),
                )
                if n % 2
                else (
                    b"dcim/v1/hall/gpu/the-neighbour/msgpack",
                    forms.packed({"time": RECEIVED_MS - n, "gpus": [{"index": 0}], "fields": {"155": {"f4": [n]}}}),
                )
            ),
        ),
        1,
        OF_SPARKPLUG_ALONE | OF_DSX_ALONE | {RejectReason.NOT_NUMERIC},
        {Remark.VALUE_IMPLAUSIBLE, Remark.DESCRIPTION_CHANGED},
    ),
    "sparkplug": KindOf(
        lambda index, bounds, rules: SparkplugCodec(
            index, site="hall", bus="b", rules=Sparkplug(**rules).rules(), bounds=bounds
        ),
        _first_and_others(
            Message(
                b"spBv1.0/G/NBIRTH/the-neighbour",
                forms.sparkplug(
                    {
                        "timestamp": RECEIVED_MS,
                        "seq": 0,
                        "metrics": [{"name": "active_power_kw", "alias": 1, "datatype": 9, "float_value": 0}],
                    }
                ),
            ),
            lambda n: (
                b"spBv1.0/G/NDATA/the-neighbour",
                forms.sparkplug({"timestamp": RECEIVED_MS - n, "seq": n, "metrics": [{"alias": 1, "float_value": n}]}),
            ),
        ),
        1,
        OF_DSX_ALONE | {RejectReason.NESTED_TOO_DEEPLY, RejectReason.TIME_NEGATIVE},
        CHANGES | {Remark.SEQUENCE_GAP},
    ),
    "line": KindOf(
        lambda index, bounds, rules: LineCodec(index, site="hall", bus="b", rules=Line(**rules).rules(), bounds=bounds),
        _first_and_others(
            Message(b"telegraf/h", b"rack,asset=the-neighbour power_kw=0"),
            lambda n: (b"telegraf/h", b"rack,asset=the-neighbour power_kw=%d" % n),
        ),
        1,
        OF_SPARKPLUG_ALONE
        | OF_DSX_ALONE
        | {RejectReason.NESTED_TOO_DEEPLY, RejectReason.TOPIC_NOT_UTF8, RejectReason.TOPIC_UNKNOWN},
        {Remark.UNIT_UNKNOWN, Remark.VALUE_IMPLAUSIBLE},
    ),
    "mapped": KindOf(
        lambda index, bounds, rules: MappedCodec(
            index,
            site="hall",
            bus="b",
            mappings=[MappedTopic(**told).mapping() for told in (rules, NEIGHBOUR_MAPPING)],
            bounds=bounds,
        ),
        _first_and_others(
            Message(b"the-neighbour", b'{"value":0,"at":%d}' % RECEIVED_MS),
            lambda n: (b"the-neighbour", b'{"value":%d,"at":%d}' % (n, RECEIVED_MS - n)),
        ),
        1,
        OF_SPARKPLUG_ALONE | OF_DSX_ALONE | {RejectReason.NOT_NUMERIC, RejectReason.METADATA_CONTRADICTS},
        CHANGES,
    ),
}
NEIGHBOUR_MAPPING: dict[str, Any] = {
    "topic": "the-neighbour",
    "asset": "N",
    "kind": "Rack",
    "time": "at",
    "fields": [{"path": "value", "quantity": "RackPower"}],
}


@dataclass
class Case:
    """A folder, read. Every file in it must be one that is read here."""

    folder: Path
    messages: list[Message] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] | None = None
    readings: list[dict[str, str]] = field(default_factory=list)
    rejects: list[dict[str, str]] = field(default_factory=list)
    points: list[dict[str, str]] | None = None
    remarks: list[dict[str, str]] = field(default_factory=list)
    wishes: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Case:
        case, left = cls(folder), {path.name: path for path in folder.iterdir()}
        for prefix in sorted({name[: -len("topic.txt")] for name in left if name.endswith(("topic.txt", "topic.bin"))}):
            case.messages.append(Message(_take(left, f"{prefix}topic"), _take(left, f"{prefix}payload")))
        if "settings.json" in left:
            case.settings = json.loads(left.pop("settings.json").read_text())
        if case.settings.pop("retained", False):
            case.messages = [message._replace(retain=True) for message in case.messages]
        if "rules.toml" in left:
            case.rules = tomllib.loads(left.pop("rules.toml").read_text())
        expected = [name for name in ("readings", "rejects", "points", "remarks", "wishes") if f"{name}.csv" in left]
        for name in expected:
            with left.pop(f"{name}.csv").open(newline="") as file:
                setattr(case, name, list(csv.DictReader(file)))
        assert case.messages, f"{folder.name} feeds nothing"
        assert expected, f"{folder.name} expects nothing"
        single = folder.parent.name == "dsx" and len(case.messages) == 1
        assert not (single and {"readings", "rejects"} <= set(expected)), f"{folder.name}: one message cannot be both"
        assert not left, f"{folder.name} has files that nobody reads: {sorted(left)}"
        return case


def _take(left: dict[str, Path], name: str) -> bytes:
    for suffix in (".txt", ".json"):
        if name + suffix in left:
            return left.pop(name + suffix).read_bytes().removesuffix(b"\n")
    for suffix, form in ((".packed", forms.packed), (".sparkplug", forms.sparkplug)):
        if name + suffix in left:
            return form(json.loads(left.pop(name + suffix).read_text()))
    return left.pop(f"{name}.bin").read_bytes()


@dataclass
class Outcome:
    """What is there after everything was fed, as a service would have it."""

    stored: list[Readings] = field(default_factory=list)
    held: list[Readings] = field(default_factory=list)
    past: list[Readings] = field(default_factory=list)
    wishes: set[str] = field(default_factory=set)
    rejects: list[tuple[str, str, str]] = field(default_factory=list)
    remarks: Counter[Remark] = field(default_factory=Counter)
    items: int = 0

    def take(self, decoded: Decoded, index: PointIndex) -> None:
        self.items += sum(decoded.items.values())
        self.stored.append(decoded.readings)
        self.past.append(decoded.past)
        self.wishes.update(wish.topic for wish in decoded.wishes)
        waiting = Readings.concat([*self.held, decoded.held])
        bound = [number in decoded.bound for number in waiting.point.tolist()]
        rows = [row for row, free in enumerate(bound) if free]
        rest = [row for row, free in enumerate(bound) if not free]
        self.stored.append(index.convert(_rows(waiting, rows)))
        self.held = [_rows(waiting, rest)]
        self.rejects += [(str(reject.reason), str(reject.kind), reject.detail) for reject in decoded.rejects]
        self.remarks.update(decoded.remarks)
        for reject in decoded.rejects:
            assert len(reject.topic) <= SAMPLE_BYTES
            assert len(reject.payload) <= SAMPLE_BYTES
            assert reject.detail


def _rows(readings: Readings, rows: list[int]) -> Readings:
    return readings.take(np.array(rows, np.intp))


def feed(case: Case, kind: str, *, whole: bool, neighbours: bool) -> tuple[Outcome, PointIndex]:
    bounds = {name: value for name, value in case.settings.items() if name != "points_max"}
    index = PointIndex(case.settings.get("points_max", 1_000) + (1 if neighbours else 0))
    rules = RULES.get(kind, {}) if case.rules is None else case.rules
    codec = KINDS[kind].make(index, Bounds(**bounds), rules)
    messages = list(case.messages)
    if neighbours:
        first, another = KINDS[kind].neighbours
        messages = [first, another(1)]
        for n, message in enumerate(case.messages):
            messages += [message, another(n + 2)]
    outcome = Outcome()
    for batch in [messages] if whole else [[message] for message in messages]:
        outcome.take(codec.decode(batch, RECEIVED_MS * 1000), index)
    return outcome, index


def rows_of(readings: list[Readings], where: str, index: PointIndex) -> list[tuple[str, str, str, str, str]]:
    return sorted(
        (index.key(point).split("|", 2)[2], f"{time / 1000:.16g}", _figure(value), Quality(quality).name.lower(), where)
        for part in readings
        for point, time, value, quality in zip(
            part.point.tolist(), part.time.tolist(), part.value.tolist(), part.quality.tolist(), strict=True
        )
    )


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ";".join(f"{part[0]}={part[1]}" if isinstance(part, tuple) else str(part) for part in value)
    return "" if value is None else str(value)


FOLDERS = [path for kind in KINDS for path in sorted((CASES / kind).iterdir())]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_case(folder):
    case = Case.of(folder)
    for whole in (False, True):  # message by message, or one batch
        for neighbours in (False, True):
            check(case, folder.parent.name, whole=whole, neighbours=neighbours)


def check(case: Case, kind: str, *, whole: bool, neighbours: bool) -> None:
    outcome, index = feed(case, kind, whole=whole, neighbours=neighbours)

    found = {"stored": outcome.stored, "past": outcome.past, "held": outcome.held}
    rows = [row for where, readings in found.items() for row in rows_of(readings, where, index)]
    ours = [row for row in rows if "the-neighbour" not in row[0]]
    assert len(rows) - len(ours) == (len(case.messages) + 1 + KINDS[kind].first_gives if neighbours else 0)
    wanted = [tuple(row[name] for name in ("point", "time_ms", "value", "quality", "where")) for row in case.readings]
    assert sorted(ours) == sorted(wanted)

    assert len(outcome.rejects) == sum(int(row["items"]) for row in case.rejects)
    rejects = iter(outcome.rejects)
    for row in case.rejects:
        for _ in range(int(row["items"])):
            reason, item, detail = next(rejects)
            assert (reason, item) == (row["reason"], row["kind"])
            assert row["detail"] in detail
    assert {str(remark): count for remark, count in outcome.remarks.items()} == {
        row["remark"]: int(row["count"]) for row in case.remarks
    }
    assert outcome.wishes == {row["topic"] for row in case.wishes}
    if kind == "dsx":
        assert outcome.items == len(case.messages) + (0 if not neighbours else len(case.messages) + 2)
    if case.points is not None:
        first = 1 if neighbours else 0  # the neighbour has number 0
        known = [replace(point, id=point.id - first) for point in index if "neighbour" not in point.path]
        assert [
            {name: _said(getattr(point, name)) for name in row} for point, row in zip(known, case.points, strict=False)
        ] == case.points
        assert len(known) == len(case.points)


def test_every_reason_and_remark_of_a_codec_has_a_case():
    for kind, of in KINDS.items():
        cases = [Case.of(folder) for folder in FOLDERS if folder.parent.name == kind]
        seen = {row["reason"] for case in cases for row in case.rejects}
        assert (kind, seen) == (kind, {str(reason) for reason in set(RejectReason) - NOT_OF_A_CODEC - of.without})
        assert {row["remark"] for case in cases for row in case.remarks} == {str(remark) for remark in of.remarks}


@pytest.mark.parametrize(
    ("files", "mistake"),
    [
        ({"rejects.csv": "reason\n"}, "feeds nothing"),
        ({"topic.txt": "t", "payload.json": "{}"}, "expects nothing"),
        ({"topic.txt": "t", "payload.json": "{}", "readings.csv": "point\n", "rejects.csv": "reason\n"}, "both"),
        ({"topic.txt": "t", "payload.json": "{}", "rejects.csv": "reason\n", "reject.csv": ""}, "nobody reads"),
    ],
)
def test_a_case_that_proves_nothing_fails(tmp_path, files, mistake):
    folder = tmp_path / "dsx" / "a_case"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(AssertionError, match=mistake):
        Case.of(folder)


def test_cases_override_bounds_that_exist():
    known = {bound.name for bound in fields(Bounds)} | {"points_max"}
    for folder in FOLDERS:
        assert set(Case.of(folder).settings) <= known, folder.name
