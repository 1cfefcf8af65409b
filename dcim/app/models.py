"""The file of trained models: reading, replacing, and saying in lines what it was trained on.

Lives here: files. Not here: their content (dcim.detect.learned), training (training.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dcim.core.errors import Permanent, Transient
from dcim.detect.learned.classes import Trained, from_bytes, to_bytes
from dcim.detect.learned.form import BYTES_MAX


def load(path: Path) -> tuple[Trained, ...]:
    """The models of a file. Raises Permanent where there is none, it cannot be read, or is not what was written."""
    todo = "Make it with dcim train, or take detection.models out."
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise Permanent("there is no such file of models", where=str(path), todo=todo) from error
    except OSError as error:
        raise Permanent(f"the models cannot be read: {error.strerror}", where=str(path), todo=todo) from error
    return from_bytes(data, str(path))


def save(path: Path, trained: Sequence[Trained]) -> None:
    """Replaces the file as a whole. Raises Transient, with the old one in place, when it cannot be written."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_bytes(to_bytes(trained))
        fresh.replace(path)
    except OSError as error:
        raise Transient(
            f"the models cannot be written: {error.strerror}", where=str(path), todo="Check the disk and its rights."
        ) from error


def describe(trained: Sequence[Trained]) -> Iterator[str]:
    """What each was trained on, in a line. What the file does not say is left out."""
    for one in trained:
        about = one.about
        span = f"{about.get('start', '?')} to {about.get('end', '?')}"
        yield (
            f"{one.kind}: {len(one.assets)} assets, {', '.join(one.columns)}; "
            f"{about.get('rows', '?')} rows of {one.bin_s:g} s from {span}"
        )
