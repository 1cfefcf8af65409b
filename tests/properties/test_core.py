"""The core's tables, index and graphs: what must hold whatever they are filled with."""

from __future__ import annotations

import random
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.assets import AssetKey, Placement, assemble
from dcim.core.errors import Permanent
from dcim.core.labels import tell_apart
from dcim.core.plant import survey
from dcim.core.points import Loop, Point, PointIndex, Side
from dcim.core.quantities import BY_DCGM_FIELD, QUANTITIES, Nature
from dcim.core.readings import Quality, Readings
from dcim.core.topology import Medium, connect
from dcim.core.units import conversion, known
from tests.examples import examples

QUICK = settings(max_examples=examples(100), deadline=None)


def a_point(number: int = 0, **fields: object) -> Point:
    base = Point(
        id=number,
        key=f"s|b|CDU/LiquidFlow/{number}",
        site="s",
        asset="cdu-1",
        asset_kind="CDU",
        asset_name="CDU 1",
        quantity="LiquidFlow",
        unit="L/min",
        object_type="CDU",
        point_type="LiquidFlow",
        path=str(number),
    )
    return replace(base, **fields)  # type: ignore[arg-type]  # the test names fields of Point


# ------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("spelling", "unit", "sent", "kept"),
    [
        ("degF", "°C", 212.0, 100.0),
        ("°F", "°C", -40.0, -40.0),
        ("K", "°C", 273.15, 0.0),
        ("K", "K", 5.0, 5.0),
        ("C", "°C", 25.5, 25.5),
        ("psi", "kPa", 1.0, 6.894757293168361),
        ("psi", "Pa", 1.0, 6894.757293168361),
        ("bar", "kPa", 2.5, 250.0),
        ("inH2O", "Pa", 1.0, 249.08891),
        ("Pa", "Pa", 12.5, 12.5),
        ("kPa", "Pa", 0.0125, 12.5),
        ("GPM", "L/min", 1.0, 3.785411784),
        ("m³/h", "L/min", 6.0, 100.0),
        ("L/s", "L/min", 2.0, 120.0),
        ("LPM", "L/min", 7.0, 7.0),
        ("CFM", "m³/h", 1.0, 1.69901079552),
        ("W", "kW", 1500.0, 1.5),
        ("MW", "kW", 1.5, 1500.0),
        ("TR", "kW", 1.0, 3.5168528420667),
        ("kVA", "kVA", 3.0, 3.0),
        ("%RH", "%", 45.0, 45.0),
        ("mS/cm", "µS/cm", 4.2, 4200.0),
        ("µS/cm", "µS/cm", 4200.0, 4200.0),
        ("μS/cm", "µS/cm", 4200.0, 4200.0),
    ],
)
def test_units_come_to_ours(spelling, unit, sent, kept):
    found = conversion(spelling, (unit,))
    assert found is not None
    assert found.unit == unit
    assert sent * found.scale + found.offset == pytest.approx(kept, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("spelling", ["L/min", " l / MIN", "LPM", "lpm"])
def test_case_and_blanks_do_not_matter(spelling):
    assert conversion(spelling, ("L/min",)) == conversion("lpm", ("L/min",))


@pytest.mark.parametrize(("spelling", "unit"), [("furlong", "°C"), ("", "°C"), ("kW", "°C"), ("kVA", "kW")])
def test_what_is_no_way_to_a_unit_is_none(spelling, unit):
    assert conversion(spelling, (unit,)) is None


@given(st.text(max_size=20))
@QUICK
def test_any_spelling_has_an_answer(spelling):
    assert known(spelling) or conversion(spelling, tuple({row.unit for row in QUANTITIES.values()})) is None


# ------------------------------------------------------------------ quantities


def test_every_unit_of_the_table_can_be_spelled():
    assert {row.unit for row in QUANTITIES.values() if row.unit and conversion(row.unit, (row.unit,)) is None} == set()


def test_the_table_is_sound():
    for name, row in QUANTITIES.items():
        assert row.name == name
        assert row.low < row.high
        assert row.column == row.column.lower()
        assert row.unit == "" or row.nature is not Nature.STATE
    fields = [row.dcgm_field for row in QUANTITIES.values() if row.dcgm_field is not None]
    assert len(fields) == len(set(fields)) == len(BY_DCGM_FIELD)
    gpus = [row.column for row in BY_DCGM_FIELD.values()]
    assert len(gpus) == len(set(gpus))


# ------------------------------------------------------------------ points


def test_a_full_point_survives_the_disk():
    index = PointIndex()
    number = index.locate("s|b|CDU/LiquidTemperature/x")
    point = a_point(
        number,
        key="s|b|CDU/LiquidTemperature/x",
        areas=("Primary", "Inlet"),
        loop=Loop.PRIMARY,
        side=Side.SUPPLY,
        states=((0, "Off"), (1, "On ✓")),
        serves=("a", "b"),
        within="rack-1",
        scale=5 / 9,
        offset=-160 / 9,
        setpoint=True,
        unit_known=False,
    )
    index.describe(point)
    index.locate("s|b|CDU/LiquidTemperature/y")
    again = PointIndex()
    again.restore(index.changed())
    assert again[number] == point
    assert again[1] is None
    assert again.find("s|b|CDU/LiquidTemperature/y") == 1
    assert again.changed() == []


@given(st.lists(st.tuples(st.sampled_from("lds"), st.integers(0, 5)), max_size=40))
@QUICK
def test_numbers_are_dense_stable_and_survive_a_restart(steps):
    index, kept = PointIndex(), {}
    seen: dict[str, list[int]] = {}
    for step, which in steps:
        key = f"s|b|{which}"
        if step == "s" and index.find(key) is not None:
            seen[key].append(index.succeed(key))
        else:
            number = index.locate(key)
            if key not in seen:
                seen[key] = [number]
            assert number == seen[key][-1]
            if step == "d":
                index.describe(a_point(number, key=key, scale=float(which)))
        records = index.changed()
        kept |= {record.id: record for record in records}
        index.kept(records)
    numbers = sorted(number for several in seen.values() for number in several)
    assert numbers == list(range(len(index)))
    again = PointIndex()
    again.restore([kept[number] for number in sorted(kept)])
    assert [again[n] for n in range(len(again))] == [index[n] for n in range(len(index))]
    assert [again.key(n) for n in range(len(again))] == [index.key(n) for n in range(len(index))]
    assert all(again.find(key) == several[-1] for key, several in seen.items())
    assert all(point.retired is False for point in again)


def test_a_successor_takes_the_key_and_the_old_keeps_its_history():
    index = PointIndex()
    index.describe(a_point(index.locate("k"), key="k"))
    fresh = index.succeed("k")
    assert (fresh, index.find("k")) == (1, 1)
    old = index[0]
    assert old is not None
    assert old.retired
    assert index[fresh] is None
    assert list(index) == []


def test_the_limit_refuses_the_newcomer_and_nobody_else():
    index = PointIndex(limit=2)
    assert [index.locate("a"), index.locate("b"), index.locate("a")] == [0, 1, 0]
    with pytest.raises(Permanent, match="2 points"):
        index.locate("c")
    assert index.find("c") is None
    assert len(index) == 2


def test_a_catalogue_with_a_gap_is_refused():
    index = PointIndex()
    index.locate("a")
    index.locate("b")
    with pytest.raises(Permanent, match="gap"):
        PointIndex().restore(index.changed()[1:])


def test_what_changed_again_while_it_was_written_is_written_again():
    index = PointIndex()
    index.describe(a_point(index.locate("k"), key="k"))
    records = index.changed()
    index.describe(a_point(0, key="k", asset_name="another"))
    index.kept(records)
    assert len(index.changed()) == 1


def test_words_of_states():
    point = a_point(states=((0, "NoLeak"), (1, "Leak")))
    assert [point.word(value) for value in (0.0, 1.0, 1.7, 2.0, float("nan"))] == ["NoLeak", "Leak", "1.7", "2", "nan"]


def test_names_are_readable():
    assert a_point(areas=("Secondary", "Supply")).name == "Secondary Supply LiquidFlow"
    assert a_point(object_type="Valve", asset_kind="").name == "Valve LiquidFlow"
    assert a_point(setpoint=True, phase="B").name == "LiquidFlow B setpoint"
    gpu = a_point(asset_kind="Gpu", object_type="Gpu", quantity="GpuTemperature", part="3")
    assert gpu.name == "GpuTemperature 3"


# ------------------------------------------------------------------ scaling


def sent(point, value, quality=None):
    quality = quality or [Quality.GOOD] * len(value)
    return Readings.of(point, [1] * len(value), value, quality)


def test_values_are_converted_bounded_and_marked():
    index = PointIndex()
    for key in "abcd":
        index.locate(key)
    index.describe(a_point(0, key="a", quantity="LiquidTemperature", unit="°C", scale=5 / 9, offset=-160 / 9))
    index.describe(a_point(1, key="b", unit="furlong", unit_known=False))
    index.describe(a_point(2, key="c", quantity="Status", unit="", states=((-7, "Gone"), (70_000, "Odd"))))
    got = index.convert(
        sent(
            [0, 0, 0, 0, 1, 2, 2, 2, 3],
            [212.0, 50.0, float("nan"), 9999.0, 1e9, -7.0, 70_000.0, -8.0, 1e9],
            [0, 0, 2, 2, 0, 0, 0, 0, 0],
        )
    )
    assert got.value == pytest.approx([100.0, 10.0, float("nan"), 5537.222222, 1e9, -7, 70_000, -8, 1e9], nan_ok=True)
    assert got.quality.tolist() == [1, 0, 2, 2, 1, 0, 0, 1, 0]
    assert got.quality.dtype == np.uint8


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20), st.integers(0, 2))
@QUICK
def test_converting_changes_neither_input_nor_trust_for_the_better(values, quality):
    index = PointIndex()
    index.describe(a_point(index.locate("k"), key="k", scale=1e6))
    before = sent([0] * len(values), values, [quality] * len(values))
    copy = sent([0] * len(values), values, [quality] * len(values))
    after = index.convert(before)
    assert np.array_equal(before.value, copy.value)
    assert np.array_equal(before.quality, copy.quality)
    assert (after.quality >= before.quality).all()
    assert np.isfinite(after.value).all()


