"""The backtest as the command line asks for it: which input it is, who looks at it, and what is done with the answer.

Lives here: those choices. Not here: the backtest itself (backtest.py), what looks (build.py), options (cli.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from alerts import rules
from dcim.app import backtest, inputs, recorded
from dcim.app.backtest import Answer
from dcim.app.build import judging, watching
from dcim.app.norms import NormsFile
from dcim.app.progress import shown
from dcim.app.recorded import Recording
from dcim.app.settings import load
from dcim.core.errors import Permanent

PLANT, GENERIC = "plant", "generic"
PROFILES = (PLANT, GENERIC)


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
    since, until = inputs.instant(asked.since, "--since"), inputs.instant(asked.until, "--until")
    with inputs.history(load(asked.config), str(asked.config), since, until) as recording:
        return _plant(asked, recording, progress)


def _of_files(asked: Asked, progress: Callable[[float], None]) -> Answer:
    source = asked.input
    if source is None:
        raise Permanent("nobody says of what", where="backtest", todo="Give a file or a folder, or --from-store.")
    if inputs.is_recording(source):
        if asked.profile == GENERIC:
            raise Permanent("is a plant, not a table", where=str(source), todo="Leave out --profile.")
        return _plant(asked, recorded.simulated(source), progress)
    files = inputs.files(source)
    how = inputs.mapping(asked.config, asked.time, asked.separator)
    if how.points and asked.profile != GENERIC:
        recording, table = inputs.table(source, how)
        answer = _plant(asked, recording, progress)
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
        train_until=inputs.instant(asked.train_until, "--train-until"),
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
        counts_from=inputs.instant(asked.train_until, "--train-until"),
        progress=progress,
    )
