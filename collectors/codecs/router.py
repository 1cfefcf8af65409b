"""The router: one source that carries several kinds of messages, as a broker does when a whole hall talks to it.

Lives here: which message is whose. Not here: how any is read (the codecs), which codecs a source has (dcim.app)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from collectors.codecs.payload import Refused
from dcim.core.ledger import Kind, RejectReason
from dcim.core.ports import Codec, Decoded, Message
from dcim.core.readings import Readings


class Claim(NamedTuple):
    """What is a codec's: topics that begin so, or that a pattern matches. No topic is claimed twice."""

    codec: Codec
    topics: bytes | re.Pattern[bytes]


class CodecRouter:
    """Gives each message to the codec whose topic it has. The order is kept within each codec."""

    def __init__(self, claims: Sequence[Claim], rest: Codec | None = None) -> None:
        """rest: who reads what nobody claims; None puts it aside."""
        self._claims, self._rest = tuple(claims), rest

    def route(self, messages: Sequence[Message], received: int) -> list[Decoded]:
        """Decodes one batch: one answer for each codec that had messages in it. Raises nothing."""
        shares, left = [], messages
        for codec, topics in self._claims:
            if isinstance(topics, bytes):
                mine = [message for message in left if message[0].startswith(topics)]
                if mine:
                    left = [message for message in left if not message[0].startswith(topics)]
            else:
                mine = [message for message in left if topics.match(message[0])]
                if mine:
                    left = [message for message in left if not topics.match(message[0])]
            if mine:
                shares.append((codec, mine))
        if not left:
            parts = []
        elif self._rest is None:
            parts = [_unclaimed(left, received)]
        else:
            parts = [_named(self._rest.decode(left, received), self._rest.name)]
        parts += [_named(codec.decode(mine, received), codec.name) for codec, mine in shares]
        return parts

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """The same, all answers as one. Raises nothing."""
        return reduce(_joined, self.route(messages, received), Decoded(Readings.empty(), Readings.empty()))


def _named(decoded: Decoded, codec: str) -> Decoded:
    decoded.codec = codec
    return decoded


def _unclaimed(messages: Sequence[Message], received: int) -> Decoded:
    refused = Refused(RejectReason.TOPIC_UNKNOWN, "no codec of this source reads such a topic")
    rejects = [refused.reject(message.topic, message.payload, received, Kind.UNREADABLE) for message in messages]
    return Decoded(Readings.empty(), Readings.empty(), rejects)


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
        past=Readings.concat([one.past, other.past]),
        alive=np.concatenate([one.alive, other.alive]),
        wishes=one.wishes + other.wishes,
    )
