"""Grafana's rim: putting boards there, finding what differs, and what its answers mean; against a stand-in, and against
the real one where one is named."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from dashboards.grafana import client
from dashboards.grafana.build import bodies
from dashboards.grafana.client import ANSWER_BYTES_MAX, CALLS, FOREIGN, GrafanaServer, translate
from dashboards.grafana.sources import FOLDER_UID, Places, sources, with_secret
from dashboards.grafana.sync import carry_out, differences, plan
from dcim.app import boards, cli
from dcim.app.boards import Target
from dcim.core.errors import DcimError, Permanent, Transient
from tests import grafana
from tests.grafana import TOKEN, StandIn

ROOT = Path(__file__).parents[2]
URL = "http://grafana.example:3000"
PLACES = Places("http://influx.example:8086", "telemetry", "http://dcim.example:8080")


def server(there: httpx.AsyncBaseTransport, token: str = TOKEN) -> GrafanaServer:
    return GrafanaServer(URL, lambda: token, transport=there)


def synced(there: StandIn, token: str | None = "T0", renew: bool = False) -> list[str]:
    async def run() -> list[str]:
        changes = await plan(server(there), bodies(), sources(PLACES), renew=renew)
        await carry_out(server(there), changes, token)
        return [str(change) for change in changes]

    return asyncio.run(run())


def planned(there: StandIn, **changed: Any) -> list[str]:
    return [str(one) for one in asyncio.run(plan(server(there), changed.get("boards", bodies()), sources(PLACES)))]


# --- sync


@pytest.mark.slow
def test_everything_is_made_and_then_nothing_is_left_to_do() -> None:
    there = StandIn()
    made = synced(there)
    assert made[0] == "make folder dcim: DCIM"
    assert len(made) == 1 + 3 + len(bodies())
    assert there.secrets["dcim-readings"] == {"httpHeaderValue1": "Token T0"}
    assert there.sources["dcim-minutes"]["database"] == "telemetry_1m"
    assert there.sources["dcim-minutes"]["jsonData"]["dbName"] == "telemetry_1m", "later releases read it here"
    assert there.sources["dcim-alarms"]["jsonData"]["implementation"] == "prometheus"
    writes = len(there.writes)
    assert synced(there) == []
    assert len(there.writes) == writes


@pytest.mark.slow
def test_what_somebody_changed_is_named_and_put_right() -> None:
    there = StandIn()
    synced(there)
    there.boards["dcim-hall"]["panels"][1]["title"] = "mine"
    there.sources["dcim-readings"]["database"] = "other"
    del there.boards["dcim-gpus"]
    there.folders["dcim"]["title"] = "Ours"
    assert planned(there) == [
        "change folder dcim: title",
        "change data source dcim-readings: database",
        "change board dcim-hall: panels[1].title",
        "make board dcim-gpus: DCIM · GPU fleet",
    ]
    synced(there, None)
    assert there.secrets["dcim-readings"] == {"httpHeaderValue1": "Token T0"}, "a secret that is not said stays"
    assert planned(there) == []


@pytest.mark.slow
def test_a_token_that_is_given_is_written_although_nothing_differs() -> None:
    there = StandIn()
    synced(there)
    assert synced(there, "T1", renew=True) == [
        "change data source dcim-readings: its secret", "change data source dcim-minutes: its secret",
    ]  # fmt: skip
    assert there.secrets["dcim-minutes"] == {"httpHeaderValue1": "Token T1"}


@pytest.mark.slow
def test_nobody_s_change_is_lost_unseen() -> None:
    """Between the look and the write somebody else saves the board: the server's 412 is told, in words."""
    there = StandIn()
    synced(there)
    there.boards["dcim-hall"]["title"] = "mine"

    async def race() -> None:
        changes = await plan(server(there), bodies(), sources(PLACES))
        there.boards["dcim-hall"]["version"] += 1
        await carry_out(server(there), changes, None)

    with pytest.raises(Permanent, match=r"somebody else has changed it.*changed by someone else"):
        asyncio.run(race())


@pytest.mark.slow
def test_what_is_provisioned_from_files_is_left_to_them_and_nothing_is_done_by_halves() -> None:
    there = StandIn()
    synced(there)
    there.boards["dcim-hall"]["title"] = "mine"
    there.folders["dcim"]["title"] = "Ours"
    there.provisioned = True
    with pytest.raises(Permanent, match="provisioned from a file"):
        synced(there)
    assert there.folders["dcim"]["title"] == "Ours"


