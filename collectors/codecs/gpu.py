"""GPU telemetry of our own agents, in both of its forms: the topic tells which.

Lives here: the codec, and how the rows of both become readings. Not here: the forms (gpu_json.py, gpu_packed.py), whose
points the values are (gpus.py), the agents that send them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collectors.codecs.bounds import Bounds
from collectors.codecs.gpu_json import JsonForm
from collectors.codecs.gpu_packed import PackedForm
from collectors.codecs.gpus import BLANK_FROM, PACKED, Batch, Columns, Gpus
from collectors.codecs.payload import Clock
from dcim.core.ledger import Remark
from dcim.core.points import PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.readings import Quality, Readings


class GpuCodec:
    """Decodes the GPUs of one site. An item is one value of one field of one GPU at one instant; a message that is put
    aside as a whole (for its time, its list of GPUs, its encoding) is one.

    A message is its own description, so nothing waits for metadata. Both forms of a host fill the same points.
    """

    name = "gpu"

    def __init__(self, index: PointIndex, *, site: str, bus: str = "gpu", bounds: Bounds | None = None) -> None:
        """bus: the middle of the points' keys."""
        bounds = bounds or Bounds()
        self._index, self._bounds = index, bounds
        gpus = Gpus(index, site, bus, bounds)
        self._json, self._packed = JsonForm(gpus, bounds), PackedForm(gpus, bounds)

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. Raises nothing."""
        batch = Batch(received, Clock(received, self._bounds))
        json, packed = self._json.read, self._packed.read
        for message in messages:
            if message[0].endswith(PACKED):
                packed(batch, message)
            else:
                json(batch, message)
        rows = self._packed.take(batch)
        told = self._json.take()
        if told is not None:
            rows.append(told)
        if rows:
            self._to_readings(batch, rows)
        return batch.done

    def _to_readings(self, batch: Batch, rows: list[Columns]) -> None:
        point, time, value = (np.concatenate(column) for column in list(zip(*rows, strict=True))[:3])
        if (value >= BLANK_FROM).any():
            value[value >= np.concatenate([part for columns in rows for part in columns.blank])] = np.nan
        quality = np.where(np.isnan(value), np.uint8(Quality.BAD), np.uint8(Quality.GOOD))
        converted = self._index.scaling.convert(Readings(point, time, value, quality))
        batch.done.readings = converted.readings
        batch.remark(Remark.VALUE_IMPLAUSIBLE, converted.implausible)
