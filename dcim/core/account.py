"""The accounts of the ledger as bytes: how they are kept, and how they are read back.

Lives here: the form, and the refusal of what is not of that form. Not here: what is counted (ledger.py), where the
bytes lie (stores). JSON, because a person may have to read it; a few hundred bytes for each source and codec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from dcim.core.ledger import Account, Counts, Fault, Kind, RejectReason, Remark
from dcim.core.times import from_us, to_us

_E = TypeVar("_E", bound=StrEnum)

FORM: Final = 1
"""Version of the form."""


def write(accounts: Mapping[str, Account], serial: int) -> bytes:
    """The bytes of these accounts. serial: tells two writes apart that say the same.

    >>> read(write({}, 7))
    {}
    """
    sources = {
        source: {
            "since": to_us(account.since),
            "messages": account.messages,
            "last_received": None if account.last_received is None else to_us(account.last_received),
            "faults": account.faults,
            "codecs": {
                codec: {
                    "received": counts.received,
                    "stored": counts.stored,
                    "duplicate": counts.duplicate,
                    "rejected": counts.rejected,
                    "pending": counts.pending,
                    "carried": counts.carried,
                    "remarks": counts.remarks,
                }
                for codec, counts in account.codecs.items()
            },
        }
        for source, account in accounts.items()
    }
    return json.dumps({"form": FORM, "serial": serial, "sources": sources}, separators=(",", ":")).encode()


def read(kept: bytes) -> dict[str, Account]:
    """The accounts that these bytes tell. Raises ValueError, in words, for anything that `write` has not made."""
    try:
        told = json.loads(kept)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    form = _part(told, "form", int)
    if form != FORM:
        raise ValueError(f"it has form {form}, and this version of the software knows form {FORM}")
    return {source: _account(account) for source, account in _part(told, "sources", dict).items()}


def _account(told: object) -> Account:
    last = None if _get(told, "last_received") is None else _instant(told, "last_received")
    codecs = {codec: _counts(counts) for codec, counts in _part(told, "codecs", dict).items()}
    return Account(_instant(told, "since"), _count(_get(told, "messages")), codecs, _table(told, "faults", Fault), last)


def _counts(told: object) -> Counts:
    return Counts(
        _table(told, "received", Kind),
        _table(told, "stored", Kind),
        _table(told, "duplicate", Kind),
        _table(told, "rejected", RejectReason),
        _count(_get(told, "pending")),
        _count(_get(told, "carried")),
        _table(told, "remarks", Remark),
    )


def _table(told: object, key: str, closed_list: type[_E]) -> dict[_E, int]:
    return {closed_list(name): _count(count) for name, count in _part(told, key, dict).items()}


def _instant(told: object, key: str) -> datetime:
    try:
        return from_us(_part(told, key, int))
    except OverflowError as error:
        raise ValueError(f"{key} is no time") from error


def _count(told: object) -> int:
    if type(told) is not int or told < 0:
        raise ValueError(f"{str(told)[:40]!r} is no count")
    return told


def _part(told: object, key: str, kind: type[Any]) -> Any:
    found = _get(told, key)
    if type(found) is not kind:
        raise ValueError(f"{key} is not what it should be")
    return found


def _get(told: object, key: str) -> object:
    if not isinstance(told, dict) or key not in told:
        raise ValueError(f"{key} is missing")
    found: object = told[key]
    return found
