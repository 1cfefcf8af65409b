"""From settings to readings: each codec as a source has it, through the whole service, with its account."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dcim.app.build import check
from dcim.app.settings import BrokerSource, ListenerSource, Settings, load
from dcim.core.times import now, to_us
from tests import forms
from tests.contract.inside import EAR, SITE, Inside, inside, metadata, value

ALL = ListenerSource.model_validate(
    {
        **EAR.model_dump(exclude={"codecs", "sparkplug", "line", "mapped"}),
        "codecs": ["dsx", "gpu", "sparkplug", "line", "mapped"],
        "sparkplug": {"assets": [{"match": "G/gw/*", "kind": "CDU"}]},
        "line": {"topics": ["telegraf/#"], "precision": "ms"},
        "mapped": [
            {
                "topic": "plant/{rack}",
                "asset": "{rack}",
                "kind": "Rack",
                "fields": [{"path": "p", "quantity": "RackPower", "unit": "W"}],
            }
        ],
    }
)


def spoken(seq: int, *metrics: dict[str, Any]) -> bytes:
    return forms.sparkplug({"timestamp": to_us(now()) // 1_000, "seq": seq, "metrics": list(metrics)})


BD_SEQ = {"name": "bdSeq", "datatype": 8, "long_value": 1}
SUPPLY = {"name": "Secondary/Supply/LiquidTemperature", "alias": 4, "datatype": 9, "float_value": 35.5}


@pytest.mark.slow
def test_every_codec_fills_the_same_plant_and_has_its_own_account() -> None:
    async def scenario(service: Inside) -> None:
        at = to_us(now()) // 1_000
        report = {"time": at, "rack": "R0", "gpus": [{"index": 0}], "fields": {"155": {"f4": [500]}}}
        await service.send(
            metadata("Rack", "RackPower", "r", engUnit="kW", rackLocationId="R0"),
            value("Rack", "RackPower", "r", 100),
            (f"dcim/v1/{SITE}/gpu/h/msgpack", forms.packed(report)),
            ("spBv1.0/G/NBIRTH/gw", spoken(0, BD_SEQ)),
            ("spBv1.0/G/DBIRTH/gw/C1", spoken(1, SUPPLY | {"properties": {"engUnit": "°C"}})),
            ("telegraf/h", f"rack,asset=R1 power_kw=101 {at}".encode()),
            ("plant/R2", {"p": 102_000}),
            ("somewhere/else", {}),
        )  # fmt: skip
        got = await service.until(lambda: _latest(service, 5))
        assert got == {
            ("R0", "RackPower"): 100,
            ("h-gpu0", "GpuPower"): 0.5,
            ("C1", "LiquidTemperature"): 35.5,
            ("R1", "RackPower"): 101,
            ("R2", "RackPower"): 102,
        }
        (account,) = (await service.get("/api/v1/ledger"))["items"]
        assert account["balanced"]
        # dsx: a description, a value, and what nobody claims; sparkplug: two certificates, and a value
        assert {codec: counts["received"] for codec, counts in account["codecs"].items() if counts["received"]} == {
            "dsx": 3, "gpu": 1, "sparkplug": 3, "line": 1, "mapped": 1,
        }  # fmt: skip

    inside(scenario, sources=(ALL,))


async def _latest(service: Inside, count: int) -> dict[tuple[str, str], Any] | None:
    rows = (await service.get("/api/v1/readings/latest"))["items"]
    return {(row["asset"], row["quantity"]): row["value"] for row in rows} if len(rows) == count else None


@pytest.mark.slow
def test_a_death_certificate_leaves_no_value_standing() -> None:
    async def scenario(service: Inside) -> None:
        await service.send(("spBv1.0/G/NBIRTH/gw", spoken(0, BD_SEQ, SUPPLY | {"properties": {"engUnit": "°C"}})))
        await service.until(lambda: _latest(service, 1))
        await service.send(("spBv1.0/G/NDEATH/gw", spoken(0, BD_SEQ)))

        async def gone() -> bool:
            (row,) = (await service.get("/api/v1/readings/latest"))["items"]
            return (row["value"], row["quality"]) == (None, "bad")

        await service.until(gone)

    inside(scenario, sources=(ALL,))


def examples() -> list[str]:
    """Every example of a source on the page of the settings."""
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    return [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[sources." in block]


@pytest.mark.parametrize("example", examples())
def test_the_examples_in_the_docs_are_settings(tmp_path: Path, example: str) -> None:
    if not example.startswith("[[sources]]"):
        codec = re.search(r"\[sources\.(\w+)", example)
        assert codec is not None
        head = f'name = "bus"\nkind = "broker"\nsite = "s"\nurl = "mqtt://127.0.0.1"\ncodecs = ["{codec[1]}"]\n\n'
        example = f"[[sources]]\n{head}{example}"
    (tmp_path / "site.toml").write_text(example)
    settings = load(tmp_path / "site.toml")
    (source,) = settings.sources
    assert source.codecs != ("dsx", "gpu")
    assert f"read as {source.codecs[0]}" in check(settings)[0]


def source(**told: Any) -> BrokerSource:
    return BrokerSource.model_validate(
        {"kind": "broker", "name": "bus", "site": "s", "url": "mqtt://127.0.0.1", **told}
    )


def test_what_the_codecs_read_is_subscribed_to() -> None:
    assert source().subscribed == ("BMS/v1/#", "dcim/v1/#")
    assert source(codecs=["gpu"]).subscribed == ("dcim/v1/#",)
    assert source(filters=["BMS/v1/PUB/#"]).subscribed == ("BMS/v1/PUB/#",)
    assert source(codecs=["sparkplug"]).subscribed == (
        *("spBv1.0/+/NBIRTH/+", "spBv1.0/+/NDATA/+", "spBv1.0/+/NDEATH/+"),
        *("spBv1.0/+/DBIRTH/+/+", "spBv1.0/+/DDATA/+/+", "spBv1.0/+/DDEATH/+/+"),
    )
    mapping = {"asset": "{a}", "kind": "Rack", "fields": [{"path": "RackPower"}]}
    mapped = source(codecs=["mapped"], mapped=[{"topic": "x/{a}", **mapping}, {"topic": "y/{a}", **mapping}])
    assert mapped.subscribed == ("x/+", "y/+")


def test_sources_of_one_bus_may_be_read_alike() -> None:
    told = {"codecs": ["line"], "line": {"topics": ["t/#"]}}
    settings = Settings(sources=(source(**told), source(name="other", **told)))
    assert len(settings.sources) == 2
    other = source(name="other", codecs=["line"], line={"topics": ["t/#"], "precision": "s"}, bus="another")
    assert len(Settings(sources=(source(**told), other)).sources) == 2
