"""The way of facts into an InfluxDB store's buckets, beside that of readings: what cannot be written now is the
caller's to count, and nothing waits for it.

Lives here: which bucket, and the request. Not here: facts and their text (facts.py), the spool, which is for readings
alone (forwarder.py)."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

from dcim.core.facts import Fact
from dcim.core.readings import Tier
from dcim.store.facts import lines
from dcim.store.influx_buckets import names
from dcim.store.influx_client import InfluxServer


class FactWriter:
    """Writes facts into a store's buckets. To be made and used in one event loop."""

    def __init__(self, server: InfluxServer, bucket: str) -> None:
        """bucket: of readings; see influx_buckets.names."""
        self._server, self._buckets = server, names(bucket)

    async def write(self, facts: Sequence[Fact], tier: Tier = Tier.RAW) -> None:
        """Writes them all. Raises what InfluxServer.write raises; writing the same again does no harm."""
        text = lines(facts)
        if text:
            await self._server.write(self._buckets[tier], gzip.compress(text, 1))

    async def close(self) -> None:
        """Closes its connections."""
        await self._server.close()
