"""A store by its settings: what check-config says of it, and what `dcim store init` does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcim.app.build import check
from dcim.app.cli import app
from dcim.app.settings import load
from dcim.core.errors import Permanent, Transient
from tests.e2e.running import free_port
from tests.influx_real import URL, WHY_NOT, Buckets


def site(folder: Path, url: str, bucket: str = "dcim", org: str = "titan", known: str = "t", more: str = "") -> Path:
    secret = folder / "token"
    secret.write_text(f"{known}\n")
    secret.chmod(0o600)
    file = folder / "site.toml"
    file.write_text(
        f"""
        [store]
        kind = "influx"
        [store.influx]
        url = "{url}"
        org = "{org}"
        bucket = "{bucket}"
        token_file = "{secret}"
        spool_folder = "{folder}/influx"
        {more}
        """
    )
    return file


def run(*arguments: str) -> str:
    """What a command says; what it raises is raised."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_what_would_run_is_said_and_its_secret_is_read(tmp_path: Path) -> None:
    file = site(tmp_path, "http://127.0.0.1:8086")
    lines = check(load(file))
    assert f"readings in bucket dcim of titan at http://127.0.0.1:8086, handed on from {tmp_path}/influx" in lines
    assert not any(line.startswith("warning") for line in lines)
    assert not (tmp_path / "influx").exists(), "nothing is started"
    (tmp_path / "token").unlink()
    with pytest.raises(Permanent, match="the secret cannot be read"):
        check(load(file))


def test_a_token_that_everybody_could_read_on_its_way_is_warned_of(tmp_path: Path) -> None:
    (warning,) = [line for line in check(load(site(tmp_path, "http://influx.titan.example"))) if "warning" in line]
    assert "the token goes to influx.titan.example" in warning
    assert not any("warning" in line for line in check(load(site(tmp_path, "https://influx.titan.example"))))


def test_other_stores_need_no_set_up(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[store]\nkind = "memory"\n')
    said = run("store", "init", "--config", str(tmp_path / "site.toml"))
    assert said == 'nothing to do: store.kind is "memory", which needs no set-up\n'


def test_a_server_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    file = site(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Transient, match="it cannot be reached"):
        run("store", "init", "--config", str(file))


@pytest.mark.skipif(not URL, reason=WHY_NOT)
def test_buckets_are_made_once(tmp_path: Path) -> None:
    with Buckets() as buckets:
        for name in ("", "_1m", "_1h"):
            run_away = buckets.name + name

            async def drop(server, name=run_away) -> None:  # type: ignore[no-untyped-def]
                await server.drop_bucket((await server.buckets(name))[name])

            buckets.ask(drop)
        org, token = os.environ["DCIM_TEST_INFLUX_ORG"], os.environ["DCIM_TEST_INFLUX_TOKEN"]
        ages = "[store.retention]\nraw_days = 7"
        init = ("store", "init", "--config", str(site(tmp_path, URL, buckets.name, org, token, ages)))
        plan = [
            f"make bucket {buckets.name}, readings kept 7 days",
            f"make bucket {buckets.name}_1m, readings kept 180 days",
            f"make bucket {buckets.name}_1h, readings kept 3650 days",
        ]
        assert run(*init, "--dry-run").splitlines() == [f"would {line}" for line in plan]
        assert run(*init).splitlines() == plan
        assert run(*init) == "nothing to do: all is as it should be\n"
        shorter = (
            "store",
            "init",
            "--config",
            str(site(tmp_path, URL, buckets.name, org, token, ages.replace("7", "3"))),
        )
        with pytest.raises(Permanent, match=r"readings kept 3 days, not 7 days.*say --shorten"):
            run(*shorter)
        assert run(*shorter, "--shorten") == f"change bucket {buckets.name}: readings kept 3 days, not 7 days\n"
