"""What is written for boards beside the readings, and annotations: what they say, what becomes of them when nobody
takes them, and that the alarm engine never waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from alerts import rules
from alerts.engine import Engine
from dcim.app import annotator as annotating
from dcim.app import chronicle as chronicling
from dcim.app import facts, relations
from dcim.app import hall as halls
from dcim.app.annotator import Annotator, Outcome
from dcim.app.chronicle import Chronicle
from dcim.core.assets import AssetKey, Placement
from dcim.core.errors import Permanent, Transient
from dcim.core.facts import Fact
from dcim.core.findings import Detection, FindingKind, Subject
from dcim.core.ledger import Fault, Ledger, RejectReason
from dcim.core.live import Latest
from dcim.core.pace import Pace
from dcim.core.plant import Plant, survey
from dcim.core.points import Point, PointIndex
from dcim.core.readings import Quality, Readings, Tier
from dcim.core.times import to_us
from dcim.store.facts import TEXT_MAX, lines
from tests.alarms import T0, acknowledge, at, finding
from tests.boards import Kept, PagedJournal

KINDS = frozenset({FindingKind.LEAK_WET})
WET = Subject("titan", "A1")


def point(number: int, quantity: str, asset: str, kind: str, **more: Any) -> Point:
    told = {
        "id": number, "key": f"titan|bms|{number}", "site": "titan", "quantity": quantity, "unit": "", "asset": asset,
        "asset_name": asset, "asset_kind": kind, "object_type": kind,
    } | more  # fmt: skip
    return Point(**told)


@pytest.fixture
def index() -> PointIndex:
    """A rack on two taps of one busway each, cooled by a CDU."""
    made = PointIndex(1_000)
    rows: list[tuple[str, str, str, tuple[str, ...]]] = [
        ("RackPower", "A1", "Rack", ()),
        ("RackLiquidSupplyTemperature", "A1", "Rack", ()),
        ("PhaseCurrent", "TAP-A", "PowerMeter", ("A1",)),
        ("CurrentLimit", "TAP-A", "PowerMeter", ("A1",)),
        ("PhaseCurrent", "TAP-B", "PowerMeter", ("A1",)),
        ("CurrentLimit", "TAP-B", "PowerMeter", ("A1",)),
        ("ActivePower", "BUS-A", "PowerMeter", ("TAP-A",)),
        ("ActivePower", "BUS-B", "PowerMeter", ("TAP-B",)),
        ("LiquidFlow", "CDU-1", "CDU", ("A1",)),
    ]
    for quantity, asset, kind, serves in rows:
        number = made.locate(f"titan|bms|{asset}/{quantity}")
        made.describe(point(number, quantity, asset, kind, key=f"titan|bms|{asset}/{quantity}", serves=serves))
    return made


@pytest.fixture
def plant(index: PointIndex) -> Plant:
    placed = {
        AssetKey("titan", "A1"): Placement("Hall 1", "A", 1, 120.0),
        AssetKey("titan", "CDU-1"): Placement("Hall 1", rated_power_kw=960.0),
        AssetKey("titan", "BUS-A"): Placement("Hall 1"),
        AssetKey("titan", "BUS-B"): Placement("Hall 1"),
    }
    return survey(index, placed)


def heard(plant: Plant, seconds_ago: float = 1.0, **values: float) -> Latest:
    """The latest values, by "ASSET/Quantity" with _ for -."""
    latest, numbers = Latest(), {one.key.rpartition("|")[2]: one.id for one in plant.points.values()}
    when = to_us(T0 - timedelta(seconds=seconds_ago))
    told = {numbers[name.replace("__", "/").replace("_", "-")]: value for name, value in values.items()}
    rows = Readings.of(list(told), [when] * len(told), list(told.values()), [Quality.GOOD] * len(told))
    latest.take(rows, when)
    return latest


FEEDS = {
    "TAP_A__PhaseCurrent": 100.0, "TAP_A__CurrentLimit": 250.0, "TAP_B__PhaseCurrent": 92.0,
    "TAP_B__CurrentLimit": 250.0, "BUS_A__ActivePower": 60.0, "BUS_B__ActivePower": 55.0, "A1__RackPower": 110.0,
}  # fmt: skip


# --- facts


def test_facts_become_lines_that_cannot_be_misread() -> None:
    told = lines(
        [
            Fact(
                "a", {"x": "b c,d=e", "empty": ""}, {"t": 'say "\\"\nnow', "n": 3, "none": None, "nan": float("nan")}, 5
            ),
            Fact("nothing", {}, {"none": None}, 6),
            Fact("long", {}, {"t": "x" * (TEXT_MAX + 9)}, 7),
        ]
    ).decode()
    assert told.split("\n") == [
        'a,x=b\\ c\\,d\\=e t="say \\"\\\\\\" now",n=3.0 5', f'long t="{"x" * TEXT_MAX}" 7', "",
    ]  # fmt: skip


def test_meters_are_told_with_the_rack_that_they_feed(plant: Plant) -> None:
    told = {one.tags["asset"]: one for one in relations.feeds(plant, heard(plant, **FEEDS), to_us(T0))}
    assert told["TAP-A"].tags == {
        "site": "titan", "hall": "Hall 1", "row": "A", "rack": "A1", "asset": "TAP-A", "level": "1", "incoming": "no",
    }  # fmt: skip
    assert told["TAP-A"].fields["load_pct"] == 40.0
    assert (told["BUS-A"].tags["level"], told["BUS-A"].tags["incoming"]) == ("2", "yes")
    assert told["BUS-A"].fields["power_kw"] == 60.0


def test_what_is_left_when_a_feed_is_lost(plant: Plant) -> None:
    (told,) = relations.failover(plant, heard(plant, **FEEDS), to_us(T0))
    assert told.tags["rack"] == "A1"
    assert told.fields["load_pct"] == pytest.approx(100 * 192 / (0.8 * 250))
    blind = {name: value for name, value in FEEDS.items() if name != "TAP_B__PhaseCurrent"}
    assert list(relations.failover(plant, heard(plant, **blind), to_us(T0))) == [], "half of it is not known"
    assert list(relations.failover(plant, heard(plant, 300.0, **FEEDS), to_us(T0))) == [], "stale"


def test_a_sum_of_which_something_is_missing_is_not_told(plant: Plant) -> None:
    (told,) = relations.totals(plant, heard(plant, **FEEDS), to_us(T0))
    assert (told.fields["racks_kw"], told.fields["incoming_kw"]) == (110.0, 115.0)
    assert (told.fields["racks_rated_kw"], told.fields["cdus_rated_kw"]) == (120.0, 960.0)
    half = {name: value for name, value in FEEDS.items() if name != "BUS_B__ActivePower"}
    (told,) = relations.totals(plant, heard(plant, **half), to_us(T0))
    assert told.fields["incoming_kw"] is None


def test_racks_are_told_with_their_cdu(plant: Plant) -> None:
    hall = halls.lay_out(plant)
    (told,) = relations.circuits(plant, hall, heard(plant, A1__RackLiquidSupplyTemperature=35.0), to_us(T0))
    assert (told.tags["rack"], told.tags["cdu"], told.fields["supply_c"]) == ("A1", "CDU-1", 35.0)
    assert told.fields["rise_k"] is None


def test_stale_points_are_told_by_their_asset(plant: Plant) -> None:
    latest = heard(plant, 400.0, A1__RackPower=1.0, CDU_1__LiquidFlow=2.0)
    flow = plant.at(AssetKey("titan", "CDU-1"), "LiquidFlow")[0].id
    latest.take(Readings.of([flow], [to_us(T0)], [1.0], [0]), to_us(T0))
    told = list(facts.coverage(plant, halls.lay_out(plant), latest, to_us(T0)))
    (covered,) = [one for one in told if one.measurement == "coverage" and one.tags["hall"] == "Hall 1"]
    assert covered.fields["fresh"] == 1
    stale = {one.tags["asset"]: one.fields for one in told if one.measurement == "stale"}
    assert stale["CDU-1"]["stale"] == 0
    assert stale["A1"]["stale"] >= 1
    assert len(stale) <= facts.STALE_MAX


def test_ratings_lie_where_the_readings_are(plant: Plant) -> None:
    told = {one.tags["asset"]: one for one in facts.ratings(plant, 7)}
    assert told["A1"].measurement == "rack" and told["A1"].tags["rack"] == "A1"
    assert told["CDU-1"].measurement == "cdu" and told["CDU-1"].fields == {"rated_power_kw": 960.0}


def test_none_is_told_as_none_and_not_left_out() -> None:
    ledger = Ledger()
    ledger.open("bus", "dsx", T0)
    told = list(facts.ledger(ledger.tallies(), 7))
    assert {one.tags["reason"] for one in told if one.measurement == "reject"} == {one.value for one in RejectReason}
    assert {one.tags["fault"] for one in told if one.measurement == "fault"} == {one.value for one in Fault}
    (account,) = [one for one in told if one.measurement == "ledger"]
    assert set(account.fields.values()) == {0}


# --- the chronicle


class Rig:
    """An engine with its journal, a chronicle and an annotator, and hands on the clock."""

    def __init__(self, plant: Plant) -> None:
        self.now = T0
        self.journal, self.kept, self.notes = PagedJournal(), Kept(), Notes()
        self.engine = Engine(rules.default(), self.journal, asset_of=plant.assets.get)
        self.plant = plant

    async def open(self) -> None:
        await self.engine.open(T0)
        self.engine.follow(self.plant.topology, self.plant.assets)
        watch: Any = SimpleNamespace(
            plant=self.plant, hall=halls.lay_out(self.plant), latest=Latest(), asset=self.plant.assets.get
        )
        self.chronicle = Chronicle(
            to=self.kept, journal=self.journal, engine=self.engine, watch=watch, ledger=Ledger(), pace=Pace(),
            sources=[], backlog=lambda: None, clock=lambda: self.now,
        )  # fmt: skip
        self.annotator = Annotator(
            to=self.notes, journal=self.journal, engine=self.engine, asset_of=self.plant.assets.get,
            clock=lambda: self.now,
        )  # fmt: skip

    async def find(self, seconds: float, *findings: Any) -> None:
        self.now = at(seconds)
        await self.engine.apply(Detection(tuple(findings)), KINDS, self.now)
        await self.engine.elapse(self.now)

    def alarms(self) -> list[Fact]:
        return [one for one in self.kept.facts[Tier.RAW] if one.measurement == "alarm"]


class Notes:
    """Keeps annotations, or fails as long as it is told to."""

    def __init__(self) -> None:
        self.notes: dict[int, dict[str, Any]] = {}
        self.fails: list[Exception] = []

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def annotate(self, body: dict[str, Any]) -> int:
        self._fail()
        self.notes[len(self.notes) + 1] = dict(body)
        return len(self.notes)

    async def change_annotation(self, number: int, body: dict[str, Any]) -> None:
        self._fail()
        self.notes[number] |= body

    async def annotations(self, tag: str, limit: int) -> list[dict[str, Any]]:
        self._fail()
        return [{"id": number} | one for number, one in self.notes.items() if tag in one["tags"]][:limit]


@pytest.fixture
def rig(plant: Plant) -> Rig:
    made = Rig(plant)
    asyncio.run(made.open())
    return made


def test_an_alarm_s_life_is_written(rig: Rig) -> None:
    async def live() -> None:
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        await rig.chronicle.look()
        (view,) = rig.engine.standing()
        rig.now = at(25)
        await acknowledge(rig.engine, view.id, "operator", "", rig.now)
        await rig.find(27)
        await rig.find(35)
        await rig.chronicle.look()

    asyncio.run(live())
    told = [one for one in rig.alarms() if one.fields["change"] != "stands"]
    assert [one.fields["change"] for one in told][:2] == ["activated", "acknowledged"]
    assert [one.fields["open"] for one in told][-1] == 0.0
    first, answer = told[0], told[1]
    assert first.tags == {
        "site": "titan", "hall": "Hall 1", "row": "A", "rack": "A1", "asset": "A1", "rule": "rack-leak-wet",
        "qualifier": "",
    }  # fmt: skip
    assert (first.fields["title"], first.fields["priority"]) == ("Leak sensor wet at A1", 2)
    assert (answer.fields["answered_s"], answer.fields["by"]) == (15.0, "operator")
    assert len({one.at_us for one in told}) == len(told)
    assert rig.chronicle.dropped == 0


def test_standing_alarms_are_told_every_minute(rig: Rig) -> None:
    async def live() -> None:
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        for minute in range(1, 4):
            rig.now = at(60 * minute)
            await rig.chronicle.look()

    asyncio.run(live())
    stands = [one.fields["stood_s"] for one in rig.alarms() if one.fields["change"] == "stands"]
    assert stands == [50.0, 110.0, 170.0]
    counts = [one for one in rig.kept.facts[Tier.RAW] if one.measurement == "alarm_count"]
    assert {one.tags["priority"] for one in counts} == {"critical", "high", "medium", "low"}
    assert sum(float(one.fields["standing"] or 0) for one in counts) == 3
    minutes = rig.kept.facts[Tier.MINUTE]
    assert minutes and {one.measurement for one in minutes} == {"rack", "cdu"}
    assert all(one.at_us % 60_000_000 == 0 for one in minutes)


def test_a_store_that_takes_nothing_costs_no_alarm_and_holds_nobody_up(rig: Rig) -> None:
    async def live() -> None:
        rig.kept.fails = [Transient("refused")]
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        await rig.chronicle.look()
        assert rig.chronicle.failing and not rig.alarms()
        rig.now = at(11)
        await rig.chronicle.look()
        assert not rig.alarms(), "patience"
        assert [view.asset for view in rig.engine.standing()] == ["A1"]
        rig.now = at(11 + chronicling.PATIENCE_S)
        await rig.chronicle.look()

    asyncio.run(live())
    assert [one.fields["change"] for one in rig.alarms()][:1] == ["activated"]
    assert not rig.chronicle.failing


def test_what_is_out_of_date_is_let_go_and_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        rig.now = at(60)
        rig.kept.fails = [Transient("refused")]
        await rig.chronicle.look()
        assert rig.chronicle.dropped > 0
        before = rig.chronicle.dropped
        monkeypatch.setattr(chronicling, "BEHIND_MAX", 1)
        for turn in range(3):
            await rig.find(100 + 20 * turn, finding(FindingKind.LEAK_WET, WET))
            await rig.find(110 + 20 * turn)
        behind = rig.engine.seq
        rig.now = at(300)
        await rig.chronicle.look()
        assert rig.chronicle.dropped == before + behind - 1

    asyncio.run(live())


def test_a_permanent_refusal_is_counted_and_stands_in_nobody_s_way(rig: Rig) -> None:
    async def live() -> None:
        rig.kept.fails = [Permanent("a field of another type")]
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        await rig.chronicle.look()

    asyncio.run(live())
    assert rig.chronicle.dropped == 1
    assert rig.kept.facts[Tier.RAW], "the rest was written"


# --- annotations


def test_an_annotation_is_opened_and_closed(rig: Rig) -> None:
    async def live() -> None:
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        await rig.annotator.look()
        await rig.annotator.look()
        (view,) = rig.engine.standing()
        await acknowledge(rig.engine, view.id, "operator", "", at(25))
        await rig.find(27)
        await rig.find(35)
        await rig.annotator.look()

    asyncio.run(live())
    (note,) = rig.notes.notes.values()
    assert note["time"] == to_us(at(10)) // 1000
    assert note["timeEnd"] > note["time"]
    assert note["text"] == "Leak sensor wet at A1 (high)"
    assert "dcim-alarm" in note["tags"] and "asset:A1" in note["tags"] and "hall:Hall 1" in note["tags"]
    assert rig.annotator.counts == {
        Outcome.OPENED: 1, Outcome.CLOSED: 1, Outcome.LET_GO: 0, Outcome.NOT_FOUND: 0,
    }  # fmt: skip


def test_after_a_restart_the_one_to_be_closed_is_found_again(rig: Rig) -> None:
    async def live() -> None:
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        await rig.annotator.look()
        (view,) = rig.engine.standing()
        await acknowledge(rig.engine, view.id, "operator", "", at(25))
        again = Annotator(
            to=rig.notes, journal=rig.journal, engine=rig.engine, asset_of=rig.plant.assets.get, clock=lambda: rig.now
        )
        await rig.find(27)
        await rig.find(35)
        await again.look()
        assert again.counts[Outcome.CLOSED] == 1

    asyncio.run(live())
    assert "timeEnd" in rig.notes.notes[1]


def test_a_grafana_that_is_away_is_tried_again_then_let_go(rig: Rig) -> None:
    async def live() -> None:
        rig.notes.fails = [Transient("cannot be reached")] * annotating.TRIES
        await rig.find(10, finding(FindingKind.LEAK_WET, WET))
        for turn in range(annotating.TRIES):
            rig.now = at(20 + turn * (annotating.PATIENCE_S + 1))
            await rig.annotator.look()
            assert rig.annotator.waiting == (turn < annotating.TRIES - 1)
        assert rig.annotator.counts[Outcome.LET_GO] == 1
        assert rig.engine.standing()
        (view,) = rig.engine.standing()
        await acknowledge(rig.engine, view.id, "operator", "", at(2_000))
        await rig.find(2_100)
        await rig.find(2_200)
        await rig.annotator.look()
        assert rig.annotator.counts[Outcome.NOT_FOUND] == 1

    asyncio.run(live())
    assert rig.notes.notes == {}


def test_too_many_waiting_are_let_go_oldest_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotating, "WAITING_MAX", 1)

    async def live() -> None:
        rig.notes.fails = [Transient("cannot be reached")]
        await rig.find(10, finding(FindingKind.LEAK_WET, WET), finding(FindingKind.LEAK_WET, Subject("titan", "CDU-1")))
        await rig.annotator.look()

    asyncio.run(live())
    assert rig.annotator.waiting == 1
    assert rig.annotator.counts[Outcome.LET_GO] == 1


def test_markup_in_a_name_is_no_markup_in_grafana(rig: Rig) -> None:
    async def live() -> None:
        await rig.find(10, finding(FindingKind.LEAK_WET, Subject("titan", "<img src=x onerror=alert(1)>")))
        await rig.annotator.look()

    asyncio.run(live())
    (note,) = rig.notes.notes.values()
    assert "<" not in note["text"] + "".join(note["tags"])
    assert all(len(tag) <= 100 for tag in note["tags"])
