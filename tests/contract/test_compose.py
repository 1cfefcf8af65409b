"""docker-compose.yml and what it mounts: nothing floats, nothing is open, no secret has a value here, and every name
leads somewhere."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = {name for name, service in SERVICES.items() if service["restart"] != "no"}
SECRETS = ROOT / "secrets"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PINNED = re.compile(r"[a-z0-9./-]+:[0-9]+\.[0-9]+\.[0-9]+")
SECRET_NAME = re.compile(r"password|passwd|token|secret|key", re.IGNORECASE)

services = pytest.mark.parametrize("name", SERVICES)


def volumes(name: str) -> list[tuple[str, str, str]]:
    """(source, target, mode) of a service's mounts."""
    parts = [entry.split(":") for entry in SERVICES[name].get("volumes", [])]
    return [(part[0], part[1], part[2] if len(part) > 2 else "rw") for part in parts]


def mounted(name: str, path: str) -> bool:
    """Whether a service finds something at this path: a secret of its own, or below a mount."""
    if path.startswith("/run/secrets/"):
        return path.removeprefix("/run/secrets/") in SERVICES[name].get("secrets", [])
    return any(path == target or path.startswith(f"{target}/") for _, target, _ in volumes(name))


def test_all_parts_are_there() -> None:
    assert {"mosquitto", "influxdb", "grafana", "dcim", "hall"} == LASTING
    assert {name for name, service in SERVICES.items() if service.get("profiles")} == {"hall"}


@services
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert PINNED.fullmatch(image), image
    if image.startswith("dcim:"):
        assert image == f"dcim:{VERSION}"


def test_what_the_image_is_made_of_has_a_version() -> None:
    text = (ROOT / "Dockerfile").read_text()
    sources = [line.split()[1] for line in text.splitlines() if line.startswith("FROM ")]
    sources += [image for image in re.findall(r"--from=(\S+)", text) if image != "build"]
    assert len(sources) == 3
    assert all(re.search(r":[0-9]+\.[0-9]+", source) for source in sources), sources
    assert "--require-hashes" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["dcim"]


def test_every_secret_is_a_file_that_is_never_committed() -> None:
    wanted = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert set(COMPOSE["secrets"]) == wanted, "none is missing and none is left over"
    for secret, entry in COMPOSE["secrets"].items():
        assert entry == {"file": f"./secrets/{secret}"}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*", (
        "the image takes what is named, and nothing else"
    )


@services
def test_no_secret_has_a_value_here(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    for variable, value in environment.items():
        if SECRET_NAME.search(variable):
            assert variable.endswith("_FILE"), variable
            assert mounted(name, value), f"{variable} names {value}, which {name} does not have"
    command = " ".join(SERVICES[name].get("command", []))
    for word in re.findall(r"--?[a-z-]*(?:password|token)[a-z-]*[ =](\S+)", command):
        assert mounted(name, word), word
    for path in re.findall(r"/run/(?:secrets|tokens)/[\w/]+", f"{command} {environment}"):
        assert mounted(name, path), path


def test_nothing_else_that_is_mounted_holds_a_secret() -> None:
    provisioned = ROOT / "dashboards/grafana/provisioning"
    for file in (*(ROOT / "deploy").rglob("*"), *provisioned.iterdir(), ROOT / ".env.example"):
        if file.is_file() and file.suffix != ".sh":
            for line in file.read_text().splitlines():
                found = re.match(r"\s*[\w.]*(?:password|token|secret)[\w.]*\s*[:=]\s*(.+)", line, re.IGNORECASE)
                if found:
                    assert "/run/" in found[1], f"{file.name}: {line}"


@services
def test_memory_is_capped(name: str) -> None:
    assert re.fullmatch(r"[1-9][0-9]*[mg]", SERVICES[name]["mem_limit"])


@services
def test_health_is_watched(name: str) -> None:
    if name not in LASTING:
        return
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()
    if "-c" in check["test"]:
        ast.parse(check["test"][-1])


@services
def test_nothing_leaves_the_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:[0-9]+:[0-9]+", port)
    if SERVICES[name].get("network_mode") == "host" and not SERVICES[name]["image"].startswith("dcim:"):
        bound = SERVICES[name]["environment"].get("GF_SERVER_HTTP_ADDR")
        assert bound == "127.0.0.1", "ours binds to the loopback by itself; others must be told to"


@services
def test_rights_are_few(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    if service["image"].startswith("dcim:"):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "DCIM_UID" in service["user"]


@services
def test_what_is_mounted_is_there(name: str) -> None:
    for source, target, mode in volumes(name):
        assert target.startswith("/")
        if source.startswith("./"):
            assert (ROOT / source).is_file() or any((ROOT / source).iterdir()), source
            assert mode == "ro"
        else:
            assert source in COMPOSE["volumes"]


def test_every_volume_is_used() -> None:
    assert set(COMPOSE["volumes"]) == {
        source for name in SERVICES for source, _, _ in volumes(name) if not source.startswith("./")
    }


@services
def test_the_order_of_starting_can_be_kept(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        elif how["condition"] == "service_completed_successfully":
            assert other not in LASTING
        else:
            assert how["condition"] == "service_started"


def test_variables_are_in_the_example() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    example = dict(line.split("=") for line in (ROOT / ".env.example").read_text().splitlines() if line[:1].isalpha())
    assert asked == set(example)


# --- what is mounted


def test_the_service_s_settings_fit_the_containers() -> None:
    settings = tomllib.loads((ROOT / "deploy/site.toml").read_text())
    influx = settings["store"]["influx"]
    environment = SERVICES["influxdb"]["environment"]
    assert settings["store"]["kind"] == "influx"
    assert influx["org"] == environment["DOCKER_INFLUXDB_INIT_ORG"]
    assert influx["bucket"] != environment["DOCKER_INFLUXDB_INIT_BUCKET"], "that one is kept for ever"
    for name in ("dcim", "buckets"):
        assert mounted(name, influx["token_file"])
        assert all(mounted(name, source["password_file"]) for source in settings["sources"])
    assert mounted("dcim", influx["spool_folder"])
    published = {port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])}
    addresses = [influx["url"], *(source["url"] for source in settings["sources"])]
    assert {address.rsplit(":", 1)[1] for address in addresses} <= published


def test_grafana_reads_with_a_token_of_its_own() -> None:
    provisioned = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/datasources.yaml").read_text())["datasources"]
    settings = tomllib.loads((ROOT / "deploy/site.toml").read_text())
    influx = settings["store"]["influx"]
    stores = [source for source in provisioned if source["type"] == "influxdb"]
    assert {source["database"] for source in stores} == {influx["bucket"], f"{influx['bucket']}_1m"}
    for source in stores:
        assert source["url"] == influx["url"]
        token = re.fullmatch(r"Token \$__file\{(.*)\}", source["secureJsonData"]["httpHeaderValue1"])
        assert token
        assert mounted("grafana", token[1])
    assert not mounted("grafana", influx["token_file"]), "it cannot write"
    (alarms,) = [source for source in provisioned if source["type"] == "alertmanager"]
    assert alarms["url"].startswith(f"http://{settings['http']['bind']}/")


INFLUX = r"""#!/bin/sh
echo "$*" >> "$CALLS"
test -z "$BROKEN" || { echo '{"message": "unauthorized"}'; exit "$BROKEN"; }
printf '{\n\t"id": "0a",\n\t"token": "T0-ken_%s==",\n\t"permissions": ["read:orgs"]\n}\n' $$
"""


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """An environment in which deploy/influx-tokens.sh finds a stand-in for influx and folders of this user."""
    program = tmp_path / "bin" / "influx"
    program.parent.mkdir()
    program.write_text(INFLUX)
    program.chmod(0o755)
    for name in ("dcim", "grafana"):
        (tmp_path / "tokens" / name).mkdir(parents=True)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "DOCKER_INFLUXDB_INIT_ORG": "dcim",
        "DOCKER_INFLUXDB_INIT_USERNAME": "admin",
        "DCIM_UID": str(os.getuid()),
        "DCIM_GID": str(os.getgid()),
        "DCIM_TOKENS": str(tmp_path / "tokens"),
        "CALLS": str(tmp_path / "calls"),
        "BROKEN": "",
    }