def test_new_data_sources_need_a_token() -> None:
    there = StandIn()
    with pytest.raises(Permanent, match="needs InfluxDB's token"):
        synced(there, None)
    assert there.writes == []


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": 1}, {"a": 1.0, "b": 2}, []),
        ({"a": None}, {}, []),
        ({"a": []}, {}, ["a"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": {"id": 1}}, {"a": {"id": 2}}, ["a.id"]),
        ({"id": 1}, {"id": 2}, []),
        ({"a": {"b": 1}}, {"a": 3}, ["a"]),
        ({"a": 1}, None, ["all of it"]),
    ],
)
def test_differences(ours: Any, theirs: Any, found: list[str]) -> None:
    before = copy.deepcopy(ours)
    assert list(differences(ours, theirs, frozenset({"id"}))) == found
    assert ours == before


# --- errors


class Answers(httpx.AsyncBaseTransport):
    def __init__(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.status, self.content, self.headers = status, content, headers or {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, content=self.content, headers=self.headers)


@pytest.mark.parametrize(
    ("status", "content", "family", "words"),
    [
        (401, b'{"message": "Invalid API key"}', Permanent, "does not know the token.*Invalid API key"),
        (403, b'{"message": "no permission"}', Permanent, "may not do that.*role Admin"),
        (404, b"<html>", Permanent, "nothing of that kind"),
        (412, b'{"message": "version-mismatch"}', Permanent, "somebody else has changed it"),
        (409, b'{"message": "exists"}', Permanent, "has that name"),
        (400, b'{"message": "bad \\n\\u0007 request"}', Permanent, "answers 400"),
        (302, b"", Permanent, "sends us elsewhere"),
        (429, b"{}", Transient, "answers 429"),
        (502, b"<html>proxy</html>", Transient, "answers 502"),
        (200, b"<html>hello</html>", Permanent, "does not answer as Grafana does"),
        (200, b"[1]", Permanent, "does not answer as Grafana does"),
        (200, b"1" * (ANSWER_BYTES_MAX + 1), Permanent, "longer than 8 MiB"),
        (200, b"[" * 100_000, Permanent, "does not answer as Grafana does"),
    ],
)
def test_answers_in_words(status: int, content: bytes, family: type[DcimError], words: str) -> None:
    with pytest.raises(family, match=words) as told:
        asyncio.run(server(Answers(status, content)).folder("dcim"))
    assert URL in str(told.value)
    assert "\n" not in str(told.value)


def test_a_server_that_is_not_there() -> None:
    lonely = GrafanaServer("http://127.0.0.1:9", lambda: TOKEN)
    with pytest.raises(Transient, match="cannot be reached"):
        asyncio.run(lonely.folder("dcim"))


def test_every_foreign_error_has_a_translation() -> None:
    request = httpx.Request("GET", URL)
    for name, kind in inspect.getmembers(httpx, inspect.isclass):
        if issubclass(kind, httpx.HTTPError) and kind is not httpx.HTTPStatusError:
            error = kind("why")
            error.request = request  # type: ignore[attr-defined]
            told = translate(error, URL)
            assert told.where == URL and told.todo, name
    for error in (
        client.Answered(418, "tea"),
        httpx.InvalidURL("x"),
        TimeoutError(),
        OSError("x"),
        ValueError("x"),
        RecursionError(),
    ):
        assert isinstance(error, FOREIGN)
        assert translate(error, URL).todo


def test_a_token_stands_in_no_error() -> None:
    there = StandIn()
    with pytest.raises(Permanent) as told:
        asyncio.run(server(there, "glsa_wrong").folder("dcim"))
    assert "glsa" not in str(told.value)


# --- the command


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[StandIn, Callable[..., Any]]:
    there = StandIn()
    for name, secret in (("grafana", TOKEN), ("influx", "T0")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    plain = boards.sync

    def sync(target: Target, *, dry_run: bool) -> list[str]:
        return plain(target, dry_run=dry_run, connect=lambda url, token, _: GrafanaServer(url, token, transport=there))

    monkeypatch.setattr(boards, "sync", sync)
    common = ["grafana", "sync", "--url", URL, "--token-file", str(tmp_path / "grafana")]
    where = ["--influx-url", "http://influx:8086", "--bucket", "telemetry"]
    token = ["--influx-token-file", str(tmp_path / "influx")]

    def run(*options: str, bare: bool = False) -> Any:
        return CliRunner().invoke(cli.app, [*common, *([] if bare else [*where, *token]), *options])

    return there, run


@pytest.mark.slow
def test_the_command_says_what_it_does(command: tuple[StandIn, Callable[..., Any]]) -> None:
    there, run = command
    dry = run("--dry-run")
    assert dry.exit_code == 0 and "make board dcim-site" in dry.output
    assert there.writes == []
    assert run("--check").exit_code == 1
    assert there.writes == []
    assert run("--console-url", "https://dcim.example").exit_code == 0
    same = run("--console-url", "https://dcim.example", "--check")
    assert (same.exit_code, same.output) == (0, "all is as it should be\n")
    assert run("--check").exit_code == 1, "another console is another board"


def test_the_command_wants_to_know_where_influxdb_is(command: tuple[StandIn, Callable[..., Any]]) -> None:
    _, run = command
    assert "nobody says where InfluxDB is" in str(run(bare=True).exception)


def test_files_can_be_made(tmp_path: Path) -> None:
    made = CliRunner().invoke(cli.app, ["grafana", "build", str(tmp_path / "b"), "--console-url", "https://x.example"])
    assert made.exit_code == 0, made.output
    assert "https://x.example" in (tmp_path / "b" / "dcim-site.json").read_text()
    wrong = CliRunner().invoke(
        cli.app, ["grafana", "build", str(tmp_path / "c"), "--console-url", "javascript:alert(1)"]
    )
    assert isinstance(wrong.exception, Permanent)


# --- provisioning


def test_provisioned_data_sources_are_those_that_sync_makes() -> None:
    told = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/datasources.yaml").read_text())
    places = Places("http://127.0.0.1:8086", "telemetry", "http://127.0.0.1:8080")
    made = [
        with_secret(source, "$__file{/run/tokens/grafana/token}") | {"editable": False}
        for source in sources(places, default=True).values()
    ]
    assert told == {"apiVersion": 1, "datasources": made}


def test_provisioned_boards_lie_where_compose_mounts_them() -> None:
    (provider,) = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/boards.yaml").read_text())["providers"]
    assert provider["folderUid"] == FOLDER_UID
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounts = [one.split(":")[:2] for one in compose["services"]["grafana"]["volumes"]]
    assert ["./dashboards/grafana/boards", provider["options"]["path"]] in mounts


# --- a real one


real = pytest.mark.skipif(not grafana.REAL_URL, reason=grafana.WHY_NOT)


@real
def test_a_real_grafana_takes_everything_and_gives_it_back() -> None:
    async def run() -> tuple[list[str], list[str]]:
        there = GrafanaServer(grafana.REAL_URL, lambda: grafana.REAL_TOKEN)
        changes = await plan(there, bodies(), sources(PLACES), renew=True)
        await carry_out(there, changes, "T0")
        again = [str(one) for one in await plan(there, bodies(), sources(PLACES))]
        await carry_out(there, await plan(there, bodies(), sources(PLACES), renew=True), "T1")
        number = await there.annotate({"time": 1_700_000_000_000, "text": "one", "tags": ["dcim-test"]})
        await there.change_annotation(number, {"timeEnd": 1_700_000_060_000})
        found = [one for one in await there.annotations("dcim-test", 5) if one["id"] == number]
        await there.close()
        return again, [f"{one['time']}-{one['timeEnd']}" for one in found]

    again, found = asyncio.run(run())
    assert again == []
    assert found == ["1700000000000-1700000060000"]


@real
def test_every_call_is_in_the_description_that_grafana_publishes() -> None:
    with urllib.request.urlopen(f"{grafana.REAL_URL}/public/api-merged.json", timeout=20) as answer:
        described = json.load(answer)["paths"]
    told = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert set(CALLS) <= told


def test_every_call_that_is_made_is_listed() -> None:
    source = inspect.getsource(client.GrafanaServer)
    for method, path in CALLS:
        assert f'"{method}"' in source
        assert path.split("/{")[0] in source