def test_restored_points_are_converted_alike():
    index = PointIndex()
    index.describe(a_point(index.locate("k"), key="k", scale=3.785411784))
    again = PointIndex()
    again.restore(index.changed())
    rows = sent([0, 0], [10.0, 1e9])
    assert again.convert(rows).value.tolist() == index.convert(rows).value.tolist()
    assert again.convert(rows).quality.tolist() == index.convert(rows).quality.tolist() == [0, 1]


# ------------------------------------------------------------------ labels


def named(paths, **fields):
    return [a_point(n, key=f"s|b|CDU/PumpSpeed/{path}", path=path, **fields) for n, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["x/pump/pump1/speed/value"], {}),
        (["x/pump/pump1/speed", "x/pump/pump2/speed"], {0: "pump1", 1: "pump2"}),
        (["a/current/value", "a/maxCurrent/value", "a/b/c/value"], {0: "current", 1: "maxCurrent", 2: "b/c"}),
        (["a/b", "a/b/c"], {0: "", 1: "c"}),
        (["a", "a/a"], {0: "", 1: "a"}),
    ],
)
def test_labels_tell_like_points_apart(paths, labels):
    assert tell_apart(named(paths)) == labels


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), unique=True, max_size=6))
@QUICK
def test_labels_differ_and_do_not_depend_on_order(paths):
    points = named(paths)
    labels = tell_apart(points)
    assert len(set(labels.values())) == len(labels) == (len(points) if len(points) > 1 else 0)
    random.Random(1).shuffle(points)
    assert tell_apart(points) == labels


