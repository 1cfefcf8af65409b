"""Words that the API and the console share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dcim.app.views import place_of
from dcim.core.assets import Asset, AssetKey, Placement

ASSETS = {
    asset.key: asset
    for asset in (
        Asset("oslo", "r", "C07", "Rack", True, Placement("Hall 2", "C", 7), ()),
        Asset("oslo", "gpu", "tray 3", "Gpu", True, Placement(rack_unit=21), (), within="r"),
        Asset("oslo", "lost", "tray 4", "Gpu", True, Placement(), (), within="nowhere"),
        Asset("oslo", "own", "tray 5", "Gpu", True, Placement("Hall 3", "D", 1), (), within="r"),
    )
}


@pytest.mark.parametrize(
    ("asset", "where"),
    [
        ("r", "Hall 2 · row C · position 7"), ("gpu", "Hall 2 · row C · position 7 · unit 21"), ("lost", "site oslo"),
        ("own", "Hall 3 · row D · position 1"), ("unknown", "oslo"),
    ],
)  # fmt: skip
def test_a_place_is_where_to_go(asset: str, where: str) -> None:
    plant: Any = SimpleNamespace(assets=ASSETS)
    assert place_of(plant, AssetKey("oslo", asset)) == where
