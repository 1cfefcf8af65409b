"""Parcels: readings, and the account that goes with them, as records of the spool, and back.

Lives here: the form. Not here: files (spool.py), and what is done with a parcel (influx.py, forwarder.py)."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from dcim.core.errors import Permanent
from dcim.core.readings import Readings

PARCEL_ROWS: Final = 50_000
"""More rows are several parcels: a parcel is read back as a whole, and must not exceed what a record may hold."""

_MARK: Final = b"dcim"
_SETTLED, _DOUBTFUL, _ACCOUNT = b"\x01\x00", b"\x01\x01", b"\x01\x02"
"""Version of the form, and what is in it."""
_SERIAL: Final = struct.Struct("<Q")
_COLUMNS: Final = {"point": pl.UInt32, "time": pl.Int64, "value": pl.Float64, "quality": pl.UInt8}


@dataclass(frozen=True, slots=True)
class Parcel:
    """Rows that went into the spool together."""

    rows: Readings
    doubtful: bool = False
    """Whether they were there already could not be told when they were taken; the server has to be asked."""


class Account(NamedTuple):
    """What the ledger says. Of several the one with the highest serial counts."""

    serial: int
    body: bytes

    def pack(self) -> bytes:
        """The bytes that it is kept as."""
        return _SERIAL.pack(self.serial) + self.body

    @classmethod
    def unpack(cls, kept: bytes) -> Account:
        """Back from these bytes."""
        (serial,) = _SERIAL.unpack_from(kept)
        return cls(serial, kept[_SERIAL.size :])


def pack_account(account: Account) -> bytes:
    """The record with an account."""
    return _MARK + _ACCOUNT + account.pack()


def pack(rows: Readings, *, doubtful: bool = False) -> list[bytes]:
    """Records with these rows, in their order; none for no rows. 5 to 8 bytes a row that lie by point and time."""
    return [
        _pack(rows.take(np.arange(start, min(start + PARCEL_ROWS, len(rows)))), _DOUBTFUL if doubtful else _SETTLED)
        for start in range(0, len(rows), PARCEL_ROWS)
    ]


def unpack(record: bytes) -> Parcel | Account:
    """What a record holds. Raises Permanent for one that was not packed here, or by newer software."""
    head = record[4:6]
    if record.startswith(_MARK + _ACCOUNT) and len(record) >= 6 + _SERIAL.size:
        return Account.unpack(record[6:])
    if record[:4] != _MARK or head not in {_SETTLED, _DOUBTFUL}:
        raise Permanent("a record of the spool was not written by this version of the software")
    try:
        frame = pl.read_ipc_stream(io.BytesIO(record[6:]))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Permanent(f"a record of the spool cannot be read: {error}") from error
    if dict(frame.schema) != _COLUMNS:
        raise Permanent("a record of the spool holds no readings")
    columns = (frame[name].to_numpy() for name in _COLUMNS)
    return Parcel(Readings(*columns), head == _DOUBTFUL)


def _pack(rows: Readings, head: bytes) -> bytes:
    record = io.BytesIO()
    record.write(_MARK + head)
    frame = pl.DataFrame({"point": rows.point, "time": rows.time, "value": rows.value, "quality": rows.quality})
    frame.write_ipc_stream(record, compression="zstd")
    return record.getvalue()
