"""What every model promises: the figures of scikit-learn, the same again, and a file that is refused where it does not
fit. Lives here: models, their file, the detector. Not here: scorers (test_scorers.py), where history comes from."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dcim.app import models as files
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import Bearing, FindingKind
from dcim.core.plant import survey
from dcim.core.readings import Quality
from dcim.detect.learned import form
from dcim.detect.learned.classes import Trained, columns_of, from_bytes, rows_of, sustained, to_bytes, train
from dcim.detect.learned.learning import calibrated, learn, path_length
from dcim.detect.learned.models import MODELS, Model, from_arrays, measure, to_arrays
from dcim.detect.unusual import Unusual
from tests.learned import BINS, means, plant, trained
from tests.scenarios.full import Full, look, only, told
from tests.scenarios.loop import at, window

every = pytest.mark.parametrize("kind", list(MODELS))
ROWS = np.random.default_rng(3).normal(0.0, 1.0, (600, 4)) @ np.diag([1.0, 0.5, 0.8, 1.2])
ROWS[:, 3] += ROWS[:, 0]
ODD = np.array([[0.0, 0.0, 6.0, 0.0], [9.0, -9.0, 9.0, -9.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.mark.slow
def test_the_forest_is_that_of_scikit_learn() -> None:
    from sklearn.ensemble import IsolationForest

    theirs = IsolationForest(n_estimators=100, random_state=5).fit(ROWS)
    ours = learn("forest", ROWS, 5).statistics(np.vstack([ROWS[:50], ODD]))[:, 0]
    np.testing.assert_allclose(
        ours, np.maximum(-theirs.score_samples(np.vstack([ROWS[:50], ODD])) - 0.5, 0.0), atol=1e-12
    )
    np.testing.assert_allclose(path_length(np.array([1.0, 2.0, 256.0])), [0.0, 1.0, 10.244770920116851])


@pytest.mark.slow
def test_the_covariance_is_that_of_scikit_learn_but_for_a_hair() -> None:
    from sklearn.covariance import MinCovDet

    theirs = MinCovDet(random_state=5).fit(ROWS)
    np.testing.assert_allclose(
        learn("covariance", ROWS, 5).statistics(ODD)[:2, 0], theirs.mahalanobis(ODD[:2]), rtol=0.1
    )


def test_within_and_beside_the_components_is_all_there_is() -> None:
    model: Any = learn("subspace", ROWS, 5)
    scores = (ODD - model.centre) @ model.components.T
    told = model.statistics(ODD)
    np.testing.assert_allclose((scores**2).sum(axis=1) + told[:, 1], ((ODD - model.centre) ** 2).sum(axis=1))
    assert len(model.components) < 4, "something is left beside them"


@pytest.mark.slow
@every
def test_a_row_alone_is_told_as_among_others(kind: str) -> None:
    model = calibrated(learn(kind, ROWS, 1), ROWS, lambda statistics: statistics)
    alone = np.array([measure(model, row[None])[0] for row in ODD])
    np.testing.assert_allclose(measure(model, np.vstack([ROWS, ODD]))[-3:], alone)
    assert alone[1] > 1.0
    assert alone[2] < 1.0
    assert (measure(model, ROWS) < 1.0).all()


@pytest.mark.slow
@every
def test_shares_name_the_column(kind: str) -> None:
    model = calibrated(learn(kind, ROWS, 1), ROWS, lambda statistics: statistics)
    shares = model.shares(ODD[0])
    assert shares.shape == (4,)
    assert (shares >= 0.0).all()
    assert shares.sum() == pytest.approx(1.0)
    assert shares.argmax() == 2


@pytest.mark.slow
@every
def test_the_same_rows_and_seed_make_the_same_model(kind: str) -> None:
    for name, array in to_arrays(learn(kind, ROWS, 4)).items():
        np.testing.assert_array_equal(array, to_arrays(learn(kind, ROWS, 4))[name])


@pytest.mark.slow
@every
def test_columns_that_follow_from_others_and_many_rows_are_no_trouble(kind: str) -> None:
    double = np.hstack([ROWS, ROWS[:, :1]])
    assert np.isfinite(learn(kind, double, 1).statistics(double)).all()


@every
def test_too_few_rows_are_refused(kind: str) -> None:
    with pytest.raises(Permanent, match="19 rows are too few to learn 4 columns from"):
        learn(kind, ROWS[:19], 1)


def spoiled(model: Model, name: str, array: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    arrays: dict[str, Any] = dict(to_arrays(model))
    del arrays[name]
    return arrays if array is None else arrays | {name: array}


@pytest.mark.slow
@every
def test_arrays_that_make_no_model_are_refused(kind: str) -> None:
    model = learn(kind, ROWS, 1)
    arrays = to_arrays(model)
    again = from_arrays(kind, arrays, 4)
    np.testing.assert_array_equal(again.statistics(ODD), model.statistics(ODD))
    with pytest.raises(ValueError, match="there is no model"):
        from_arrays("oracle", arrays, 4)
    for name, array in arrays.items():
        wrong: list[Any] = [None, array.astype(np.float32), array[:0], array * np.array(-1, array.dtype) - 1]
        if array.dtype == np.float64:
            wrong.append(array * np.nan)
        for other in wrong:
            with contextlib.suppress(ValueError):  # other numbers are another model, as long as all goes together
                odd = from_arrays(kind, spoiled(model, name, other), 4)
                assert np.isfinite(odd.statistics(ODD)).all()
        for other in wrong[:2]:
            with pytest.raises(ValueError, match=name):
                from_arrays(kind, spoiled(model, name, other), 4)
    with pytest.raises(ValueError, match=kind):
        from_arrays(kind, arrays, 3 if kind != "forest" else 1)


def test_rows_are_how_far_from_usual_and_from_before() -> None:
    line = np.arange(12.0)[None, None, :]
    rows = rows_of(line, np.array([[5.0]]))
    np.testing.assert_allclose(rows, [[[4.0, 5.0], [5.0, 5.0], [6.0, 5.0]]])
    line[0, 0, 3] = np.nan
    assert rows_of(line, np.array([[5.0]]))[0, 0, 1] == pytest.approx(9.0 - (36.0 - 3.0) / 8.0)
    np.testing.assert_allclose(sustained(np.array([1.0, 5, 4, 3, 6, 7]), 3), [1, 3, 3, 3])


# --- the file


@pytest.mark.slow
def test_what_is_kept_comes_back_and_is_the_same_each_time(tmp_path: Path) -> None:
    one = trained()
    path = tmp_path / "site.models"
    files.save(path, [one])
    (again,) = files.load(path)
    assert (again.kind, again.columns, again.units, again.assets) == (one.kind, one.columns, one.units, one.assets)
    assert again.about == one.about
    rows = np.random.default_rng(0).normal(0.0, 3.0, (50, 2 * len(one.columns))) * one.scale
    np.testing.assert_array_equal(again.measures(rows), one.measures(rows))
    assert to_bytes([again]) == path.read_bytes()
    trained.cache_clear()
    assert to_bytes([trained()]) == path.read_bytes(), "same history, same seed"
    assert "Rack: 2 assets" in "".join(files.describe([again]))
    assert {"rows", "seed", "limits", "left_out"} <= set(one.about)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"", "is no model of dcim"),
        (lambda data: b"PAR1" + data, "is no model of dcim"),
        (lambda data: data.replace(b"dcim-model 1 ", b"dcim-model 2 ", 1), "is of version 2, and version 1 is read"),
        (lambda data: data[:-1], "is damaged"),
        (lambda data: data + b"\0", "is damaged"),
        (lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:], "is damaged"),
    ],
)
def test_a_damaged_file_is_refused(spoil: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(Permanent, match=words) as caught:
        from_bytes(spoil(to_bytes([trained()])), "site.models")
    assert str(caught.value).startswith("site.models: ")


def signed(body: bytes) -> bytes:
    return b"dcim-model 1 %s\n%s" % (hashlib.sha256(body).hexdigest().encode(), body)


def folder(**members: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as told:
        for name, content in members.items():
            told.writestr(f"{name}.npy", content)
    return body.getvalue()


def array(value: np.ndarray[Any, Any], *, pickled: bool = False) -> bytes:
    body = io.BytesIO()
    np.save(body, value, allow_pickle=pickled)
    return body.getvalue()


HEADER = array(np.frombuffer(b"{}", np.uint8))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no folder", "cannot be read"),
        (folder(), "cannot be read"),
        (folder(header=b"\x93NUMPY"), "cannot be read"),
        (folder(header=array(np.frombuffer(b"[1]", np.uint8))), "has no header"),
        (folder(header=array(np.frombuffer(b"[" * 100_000, np.uint8))), "cannot be read"),
        (folder(header=HEADER), "does not go together"),
        (folder(header=HEADER, a=array(np.array([{}], object), pickled=True)), "cannot be read.*pickle"),
        (folder(header=HEADER, a=array(np.array(["text"]))), "a.npy holds"),
    ],
)
def test_what_was_made_to_look_right_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        from_bytes(signed(body), "site.models")


def test_what_unfolds_to_too_much_is_refused_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "BYTES_MAX", 100_000)
    bomb = folder(header=HEADER, a=array(np.zeros(50_000)))
    assert len(bomb) < 1_000
    with pytest.raises(Permanent, match="unfolds to more than 100000 bytes"):
        form.unpack(signed(bomb), "site.models")
    with pytest.raises(Permanent, match="larger than"):
        form.unpack(bytes(100_001), "site.models")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"units": ["°F", "kPa"]}, "is in °F, but"),
        ({"quantities": ["Wetness", "Wetness"]}, "no quantity Wetness"),
        ({"columns": []}, "not as many"),
        ({"columns": "all"}, "words are wanted"),
        ({"assets": [["s"]]}, "does not go together"),
        ({"assets": [["s", "a"]]}, "centres are not those"),
        ({"bin_s": 0}, "bin_s"),
        ({"bin_s": "long"}, "does not go together"),
        ({"models": []}, "no model"),
        ({"models": ["oracle"]}, "no model called"),
        ({"about": None}, "does not say"),
        ({"kind": 7}, "words are wanted"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    header, arrays = form.unpack(to_bytes([trained()]), "")
    (told,) = header["trained"]
    if change.get("units"):
        change = {"units": ["°F", *told["units"][1:]]}
    if change.get("quantities"):
        change = {"quantities": ["Wetness", *told["quantities"][1:]]}
    with pytest.raises(Permanent, match=words):
        from_bytes(form.pack({"trained": [told | change]}, arrays), "site.models")
    twice = {f"1.{name[2:]}": value for name, value in arrays.items()}
    with pytest.raises(Permanent, match="one twice"):
        from_bytes(form.pack({"trained": [told, told]}, arrays | twice), "site.models")


def test_a_file_that_is_not_there_or_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"no such file of models\. Make it with dcim train"):
        files.load(tmp_path / "none")
    with pytest.raises(Permanent, match="cannot be read"):
        files.load(tmp_path)
    with pytest.raises(Transient, match="cannot be written"):
        files.save(tmp_path / "none" / "site.models", [trained()])


@pytest.mark.slow
def test_a_service_with_models_does_not_import_scikit_learn(tmp_path: Path) -> None:
    files.save(tmp_path / "site.models", [trained()])
    code = (
        "import sys; from pathlib import Path; import dcim.app.training; from dcim.app.models import load;"
        "from dcim.detect.unusual import Unusual; Unusual(load(Path(sys.argv[1])));"
        "print([name for name in sys.modules if name.split('.')[0] in ('sklearn', 'scipy', 'joblib')])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site.models")], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"


# --- the detector


def unusual(*models: Trained) -> Unusual:
    return Unusual(models or (trained(),))


def racks(answer: Any, what: str) -> set[str]:
    return {one.subject.asset for one in getattr(answer, what)}


def test_as_usual_is_nothing_and_everything_is_judged() -> None:
    answer = look(unusual(), plant(), lasts_s=1_200.0, seed=11)
    assert answer.findings == ()
    assert answer.unknown == ()
    assert answer.looked_at is None


def test_what_is_new_to_the_models_is_found_and_the_signal_named() -> None:
    full = plant()
    answer = look(unusual(), full, {("r-1", "RackLiquidReturnTemperature"): 46.5}, lasts_s=1_200.0, seed=11)
    finding = only(answer, FindingKind.UNUSUAL_BEHAVIOUR)
    assert finding.subject == ("s", "r-1", "")
    assert finding.summary == "r-1 does not behave as usual, RackLiquidReturnTemperature the most"
    first, *_, models = [line for line in finding.evidence if line.bearing is Bearing.FOR]
    assert first.point == full["r-1", "RackLiquidReturnTemperature"]
    assert first.shows == "46.5 °C, usually 45.0 °C"
    assert "models find it unusual" in models.what
    assert finding.score > 1.0
    assert 0.0 < finding.confidence < 0.7
    assert any("dcim train" in step for step in finding.check_first)


def test_it_has_to_stand() -> None:
    steps = np.full(240, 45.0)  # every 5 s
    steps[-36:] = 46.5
    answer = look(unusual(), plant(), {("r-1", "RackLiquidReturnTemperature"): steps}, lasts_s=1_200.0, seed=11)
    assert answer.findings == (), "three minutes of five"


def without(full: Full, asset: str, quantity: str) -> pl.DataFrame:
    frame = told(full, 1_200.0, seed=11)
    gone = (pl.col("point") == full[asset, quantity]) & (pl.col("time") > at(600))
    return frame.filter(~gone)


def judged(frame: pl.DataFrame, full: Full, *models: Trained) -> Any:
    detector = unusual(*models)
    return detector.detect(window(frame, detector, full.plant, 1_199), full.plant, at(1_199))


def test_what_is_not_heard_is_not_judged() -> None:
    answer = judged(without(plant(), "r-0", "RackPower"), plant())
    assert [(one.subject.asset, one.why) for one in answer.unknown] == [("r-0", "RackPower is not heard")]
    bad = told(plant(), 1_200.0, seed=11).with_columns(quality=pl.lit(int(Quality.BAD), pl.UInt8))
    assert racks(judged(bad, plant()), "unknown") == {"r-0", "r-1"}
    short = told(plant(), 1_200.0, seed=11).filter(pl.col("time") > at(1_100))
    assert racks(judged(short, plant()), "unknown") == {"r-0", "r-1"}


def test_what_was_not_there_or_is_another_thing_is_not_judged() -> None:
    one = trained()
    more = Full(racks=3, gpus=2)
    answer = judged(told(more, 1_200.0, seed=11), more)
    assert [(each.subject.asset, each.why) for each in answer.unknown] == [
        ("r-2", "it was not there when its model was trained")
    ]
    other = replace(one, columns=("Speed", *one.columns[1:]))
    assert "trained with Speed, which it does not have" in judged(told(plant(), 1_200.0), plant(), other).unknown[0].why
    other = replace(one, units=("bar", *one.units[1:]))
    assert f"{one.columns[0]} in bar, and it is not" in judged(told(plant(), 1_200.0), plant(), other).unknown[0].why


def test_without_assets_of_its_kind_there_is_nothing_to_say() -> None:
    full = plant()
    nobody = survey(full.index, {})
    assert nobody.version
    answer = judged(told(full, 1_200.0), full, replace(trained(), kind="Boiler"))
    assert (answer.findings, answer.unknown) == ((), ())


def test_nothing_is_learned_while_it_looks() -> None:
    detector = unusual()
    before = to_bytes(detector._trained)
    look(detector, plant(), {("r-1", "RackLiquidReturnTemperature"): 46.5}, lasts_s=1_200.0)
    assert to_bytes(detector._trained) == before
    assert not hasattr(detector, "learn")


# --- training


@pytest.mark.slow
def test_what_was_not_usual_is_not_learned_from() -> None:
    full = plant()
    columns = columns_of(full.plant, "Rack")
    warm = np.where(np.arange(BINS) >= 100, 55.0, 45.0)
    frame = told(full, BINS * 60.0, {("r-1", "RackLiquidReturnTemperature"): warm}, pace_s=60.0, seed=7)
    usual = np.ones((2, BINS), np.bool_)
    usual[1, 100:] = False
    where = list(columns.names).index("RackLiquidReturnTemperature")
    with pytest.raises(Permanent, match=r"no column tells enough"):
        train(columns, means(frame, columns), np.zeros_like(usual), 60.0, 1, {})
    usual[1, 250:] = True
    usual[1, 100:250] = False
    warm[250:] = 45.0
    frame = told(full, BINS * 60.0, {("r-1", "RackLiquidReturnTemperature"): warm}, pace_s=60.0, seed=7)
    one = train(columns, means(frame, columns), usual, 60.0, 1, {})
    at_column = one.columns.index(columns.names[where])
    assert one.centres[1, at_column] == pytest.approx(45.0, abs=0.1)
    assert one.scale[at_column] < 0.2, "the ten degrees are not in it"


def test_a_kind_that_is_not_there_or_has_nothing_in_common_is_refused() -> None:
    with pytest.raises(Permanent, match=r"there is no Boiler in this history\. There are CDU, Gpu, PowerMeter, Rack"):
        columns_of(plant().plant, "Boiler")
    with pytest.raises(Permanent, match="no measured points in common"):
        columns_of(states_only(), "Valve")


def states_only() -> Any:
    full = Full(racks=1, gpus=1)
    full.add("v-1", "open", "Valve", "ValvePositionState")
    return full.survey()


def test_states_set_points_and_what_never_changes_are_no_columns() -> None:
    one = trained()
    assert set(one.columns) == {
        "RackLiquidDifferentialPressure",
        "RackLiquidFlow",
        "RackLiquidReturnTemperature",
        "RackLiquidSupplyTemperature",
        "RackPower",
    }
    assert one.about["left_out"] == ["RackControlValvePosition"]
    assert json.dumps(one.about)
    gpus = columns_of(plant().plant, "Gpu")
    assert "GpuTemperature" in gpus.names, "a GPU's number is no part of a column's name"
    assert "GpuSoftwareThermalSlowdownTime" not in gpus.names, "counters only grow"
