"""Mixed: one source that carries both buses, as a broker does when everything in a hall talks to it.

Lives here: which message is whose. Not here: how either is read (dsx.py, gpu.py)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from collectors.codecs.bounds import Bounds
from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from dcim.core.points import PointIndex
from dcim.core.ports import Codec, Decoded, Message
from dcim.core.readings import Readings


class MixedCodec:
    """GPU telemetry by its topic, everything else as the BMS event bus. The order is kept within each of the two."""

    name = "dsx+gpu"

    def __init__(self, index: PointIndex, *, site: str, bus: str, bounds: Bounds | None = None) -> None:
        self._dsx = DsxCodec(index, site=site, bus=bus, bounds=bounds)
        self._gpu = GpuCodec(index, site=site, bounds=bounds)

    def route(self, messages: Sequence[Message], received: int) -> list[Decoded]:
        """Decodes one batch, each codec's share apart; see Router. Raises nothing."""
        gpu = [message for message in messages if message[0].startswith(b"dcim/")]
        dsx = [message for message in messages if not message[0].startswith(b"dcim/")] if gpu else messages
        shares: tuple[tuple[Codec, Sequence[Message]], ...] = ((self._dsx, dsx), (self._gpu, gpu))
        parts = []
        for codec, share in shares:
            if share:
                decoded = codec.decode(share, received)
                decoded.codec = codec.name
                parts.append(decoded)
        return parts

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch. Raises nothing."""
        parts = self.route(messages, received)
        return reduce(_joined, parts) if parts else Decoded(Readings.empty(), Readings.empty())


def _joined(one: Decoded, other: Decoded) -> Decoded:
    return Decoded(
        readings=Readings.concat([one.readings, other.readings]),
        held=Readings.concat([one.held, other.held]),
        rejects=one.rejects + other.rejects,
        described=one.described + other.described,
        repeated=one.repeated + other.repeated,
        bound=one.bound + other.bound,
        remarks={
            remark: one.remarks.get(remark, 0) + other.remarks.get(remark, 0)
            for remark in one.remarks.keys() | other.remarks.keys()
        },
    )
