"""The backtest as the command line asks for it: which input it is, who looks at it, and what is done with the answer.

Lives here: those choices. Not here: the backtest itself (backtest.py), what looks (build.py), options (cli.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from alerts import rules
from dcim.app import backtest, recorded, tables
from dcim.app.backtest import Answer
from dcim.app.build import judging, opened_store, watching
from dcim.app.norms import NormsFile
from dcim.app.progress import shown
from dcim.app.recorded import Recording
from dcim.app.settings import load
from dcim.core.errors import Permanent

PLANT, GENERIC = "plant", "generic"
PROFILES = (PLANT, GENERIC)
TABLES = frozenset({".csv", ".tsv", ".txt", ".parquet", ".pq"})
FILES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    input: Path | None
    profile: str | None = None
    config: Path | None = None
    labels: str | None = None
    train_rows: int | None = None
    train_until: str | None = None
    from_store: bool = False
    since: str | None = None
    until: str | None = None
    prefix: str | None = None
    time: str | None = None
    separator: str | None = None
    columns: str | None = None
    norms: Path | None = None
    stride_s: float | None = None
    seed: int = 1
    json: Path | None = None
    picture: Path | None = None


def run(asked: Asked, console: Console | None = None) -> Answer:
    """Does it, prints what came of it, and writes what was asked for. Raises Permanent and Transient, in one line."""
    if asked.profile is not None and asked.profile not in PROFILES:
        raise Permanent(
            f"there is no profile {asked.profile}", where="--profile", todo=f"Choose {' or '.join(PROFILES)}."
        )
    if asked.prefix not in {None, "random"}:
        raise Permanent(f"there is no prefix {asked.prefix}", where="--prefix", todo="Choose random.")
    with shown(str(asked.input or "the store")) as progress:
        answer = _of_store(asked, progress) if asked.from_store else _of_files(asked, progress)
    backtest.tell(answer, console or Console(width=140))
    if asked.json is not None:
        backtest.write(backtest.dumped(answer), asked.json)
    if asked.picture is not None:
        backtest.write(answer.picture, asked.picture)
    return answer


def _of_store(asked: Asked, progress: Callable[[float], None]) -> Answer:
    if asked.config is None:
        raise Permanent(
            "nobody says which store", where="--from-store", todo="Give the service's settings by --config."
        )
    settings = load(asked.config)
    since, until = (_instant(text, option) for text, option in ((asked.since, "--since"), (asked.until, "--until")))
    with opened_store(settings) as (store, plant):
        newest = store.latest()
        if not newest.height:
            raise Permanent("the store holds nothing", where=str(asked.config))
        end = until or newest["time"].max()
        if not isinstance(end, datetime):
            raise Permanent("the store's readings have no time", where=str(asked.config))
        start = since or recorded.oldest(store, plant, end)
        if start >= end:
            raise Permanent("nothing lies between", where="--since, --until", todo="Let it begin before it ends.")
        recording = recorded.history(store, plant, start, end, f"store of {asked.config}")
        return _plant(asked, recording, progress)


def _of_files(asked: Asked, progress: Callable[[float], None]) -> Answer:
    source = asked.input
    if source is None:
        raise Permanent("nobody says of what", where="backtest", todo="Give a file or a folder, or --from-store.")
    if not source.exists():
        raise Permanent("there is no such file or folder", where=str(source), todo="Check the path.")
    if (source / "manifest.json").exists():
        if asked.profile == GENERIC:
            raise Permanent("is a plant, not a table", where=str(source), todo="Leave out --profile.")
        return _plant(asked, recorded.simulated(source), progress)
    files = _files(source)
    how = tables.mapping(asked.config) if asked.config is not None else tables.Mapping()
    how = how.model_copy(
        update={name: value for name, value in (("time", asked.time), ("separator", asked.separator)) if value}
    )
    if how.points and asked.profile != GENERIC:
        if len(files) > 1:
            raise Permanent(f"holds {len(files)} files", where=str(source), todo="Give one of them.")
        table = tables.read(files[0], how)
        answer = _plant(asked, tables.as_recording(table, how), progress)
        answer.told += table.told
        answer.uncertain |= table.uncertain
        return answer
    if asked.profile == PLANT:
        raise Permanent(
            "does not say which column is which point", where=str(source), todo="Give a mapping by --config."
        )
    if asked.train_rows is not None and asked.train_rows < 1:
        raise Permanent("train on at least one row", where="--train-rows")
    name, judge = judging()
    return backtest.run_tables(
        files,
        judge,
        name,
        how,
        columns=[column.strip() for column in (asked.columns or "").split(",") if column.strip()],
        labels=asked.labels,
        train_rows=asked.train_rows or backtest.TRAIN_ROWS,
        train_until=_instant(asked.train_until, "--train-until"),
        prefix=asked.prefix == "random",
        seed=asked.seed,
        progress=progress,
    )


def _plant(asked: Asked, recording: Recording, progress: Callable[[float], None]) -> Answer:
    for given, option in ((asked.labels, "--labels"), (asked.train_rows, "--train-rows"), (asked.prefix, "--prefix")):
        if given is not None:
            raise Permanent("is for tables that are scored row by row", where=option, todo="Leave it out.")
    known = NormsFile(asked.norms).load() if asked.norms is not None else {}
    return backtest.run_plant(
        recording,
        watching(rules.default(), recording, known),
        stride_s=asked.stride_s,
        counts_from=_instant(asked.train_until, "--train-until"),
        progress=progress,
    )


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    found = sorted(
        (file for file in source.iterdir() if file.suffix.casefold() in TABLES and file.is_file()),
        key=lambda file: tables.natural(file.name),
    )
    if not found or len(found) > FILES_MAX:
        raise Permanent(
            f"holds {len(found)} tables", where=str(source), todo="Give a folder with CSV or Parquet, or a recording."
        )
    return found


def _instant(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return tables.instant(text)
    except ValueError as error:
        raise Permanent(f"{text!r} is no time", where=option, todo="Write it as 2026-11-23T12:00:00Z.") from error
