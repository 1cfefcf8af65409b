"""Settings: every mistake in words, the environment over the file, secrets from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcim.app.settings import BrokerSource, ListenerSource, load, read_secret
from dcim.core.errors import Permanent

CASES = sorted((Path(__file__).parents[1] / "cases" / "settings").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_words(case: Path) -> None:
    assert {file.name for file in case.iterdir()} == {"settings.toml", "error.txt"}
    with pytest.raises(Permanent) as caught:
        load(case / "settings.toml")
    said = str(caught.value).replace(str(case / "settings.toml"), "settings.toml")
    assert said == (case / "error.txt").read_text().rstrip("\n")


def test_the_defaults_are_closed_to_the_world() -> None:
    settings = load(None)
    assert settings.http.bind.startswith("127.0.0.1:")
    assert settings.sources == ()


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[http]\nbind = "127.0.0.1:9000"\n[store]\npath = "a.duckdb"\n')
    monkeypatch.setenv("DCIM_HTTP__BIND", "127.0.0.1:9001")
    settings = load(file)
    assert settings.http.bind == "127.0.0.1:9001"
    assert settings.store.path == Path("a.duckdb")


def test_a_site_with_a_broker_and_a_listener(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        """
        [[sources]]
        name = "bus"
        kind = "broker"
        site = "titan"
        url = "mqtts://bus.titan.example"
        filters = ["BMS/v1/#"]

        [[sources]]
        name = "ear"
        kind = "listener"
        site = "titan"
        """
    )
    broker, listener = load(file).sources
    assert isinstance(broker, BrokerSource)
    assert broker.filters == ("BMS/v1/#",)
    assert isinstance(listener, ListenerSource)
    assert listener.bind == "127.0.0.1:1884"


def test_a_secret_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\nand a second line\n")
    secret.chmod(0o600)
    assert read_secret(secret) == "hunter2"
    secret.chmod(0o644)
    with pytest.raises(Permanent, match="everybody may read this secret"):
        read_secret(secret)


def test_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"nowhere\.toml: there is no such file\. Check the path after --config\."):
        load(tmp_path / "nowhere.toml")
