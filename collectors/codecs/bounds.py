"""Bounds: how much a codec believes of what it is sent.

Lives here: the figures. Not here: the checks (payload.py and each codec)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is beyond a bound is put aside with its reason. The defaults are far from what honest senders do."""

    age_max_s: int = 3650 * 86_400
    """A reading may be so much older than its receipt: ten years. A clock that was never set (1970, 1999) is older."""
    ahead_max_s: int = 300
    """A reading may be so much ahead of its receipt, for clocks are never quite alike."""
    payload_bytes_max: int = 1 << 20
    metadata_bytes_max: int = 64 << 10
    topic_bytes_max: int = 1_024
    depth_max: int = 32
    """Brackets inside brackets. Payloads of up to `payload.SHORT` bytes are not searched: they can do no harm."""
    text_max: int = 512
    """Characters of a name, an id, a unit, a word of a state."""
    states_max: int = 256
    serves_max: int = 4_096
    areas_max: int = 16
    gpus_max: int = 512
    """GPUs of one host."""
    instants_max: int = 4_096
    """Instants of one message of GPU telemetry in MessagePack."""
    lines_max: int = 20_000
    """Lines of one message of line protocol."""
    tags_max: int = 64
    """Tags of one line."""
    metrics_max: int = 10_000
    """Metrics of one Sparkplug message."""
    nodes_max: int = 10_000
    """Sparkplug nodes of one source, and devices of one node."""
    definitions_max: int = 1_000_000
    """Metrics that the birth certificates of one source define."""
    known_max: int = 1_000_000
    """Series with their fields, or topics, whose look is remembered; beyond it, all are learned anew."""
