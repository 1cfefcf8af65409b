"""Mixed: the two buses that a source carries where nothing else is said: facility points and GPUs.

Lives here: that pair. Not here: how a message finds its codec (router.py), how either is read (dsx.py, gpu.py)."""

from __future__ import annotations

from collectors.codecs.bounds import Bounds
from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.router import Claim, CodecRouter
from dcim.core.points import PointIndex

DSX_TOPICS = b"BMS/"
GPU_TOPICS = b"dcim/"


class MixedCodec(CodecRouter):
    """GPU telemetry by its topic, everything else as the BMS event bus, which says of a strange topic what is wrong."""

    name = "dsx+gpu"

    def __init__(self, index: PointIndex, *, site: str, bus: str, bounds: Bounds | None = None) -> None:
        gpu = GpuCodec(index, site=site, bounds=bounds)
        super().__init__([Claim(gpu, GPU_TOPICS)], DsxCodec(index, site=site, bus=bus, bounds=bounds))
