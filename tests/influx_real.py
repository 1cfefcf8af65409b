"""The real InfluxDB 2 that DCIM_TEST_INFLUX_URL, _TOKEN and _ORG name: buckets for one test each.

Any server will do that takes a token which may make and delete buckets. None is started here."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

from dcim.store.influx import Place
from dcim.store.influx_buckets import carry_out, names, plan
from dcim.store.influx_client import InfluxServer
from dcim.store.retention import Retention

URL = os.environ.get("DCIM_TEST_INFLUX_URL", "")
WHY_NOT = "DCIM_TEST_INFLUX_URL names no InfluxDB to test against"
_T = TypeVar("_T")


class Buckets:
    """Buckets with a name of their own, for as long as the block lasts."""

    def __init__(self, retention: Retention | None = None) -> None:
        self.name = f"test-{uuid4().hex[:12]}"
        self.place = Place(URL, os.environ["DCIM_TEST_INFLUX_ORG"], self.name, lambda: _TOKEN)
        self._retention = retention or Retention()

    def __enter__(self) -> Buckets:
        async def make(server: InfluxServer) -> None:
            await carry_out(server, await plan(server, self.name, self._retention), shorten=False)

        self.ask(make)
        return self

    def __exit__(self, *_: object) -> None:
        async def drop(server: InfluxServer) -> None:
            for bucket in (await server.buckets(*names(self.name).values())).values():
                await server.drop_bucket(bucket)

        self.ask(drop)

    def ask(self, work: Callable[[InfluxServer], Awaitable[_T]]) -> _T:
        """What a piece of work at the server answers."""

        async def run() -> _T:
            server = InfluxServer(self.place.url, self.place.org, self.place.token)
            try:
                return await work(server)
            finally:
                await server.close()

        return asyncio.run(run())

    def write(self, lines: str, suffix: str = "") -> None:
        """Lines, past our store. suffix: of the bucket's name: "_1m", "_1h"."""
        self.ask(lambda server: server.write(self.name + suffix, gzip.compress(lines.encode())))


_TOKEN = os.environ.get("DCIM_TEST_INFLUX_TOKEN", "")