def test_the_plant_names_what_is_alike():
    index = PointIndex()
    for path in ("p/pump1/v", "p/pump2/v", "flow"):
        key = f"s|b|CDU/X/{path}"
        index.describe(
            a_point(index.locate(key), key=key, path=path, quantity="LiquidFlow" if path == "flow" else "Sound")
        )
    plant = survey(index, {})
    assert [plant.points[n].name for n in range(3)] == ["Sound pump1", "Sound pump2", "LiquidFlow"]
    assert index[0] is not None
    assert index[0].part == ""


# ------------------------------------------------------------------ assets


def test_assets_come_of_points_mentions_and_placements():
    points = [
        a_point(0, serves=("rack-1",)),
        a_point(1, asset="rack-2", asset_kind="Rack", asset_name="Rack two"),
        a_point(2, asset="rack-2", asset_kind="", asset_name="rack-2", object_type="Valve"),
        a_point(3, asset="host-gpu0", asset_kind="Gpu", asset_name="host-gpu0", within="rack-3"),
    ]
    placed = Placement(hall="H1", row="A", position=1, rated_power_kw=120.0)
    assets = assemble(points, {AssetKey("s", "rack-2"): placed, AssetKey("s", "nowhere"): placed})
    assert [(key.id, asset.kind, asset.described) for key, asset in assets.items()] == [
        ("cdu-1", "CDU", True),
        ("host-gpu0", "Gpu", True),
        ("rack-1", "", False),
        ("rack-2", "Rack", True),
        ("rack-3", "", False),
    ]
    rack = assets[AssetKey("s", "rack-2")]
    assert (rack.name, rack.placement, rack.points) == ("Rack two", placed, (1, 2))
    assert assets[AssetKey("s", "host-gpu0")].within == "rack-3"


