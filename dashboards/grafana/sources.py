"""The data sources of the boards, as Grafana's API and its provisioning files have them.

Lives here: their uids, names and settings. Not here: their way to a server (sync.py), tokens, which come from files.
What 9.4 calls `database` later releases read from `jsonData.dbName`: both are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dashboards.grafana.look import Json
from dashboards.grafana.queries import Source
from dashboards.grafana.subjects.alarms import ALERTMANAGER

FOLDER_UID: Final = "dcim"
FOLDER_TITLE: Final = "DCIM"
_HEADER = {"httpHeaderName1": "Authorization"}
_KEPT: Final = "httpHeaderValue1"
"""The header's value, which Grafana keeps to itself."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, as Grafana's server reaches them."""

    influx_url: str
    bucket: str
    """Of readings; that of minutes has the name <bucket>_1m."""
    service_url: str
    """Of this service's HTTP API."""


def sources(places: Places, *, default: bool = False) -> dict[str, Json]:
    """By uid: each data source without its secret. default: whether readings are the default of whoever asks without
    naming a source; for a Grafana of our own."""
    return {
        Source.READINGS.value: _influx(Source.READINGS, "DCIM readings", places.influx_url, places.bucket)
        | {"isDefault": default},
        Source.MINUTES.value: _influx(Source.MINUTES, "DCIM minutes", places.influx_url, f"{places.bucket}_1m", "60s"),
        Source.ALARMS.value: {
            "uid": Source.ALARMS.value,
            "name": ALERTMANAGER,
            "type": "alertmanager",
            "access": "proxy",
            "url": f"{places.service_url.rstrip('/')}/alertmanager",
            "isDefault": False,
            "jsonData": {"implementation": "prometheus", "handleGrafanaManagedAlerts": False},
        },
    }


def with_secret(source: Json, token: str | None) -> Json:
    """A data source with its secret: InfluxDB's token. Without a token, what the server has stays."""
    if source["type"] != "influxdb" or token is None:
        return source
    secret: Mapping[str, str] = {_KEPT: f"Token {token}"}
    return source | {"secureJsonData": dict(secret)}


def _influx(uid: Source, name: str, url: str, database: str, interval: str = "10s") -> Json:
    return {
        "uid": uid.value,
        "name": name,
        "type": "influxdb",
        "access": "proxy",
        "url": url,
        "database": database,
        "isDefault": False,
        "jsonData": {"version": "InfluxQL", "dbName": database, "httpMode": "GET", "timeInterval": interval} | _HEADER,
    }
