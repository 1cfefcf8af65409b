"""Payloads: bounded decoding of JSON that nobody vouches for, and the one translation of the JSON library's errors.

Lives here: what every codec asks of a payload before it looks at the content. Not here: the content."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
import numpy as np

from collectors.codecs.bounds import Bounds
from dcim.core.errors import Permanent
from dcim.core.ledger import SAMPLE_BYTES, Kind, Reject, RejectReason

_T = TypeVar("_T")

SHORT = 256
"""Bytes of a payload that cannot be nested deeply enough to matter."""
FOREIGN = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""Everything that decoding JSON raises. RecursionError: nested deeper than the interpreter's stack. UnicodeDecodeError:
a text is not UTF-8; the library does not wrap it."""
NUMBER_MAX = 1e300
"""No sender means a larger number, and no conversion of a smaller one reaches infinity."""

_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # possessive: linear on any bytes
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Refused(Permanent):
    """An item that cannot be taken, with its reason. It never leaves a codec: it becomes a reject."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)

    def reject(self, topic: bytes, payload: bytes, received: int, kind: Kind) -> Reject:
        """The record of it, with the first bytes of what came. The detail may quote the sender: it is made plain."""
        detail = self.what[:200]
        if not detail.isprintable():
            detail = "".join(character if character.isprintable() else "?" for character in detail)
        return Reject(self.reason, topic[:SAMPLE_BYTES], payload[:SAMPLE_BYTES], detail, received, kind)


def examine(payload: bytes, bounds: Bounds) -> None:
    """Raises Refused where a payload is too large, is no UTF-8 or is nested too deeply."""
    if len(payload) > bounds.payload_bytes_max:
        raise Refused(RejectReason.PAYLOAD_TOO_LARGE, f"{len(payload)} bytes, and {bounds.payload_bytes_max} are taken")
    if not payload:
        raise Refused(RejectReason.MALFORMED_PAYLOAD, "the payload is empty")
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise refusal(error) from error
    if payload.count(b"[") + payload.count(b"{") > bounds.depth_max and depth(payload) > bounds.depth_max:
        raise Refused(RejectReason.NESTED_TOO_DEEPLY, f"more than {bounds.depth_max} brackets inside each other")


def depth(payload: bytes) -> int:
    """How many brackets stand open at once in a JSON text, at most; those in strings do not count."""
    brackets = np.frombuffer(_STRING.sub(b"", payload).translate(None, _NOT_BRACKETS), np.uint8)
    if not len(brackets):
        return 0
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return max(0, int(np.cumsum(np.where(opening, 1, -1), dtype=np.int64).max()))


def refusal(error: Exception) -> Refused:
    """The reason behind one of FOREIGN: the only place where the library's errors are read."""
    if isinstance(error, RecursionError):
        return Refused(RejectReason.NESTED_TOO_DEEPLY, "more brackets inside each other than can be read")
    if isinstance(error, UnicodeDecodeError):
        return Refused(RejectReason.MALFORMED_PAYLOAD, f"not UTF-8 at byte {error.start}")
    if isinstance(error, msgspec.ValidationError):
        return Refused(RejectReason.WRONG_TYPE, str(error))
    return Refused(RejectReason.MALFORMED_PAYLOAD, str(error))


def read(decoder: msgspec.json.Decoder[_T], payload: bytes) -> _T:
    """One decoded payload, or Refused. What is no JSON at all is malformed, whichever mistake comes first in it."""
    try:
        return decoder.decode(payload)
    except FOREIGN as error:
        if isinstance(error, msgspec.ValidationError):
            read(_ANYTHING, payload)
        raise refusal(error) from error


def number(raw: msgspec.Raw, name: str) -> float | int | None:
    """A JSON number or null, as it stands. Raises Refused for anything else and for what no float can hold."""
    try:
        value: Any = msgspec.json.decode(raw)
    except msgspec.ValidationError as error:  # an untyped value has but one way to be invalid
        raise Refused(RejectReason.NOT_FINITE, f"{name} is out of range") from error
    except FOREIGN as error:
        raise refusal(error) from error
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(RejectReason.WRONG_TYPE, f"{name} is no number")
    if not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise Refused(RejectReason.NOT_FINITE, f"{name} is out of range")
    return value


def whole(raw: msgspec.Raw, name: str) -> int:
    """A JSON number without a fraction, however it is spelled. Raises Refused for anything else."""
    value = number(raw, name)
    if value is None or value != int(value):
        raise Refused(RejectReason.WRONG_TYPE, f"{name} is no whole number")
    return int(value)


class Clock:
    """Which times, in milliseconds since 1970 UTC, are taken with a batch that was received at one moment."""

    def __init__(self, received: int, bounds: Bounds) -> None:
        """received: microseconds UTC."""
        self.oldest = max(0, received // 1000 - bounds.age_max_s * 1000)
        self.newest = received // 1000 + bounds.ahead_max_s * 1000

    def check(self, time_ms: int) -> None:
        """Raises Refused for a time outside oldest … newest, both included."""
        if time_ms < 0:
            raise Refused(RejectReason.TIME_NEGATIVE, f"the time is {time_ms} ms")
        if time_ms < self.oldest:
            raise Refused(RejectReason.TIME_TOO_OLD, f"the time {time_ms} ms is before {self.oldest} ms")
        if time_ms > self.newest:
            raise Refused(RejectReason.TIME_AHEAD, f"the time {time_ms} ms is after {self.newest} ms")


def text(value: str, name: str, bounds: Bounds) -> str:
    """A text without blanks around it. Raises Refused where it is too long or holds control characters."""
    if len(value) > bounds.text_max:
        raise Refused(RejectReason.METADATA_TOO_LARGE, f"{name} has {len(value)} characters")
    if _CONTROL.search(value):
        raise Refused(RejectReason.MALFORMED_PAYLOAD, f"{name} holds control characters")
    return value.strip()


def decode_topic(topic: bytes, bounds: Bounds) -> str:
    """A topic as text. Raises Refused where it is no UTF-8, too long, or holds control characters."""
    if len(topic) > bounds.topic_bytes_max:
        raise Refused(RejectReason.TOPIC_UNKNOWN, f"the topic has {len(topic)} bytes")
    try:
        decoded = topic.decode()
    except UnicodeDecodeError as error:
        raise Refused(RejectReason.TOPIC_NOT_UTF8, f"the topic is not UTF-8 at byte {error.start}") from error
    if _CONTROL.search(decoded):
        raise Refused(RejectReason.TOPIC_UNKNOWN, "the topic holds control characters")
    return decoded