def make_tokens(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy/influx-tokens.sh"
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)


def test_tokens_are_made_for_each_and_readable_to_one(tokens: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):  # lost ones are made again
        assert make_tokens(tokens).returncode == 0
    for name in ("dcim", "grafana"):
        folder = tmp_path / "tokens" / name
        assert [file.name for file in folder.iterdir()] == ["token"]
        assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o400
        assert re.fullmatch(r"T0-ken_[0-9]+==\n", (folder / "token").read_text())
    service, grafana, *_ = (tmp_path / "calls").read_text().splitlines()
    assert service.endswith("--read-orgs --read-buckets --write-buckets")
    assert grafana.endswith("--read-buckets")
    assert "write" not in grafana
    mounts = {target for _, target, _ in volumes("influxdb")}
    assert {"/run/tokens/dcim", "/run/tokens/grafana", "/docker-entrypoint-initdb.d/tokens.sh"} <= mounts


@pytest.mark.parametrize("broken", ["1", "0"])
def test_without_a_token_the_first_start_fails(tokens: dict[str, str], tmp_path: Path, broken: str) -> None:
    """Whether influx says that it failed, or answers something else."""
    told = make_tokens(tokens | {"BROKEN": broken})
    assert told.returncode != 0
    assert not (tmp_path / "tokens" / "dcim" / "token").exists()


@pytest.mark.slow
def test_secrets_can_be_made_and_are_kept(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "influx_admin_token").write_text("mine\n")
    for _ in range(2):
        subprocess.run(["make", "-s", "-f", ROOT / "Makefile", "secrets"], cwd=tmp_path, check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert made.pop("influx_admin_token") == "mine\n"
    assert len(set(made.values())) == len(made)
    for name, secret in made.items():
        assert re.fullmatch(r"[0-9a-f]{48}\n", secret)
        assert stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) == 0o600


# --- the workflow


def test_the_workflow_runs_what_we_run_with_the_same_servers() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    everything = WORKFLOW["jobs"]["everything"]
    assert everything["services"]["influxdb"]["image"] == SERVICES["influxdb"]["image"]
    assert {"run": ".ci/run"} in everything["steps"]
    assert {"DCIM_TEST_INFLUX_URL", "DCIM_TEST_INFLUX_TOKEN", "DCIM_TEST_INFLUX_ORG"} == everything["env"].keys()
    for job in WORKFLOW["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", f"a/b@{'0' * 40}")), step
    for name in (".ci/run", "tests/e2e/compose_smoke.sh", "deploy/influx-tokens.sh"):
        assert os.access(ROOT / name, os.X_OK)
