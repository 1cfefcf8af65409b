"""The file in which norms outlive a restart: one Parquet file beside the store, replaced as a whole.

Lives here: reading and writing it. Not here: what a norm is (dcim.detect.norms), when it is written (watch.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import structlog

from dcim.core.errors import Transient
from dcim.detect.norms import SCHEMA, Norms

log = structlog.get_logger()


class NormsFile:
    """Norms of detectors, by their names. One process writes."""

    def __init__(self, path: Path | None) -> None:
        """path: None keeps nothing, as a store in memory does."""
        self._path = path

    def load(self) -> dict[str, Norms]:
        """What was saved last; nothing where there is no file. One that cannot be read is set aside with ".damaged" at
        its end and told in the log: norms are learned anew, and until then say "cannot tell"."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            frame = pl.read_parquet(self._path).select("detector", *SCHEMA)
            frame = frame.cast({"detector": pl.String, **SCHEMA})  # type: ignore[dict-item]  # names to types
            return {
                str(detector): Norms.from_frame(rows.select(*SCHEMA))
                for (detector,), rows in frame.group_by("detector")
            }
        except (pl.exceptions.PolarsError, OSError) as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            log.error("the norms cannot be read, and are learned anew", file=str(self._path), error=str(error))
            try:
                self._path.replace(aside)
            except OSError as stuck:
                log.error("and the file cannot be set aside", file=str(self._path), error=str(stuck))
            return {}

    def save(self, norms: Mapping[str, Norms]) -> None:
        """Replaces the file. Raises Transient, with the old one in place, when it cannot be written."""
        if self._path is None:
            return
        parts = [
            one.to_frame().with_columns(detector=pl.lit(detector)).select("detector", *SCHEMA)
            for detector, one in norms.items()
        ]
        if not parts:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            pl.concat(parts).write_parquet(fresh)
            fresh.replace(self._path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Transient(
                f"the norms cannot be written: {error}", where=str(self._path), todo="Check the disk and its rights."
            ) from error
