"""Boards from the command line: their files, and their way to a Grafana server.

Lives here: what settings and options together say. Not here: boards, comparison, requests (dashboards.grafana)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dashboards.grafana.build import bodies, write
from dashboards.grafana.client import GrafanaServer
from dashboards.grafana.sources import Places, sources
from dashboards.grafana.sync import carry_out, plan
from dcim.app.settings import check_http, load, read_secret
from dcim.core.errors import Permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which server, and what is said of the places around it. What is None is taken from `config`."""

    url: str
    token_file: Path
    config: Path | None = None
    influx_url: str | None = None
    bucket: str | None = None
    influx_token_file: Path | None = None
    service_url: str | None = None
    console_url: str | None = None
    ca_file: Path | None = None


def build(folder: Path, console_url: str) -> list[str]:
    """Writes the boards' files into a folder; which were written, in lines. Raises Permanent."""
    _address(console_url, "--console-url")
    try:
        written = write(folder, console_url)
    except OSError as error:
        raise Permanent(f"cannot be written: {error.strerror}", where=str(folder)) from error
    return [f"wrote {file}" for file in written] or ["all is as it should be"]


def sync(
    target: Target,
    *,
    dry_run: bool,
    connect: Callable[[str, Callable[[], str], Path | None], GrafanaServer] = GrafanaServer,
) -> list[str]:
    """Brings the server to what it should be, or only says what would be done; in lines, none where nothing is.

    connect: makes the server's client. Raises Permanent, or Transient where it may work later.
    """
    _address(target.url, "--url")
    read_secret(target.token_file)
    token = read_secret(target.influx_token_file) if target.influx_token_file else None
    places, console = _places(target)

    async def run() -> list[str]:
        server = connect(target.url, lambda: read_secret(target.token_file), target.ca_file)
        try:
            changes = await plan(server, bodies(console), sources(places), renew=token is not None and not dry_run)
            if not dry_run:
                await carry_out(server, changes, token)
            return [str(change) for change in changes]
        finally:
            await server.close()

    return asyncio.run(run())


def _places(target: Target) -> tuple[Places, str]:
    """Where things are, and the console's address."""
    influx_url, bucket, service_url = target.influx_url, target.bucket, target.service_url
    if target.config is not None:
        settings = load(target.config)
        influx = settings.store.influx
        if influx is not None:
            influx_url, bucket = influx_url or influx.url, bucket or influx.bucket
        service_url = service_url or f"http://{settings.http.bind}"
    if influx_url is None or bucket is None:
        raise Permanent(
            "nobody says where InfluxDB is",
            where="dcim grafana sync",
            todo="Give --config with [store.influx], or --influx-url and --bucket. Boards need InfluxDB",
        )
    service_url = service_url or "http://127.0.0.1:8080"
    console = target.console_url or service_url
    for address, option in (
        (influx_url, "--influx-url"), (service_url, "--service-url"), (console, "--console-url"),
    ):  # fmt: skip
        _address(address, option)
    return Places(influx_url, bucket, service_url), console


def _address(url: str, option: str) -> None:
    try:
        check_http(url)
    except ValueError as error:
        raise Permanent(str(error), where=option) from error
