"""Serving: tokens and queries out of the Prometheus text of inference servers, and whose GPUs are whose out of that of
dcgm-exporter.

Two texts, an earlier and a later one, of the same servers: what their counters grew by is the work in between. Lives
here: which metrics of which server count what, reading and joining the texts. Not here: scraping, energy of GPUs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

SAMPLES_MAX: Final = 200_000
"""Of one text."""

COUNTERS: Final[Mapping[str, str]] = {
    "vllm:prompt_tokens": "prompt_tokens",
    "vllm:generation_tokens": "generated_tokens",
    "vllm:request_success": "queries",
    "sglang:prompt_tokens": "prompt_tokens",
    "sglang:generation_tokens": "generated_tokens",
    "sglang:num_requests": "queries",
    "tgi_request_input_length_sum": "prompt_tokens",
    "tgi_request_generated_tokens_sum": "generated_tokens",
    "tgi_request_success": "queries",
    "llamacpp:prompt_tokens": "prompt_tokens",
    "llamacpp:tokens_predicted": "generated_tokens",
    "nv_inference_request_success": "queries",
}
"""Names of vLLM, SGLang, Text Generation Inference, llama.cpp and Triton. Triton counts queries alone. Without
"_total", which some of them add and the reader of texts adds to every counter."""
ENERGY: Final = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
"""mJ since the driver was loaded (DCGM field 156)."""
_MJ_KWH: Final = 3.6e9


class Sample(NamedTuple):
    """One line of a text."""

    name: str
    """Without "_total"."""
    labels: tuple[tuple[str, str], ...]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """The samples of a Prometheus text. Raises ValueError, in words, for what is none, or for more than SAMPLES_MAX."""
    count = 0
    try:
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                count += 1
                if count > SAMPLES_MAX:
                    raise ValueError(f"there are more than {SAMPLES_MAX} samples")
                yield Sample(each.name.removesuffix("_total"), tuple(sorted(each.labels.items())), float(each.value))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        if str(error).startswith("there are more"):
            raise
        raise ValueError(f"this is no Prometheus text: {str(error)[:200] or 'a line cannot be read'}") from error


@dataclass(frozen=True, slots=True)
class Served:
    """What servers did between two texts; None where no counter of theirs tells."""

    prompt_tokens: float | None
    generated_tokens: float | None
    queries: float | None
    resets: int
    """Counters that began again in between: of these, at least what they stand at was done."""
    series: int
    """Counters that were found in both texts."""


def served(before: str, after: str) -> Served:
    """What the servers of two texts did in between. A series that is in the later text alone began in between, at 0.
    Raises ValueError as `samples` does, and where no counter of a known server is in the later one."""
    old = {(one.name, one.labels): one.value for one in samples(before) if one.name in COUNTERS}
    sums: dict[str, float] = {}
    resets = found = 0
    for one in samples(after):
        if one.name not in COUNTERS or not math.isfinite(one.value):
            continue
        was = old.get((one.name, one.labels), 0.0)
        found += (one.name, one.labels) in old
        if not math.isfinite(was) or one.value < was:
            resets += 1
            was = 0.0
        what = COUNTERS[one.name]
        sums[what] = sums.get(what, 0.0) + one.value - was
    if not sums:
        raise ValueError(f"no counter of a known server is in it: {', '.join(sorted(COUNTERS))}")
    return Served(sums.get("prompt_tokens"), sums.get("generated_tokens"), sums.get("queries"), resets, found)


class Holder(NamedTuple):
    """Who had a GPU, by the labels that dcgm-exporter takes from Kubernetes."""

    namespace: str
    pod: str
    container: str


class PodEnergy(NamedTuple):
    """What the GPUs of one pod drew between two texts."""

    holder: Holder
    gpus: int
    kwh: float


@dataclass(frozen=True, slots=True)
class Held:
    """What was drawn between two texts of dcgm-exporter, and by whom."""

    pods: tuple[PodEnergy, ...]
    """The largest first."""
    idle_kwh: float
    """Of GPUs that nobody had, both times."""
    handed_over_kwh: float
    """Of GPUs that changed hands in between: nobody can tell when."""
    gpus: int
    resets: int
    """GPUs whose counter began again: of these, what it stands at, which is the least that it may have been."""


def held(before: str, after: str) -> Held:
    """Energy by pod between two texts of dcgm-exporter. Raises ValueError as `samples` does, and where no GPU counts
    its energy in both."""
    old, new = _gpus(before), _gpus(after)
    pods: dict[Holder, list[float]] = {}
    idle = handed = 0.0
    resets = 0
    both = sorted(old.keys() & new.keys())
    if not both:
        raise ValueError(f"no GPU tells {ENERGY} in both texts")
    for gpu in both:
        (holder, was), (then, value) = old[gpu], new[gpu]
        if value < was:
            resets, was = resets + 1, 0.0
        kwh = (value - was) / _MJ_KWH
        if holder != then:
            handed += kwh
        elif holder.pod:
            pods.setdefault(holder, []).append(kwh)
        else:
            idle += kwh
    told = [PodEnergy(holder, len(each), sum(each)) for holder, each in pods.items()]
    ordered = sorted(told, key=lambda pod: (-pod.kwh, pod.holder))
    return Held(tuple(ordered), idle, handed, len(both), resets)


def _gpus(text: str) -> dict[tuple[str, str], tuple[Holder, float]]:
    """By host and UUID: who has it, and what its counter stands at."""
    found = {}
    for one in samples(text):
        if one.name == ENERGY and math.isfinite(one.value) and one.value < 0x7FFF_FFFF_FFFF_FFF0:
            labels = dict(one.labels)
            key = labels.get("Hostname", ""), labels.get("UUID", labels.get("gpu", ""))
            holder = Holder(*(labels.get(name, labels.get(f"exported_{name}", "")) for name in Holder._fields))
            found[key] = holder, one.value
    return found


def tokens_per_joule(tokens: float | None, kwh: float | None) -> float | None:
    """Tokens for each joule of energy; None unless both are known and the energy is above 0.

    >>> tokens_per_joule(7.2e6, 2.0)
    1.0
    """
    if tokens is None or kwh is None or kwh <= 0.0:
        return None
    return tokens / (kwh * 3.6e6)