def test_ids_are_of_their_site_alone():
    points = [a_point(0), a_point(1, site="t")]
    assert len(assemble(points, {})) == 2


# ------------------------------------------------------------------ topology

FEEDS = st.lists(
    st.tuples(st.sampled_from(["CDU", "PowerMeter"]), st.integers(0, 6), st.lists(st.integers(0, 6), max_size=4)),
    max_size=12,
)


def feeding(feeds):
    return [
        a_point(n, asset=str(feeder), asset_kind=kind, serves=tuple(str(fed) for fed in served))
        for n, (kind, feeder, served) in enumerate(feeds)
    ]


@given(FEEDS)
@QUICK
def test_no_graph_has_a_circle_and_every_edge_is_kept_or_refused(feeds):
    topology = connect(feeding(feeds))
    told = {(point.asset, fed, point.asset_kind) for point in feeding(feeds) for fed in point.serves}
    kinds = {Medium.POWER: "PowerMeter", Medium.COOLANT: "CDU"}
    edges = topology.edges + topology.refused
    assert sorted((edge.feeder.id, edge.fed.id, kinds[edge.medium]) for edge in edges) == sorted(told)
    for medium in Medium:
        graph = nx.DiGraph([(edge.feeder, edge.fed) for edge in topology.edges if edge.medium is medium])
        assert nx.is_directed_acyclic_graph(graph)
        for edge in topology.refused:
            if edge.medium is medium:
                graph.add_edge(edge.feeder, edge.fed)
                assert not nx.is_directed_acyclic_graph(graph)
                graph.remove_edge(edge.feeder, edge.fed)
        for node in graph:
            assert set(topology.downstream(node, medium)) == nx.descendants(graph, node)
            assert set(topology.upstream(node, medium)) == nx.ancestors(graph, node)
            assert set(topology.fed_by(node, medium)) == set(graph.successors(node))
            assert set(topology.feeders(node, medium)) == set(graph.predecessors(node))


def test_the_nearest_come_first():
    topology = connect(feeding([("CDU", 0, [1, 2]), ("CDU", 1, [3]), ("CDU", 3, [4])]))
    assert [key.id for key in topology.downstream(AssetKey("s", "0"), Medium.COOLANT)] == ["1", "2", "3", "4"]
    assert [key.id for key in topology.upstream(AssetKey("s", "4"), Medium.COOLANT)] == ["3", "1", "0"]
    assert topology.downstream(AssetKey("s", "0"), Medium.POWER) == []
