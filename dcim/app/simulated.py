"""The simulated hall on its way to a broker or to our own ear.

Lives here: a simulation's ticks as messages that are due in real time. Not here: the plant (dcim.sim), the wire
(collectors.publish)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from collectors.publish import Outgoing
from dcim.sim.run import Tick


def outgoing(ticks: Iterator[Tick]) -> Iterator[Outgoing]:
    """The messages of a simulation, each due as long after the start as its tick is after the first one. The payloads
    carry the simulation's own time, which is real time when it is started now."""
    first = None
    for tick in ticks:
        first = first or tick.at
        due_s = (tick.at - first).total_seconds()
        for message in tick.messages:
            yield Outgoing(message.topic, partial(_as_it_is, message.payload), due_s, message.retain)


def _as_it_is(payload: bytes, _: int) -> bytes:
    return payload
