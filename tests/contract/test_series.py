"""Which series a point is written to, in step with what is known of the plant."""

from __future__ import annotations

from dataclasses import replace

from dcim.app.series import SeriesBook
from dcim.core.assets import AssetKey, Placement
from dcim.core.plant import survey
from dcim.core.points import Point, PointIndex

PLACED = {AssetKey("titan", "E04"): Placement("Pod 1C", "E", 4, 132.0)}


def described(index: PointIndex, path: str, **known: str) -> Point:
    base = {"asset": "E04", "asset_kind": "Rack", "asset_name": "E04", "quantity": "RackPower", "unit": "kW"}
    key = f"titan|bms|{path}"
    point = Point(id=index.locate(key), key=key, site="titan", **(base | known))  # type: ignore[arg-type]
    index.describe(point)
    return point


def tags(book: SeriesBook, number: int) -> dict[str, str]:
    return dict(book.series([number])[number].tags)


def test_a_point_speaks_for_itself_until_the_plant_is_known() -> None:
    index = PointIndex()
    book = SeriesBook(index, PLACED)
    power = described(index, "power")
    assert tags(book, power.id) == {
        "site": "titan", "hall": "Pod 1C", "row": "E", "rack": "E04", "asset": "E04", "point": "titan|bms|power",
    }  # fmt: skip
    assert list(book.changed()) == []


def test_what_is_not_described_has_no_series() -> None:
    index = PointIndex()
    book = SeriesBook(index, {})
    number = index.locate("titan|bms|power")
    assert book.series([number, number + 1]) == {}


def test_what_another_point_tells_of_an_asset_changes_all_of_its_series() -> None:
    index = PointIndex()
    book = SeriesBook(index, PLACED)
    part = described(index, "leak", asset_kind="", quantity="LeakDetect", unit="")
    other = described(index, "elsewhere", asset="E05")
    plant = survey(index, PLACED)
    book.follow(lambda: plant)
    assert set(book.changed()) == {part.id, other.id}
    assert list(book.changed()) == []
    assert book.series([part.id])[part.id].measurement == "asset"
    whole = described(index, "power")
    plant = survey(index, PLACED)
    assert set(book.changed()) == {part.id, whole.id}
    assert book.series([part.id])[part.id].measurement == "rack"


def test_a_description_that_changes_is_told() -> None:
    index = PointIndex()
    book = SeriesBook(index, {})
    flow = described(index, "flow", quantity="RackLiquidFlow", unit="L/min")
    plant = survey(index, {})
    book.follow(lambda: plant)
    book.changed()
    index.describe(replace(flow, setpoint=True))
    plant = survey(index, {})
    assert list(book.changed()) == [flow.id]
    assert book.series([flow.id])[flow.id].field.endswith("_setpoint")


def test_a_key_that_goes_on_in_another_unit_goes_on_as_another_point() -> None:
    index = PointIndex()
    book = SeriesBook(index, {})
    first = described(index, "flow")
    before = tags(book, first.id)["point"]
    second = index.succeed(first.key)
    index.describe(replace(first, id=second))
    assert tags(book, second)["point"] != before
    assert tags(book, first.id)["point"] == before
