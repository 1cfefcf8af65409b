"""Scenarios: a hall, its jobs and what happens to it, as a file that people write.

    title = "A fitting lets go"
    about = "What is to be seen, in some sentences."
    lasts_s = 900                     # how long it is worth watching
    again = true                      # and then from the beginning; left out: once

    [hall]                            # whatever HallSettings has; left out: the baseline
    racks = 8

    [[jobs]]                          # rack by rack, and then from the first again; left out: the usual mix
    kind = "training"                 # or "inference", "idle", with their own fields
    level = 0.9
    together = 1                      # racks with the same number work on one job

    [[events]]
    kind = "fitting_leak"             # a kind of the catalogue, with its own fields
    onset_s = 75
    lasts_s = 300
    rack = "H1-B02"
    flow_lpm = 2.0
    rope_s = 40.0

A mistake refuses the file; all mistakes are told at once. Lives here: the format, its errors, and the library of named
scenarios (the files in `scenarios` beside this one). Not here: what kinds there are (faults.py, workload.py)."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from dcim.core.errors import Permanent
from dcim.sim.faults import KINDS, Fault
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.state import Effects
from dcim.sim.timetable import Event, Timetable
from dcim.sim.workload import JOBS, MIX, Job, Jobs

FILE_BYTES_MAX = 1024 * 1024
EVENTS_MAX, RACKS_MAX, GPUS_MAX = 1_000, 512, 100_000
"""More than that nobody writes by hand, or simulates on one machine."""
SECONDS_MAX = 400 * 86_400.0
TEXT_MAX = 4_000

_JOBS: Mapping[str, type[Job]] = JOBS
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A hall, its jobs, and what happens to it."""

    name: str
    title: str
    about: str
    hall: HallSettings
    jobs: Jobs
    timetable: Timetable
    lasts_s: float


def names() -> list[str]:
    """The library's scenarios, by name."""
    folder = resources.files("dcim.sim").joinpath("scenarios")
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def find(name: str) -> Scenario:
    """A scenario of the library by its name, or of a file by its path. Raises Permanent, once, with every mistake on a
    line of its own."""
    if name in names():
        text = resources.files("dcim.sim").joinpath("scenarios", f"{name}.toml").read_text("utf-8")
        return parse(text, f"{name}.toml", name)
    file = Path(name)
    if not file.exists():
        near = difflib.get_close_matches(name, names(), n=1)
        todo = f"Did you mean {near[0]}?" if near else "Ask for --list, or give a path."
        raise Permanent("there is no such scenario and no such file", where=name, todo=todo)
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Permanent(f"is larger than {FILE_BYTES_MAX} bytes", where=name, todo="Shorten it.")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(
            f"cannot be read: {error}", where=name, todo="Check its rights and that it is UTF-8."
        ) from error
    return parse(text, name, file.stem)


def parse(text: str, where: str, name: str) -> Scenario:
    """The scenario of a text; `where` names it in errors. Raises Permanent as `find` does."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Permanent(f"is not TOML: {error}", where=where, todo="Mend that line.") from error
    except RecursionError as error:
        raise Permanent("is nested too deeply", where=where, todo="Flatten it.") from error
    reading = _Reading(where)
    scenario = reading.scenario(content, name)
    if reading.mistakes or scenario is None:
        raise Permanent("\n".join(f"{where}: {words}" for words in reading.mistakes))
    return scenario


class _Reading:
    """One pass over one file: collects mistakes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.mistakes: list[str] = []

    def scenario(self, content: Mapping[str, Any], name: str) -> Scenario | None:
        known = ("title", "about", "lasts_s", "again", "hall", "jobs", "events")
        self.unknown(content, known, "", "of a scenario")
        title = self.text(content, "title")
        about = self.text(content, "about")
        lasts_s = self.seconds(content, "lasts_s", "", above=0.0)
        again = content.get("again", False)
        if not isinstance(again, bool):
            self.mistakes.append(f"again is {_shown(again)}, but true or false is wanted.")
        hall = self.hall(content.get("hall", {}))
        jobs = self.jobs(content.get("jobs", []))
        events = self.events(content.get("events", []), hall)
        if lasts_s is not None:
            for number, event in enumerate(events):
                if event is not None and event.onset_s + event.lasts_s > lasts_s:
                    self.mistakes.append(
                        f"events[{number}] ends after {event.onset_s + event.lasts_s:g} s, but the scenario lasts "
                        f"{lasts_s:g} s. Raise lasts_s."
                    )
        if self.mistakes or hall is None or lasts_s is None:
            return None
        timetable = Timetable(tuple(event for event in events if event is not None), lasts_s if again else None)
        return Scenario(name, title, about, hall.settings, jobs or MIX, timetable, lasts_s)

    def hall(self, table: Any) -> Hall | None:
        settings = self.build(HallSettings, table, "hall", "of a hall") if self.is_table(table, "hall") else None
        if settings is None:
            return None
        gpus = settings.racks * settings.hosts_per_rack * settings.gpus_per_host
        if settings.racks > RACKS_MAX or gpus > GPUS_MAX:
            self.mistakes.append(
                f"hall has {settings.racks} racks with {gpus} GPUs, but {RACKS_MAX} and {GPUS_MAX} are the most. "
                "Make it smaller."
            )
            return None
        return Hall(settings)

    def jobs(self, tables: Any) -> list[tuple[Job, int]]:
        jobs: list[tuple[Job, int]] = []
        for number, table in enumerate(self.tables(tables, "jobs")):
            path = f"jobs[{number}]"
            kind = self.kind(table, path, _JOBS)
            together = table.get("together", number)
            if not isinstance(together, int) or isinstance(together, bool) or not 0 <= together <= EVENTS_MAX:
                self.mistakes.append(f"{path}.together is {_shown(together)}, but a whole number from 0 is wanted.")
                continue
            if kind is not None:
                rest = {key: value for key, value in table.items() if key not in ("kind", "together")}
                job = self.build(kind, rest, path, f"of {table['kind']}")
                if job is not None:
                    jobs.append((job, together))
        return jobs

    def events(self, tables: Any, hall: Hall | None) -> list[Event | None]:
        return [
            self.event(table, f"events[{number}]", hall) for number, table in enumerate(self.tables(tables, "events"))
        ]

    def event(self, table: Mapping[str, Any], path: str, hall: Hall | None) -> Event | None:
        before = len(self.mistakes)
        onset_s = self.seconds(table, "onset_s", path, above=None)
        lasts_s = self.seconds(table, "lasts_s", path, above=0.0)
        kind = self.kind(table, path, KINDS)
        if kind is None:
            return None
        rest = {key: value for key, value in table.items() if key not in ("kind", "onset_s", "lasts_s")}
        fault = self.build(kind, rest, path, f"of {table['kind']}")
        if fault is None or len(self.mistakes) > before or onset_s is None or lasts_s is None:
            return None
        if hall is not None:
            self.try_out(fault, hall, path)
        return Event(onset_s, lasts_s, (fault,))

    def try_out(self, fault: Fault, hall: Hall, path: str) -> None:
        """What the hall has no place for is found now, not when its time comes."""
        try:
            fault.act(hall, Effects.none(hall), 0.0)
        except Permanent as error:
            self.mistakes.append(f"{path}: {error}")

    def build(self, kind: type[_T], table: Mapping[str, Any], path: str, of: str) -> _T | None:
        """Something out of a table by the fields of its dataclass, each of its own type; None where that is a
        mistake."""
        before = len(self.mistakes)
        wanted: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
        hints = get_type_hints(kind)
        self.unknown(table, wanted, path, of)
        values = {}
        for name, field in wanted.items():
            if name in table:
                values[name] = self.value(table[name], hints[name], f"{path}.{name}")
            elif field.default is MISSING:
                self.mistakes.append(f"{path}.{name} is missing. Set it.")
        if len(self.mistakes) > before:
            return None
        try:
            return kind(**values)
        except Permanent as error:
            self.mistakes.append(f"{path}: {error}")
            return None

    def value(self, value: Any, hint: Any, path: str) -> Any:
        """A value of the type that is wanted; a whole number will do for any number."""
        types = get_args(hint) or (hint,)
        if isinstance(value, bool):
            fits = bool in types
        elif isinstance(value, int) and float in types and int not in types:
            value, fits = float(value), True
        else:
            fits = isinstance(value, types)
        if not fits:
            self.mistakes.append(f"{path} is {_shown(value)}, but {_words(types)} is wanted.")
        elif isinstance(value, float) and not math.isfinite(value) and path.rsplit(".", 1)[-1] != "run_s":
            self.mistakes.append(f"{path} is {value}, but a number that ends somewhere is wanted.")
        elif isinstance(value, str) and len(value) > 200:
            self.mistakes.append(f"{path} has {len(value)} characters, but 200 are the most.")
        return value

    def text(self, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > TEXT_MAX:
            told = "is missing" if value is None else f"is {_shown(value)}"
            self.mistakes.append(f"{key} {told}, but some words are wanted, {TEXT_MAX} characters at the most.")
            return ""
        return " ".join(value.split())  # lines are broken for the file, not for the reader

    def seconds(self, table: Mapping[str, Any], key: str, path: str, *, above: float | None) -> float | None:
        value = table.get(key)
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if 0.0 <= number <= SECONDS_MAX and (above is None or number > above):
            return number
        told = "is missing" if value is None else f"is {_shown(value)}"
        bound = "from 0" if above is None else "above 0"
        name = f"{path}.{key}" if path else key
        self.mistakes.append(
            f"{name} {told}, but a number of seconds {bound} is wanted, {SECONDS_MAX:.0f} at the most."
        )
        return None

    def kind(self, table: Mapping[str, Any], path: str, kinds: Mapping[str, type[_T]]) -> type[_T] | None:
        value = table.get("kind")
        if isinstance(value, str) and value in kinds:
            return kinds[value]
        near = difflib.get_close_matches(str(value), list(kinds), n=1)
        todo = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(kinds)}."
        told = "is missing" if value is None else f"is {_shown(value)}, which is none"
        self.mistakes.append(f"{path}.kind {told}. {todo}")
        return None

    def tables(self, tables: Any, path: str) -> list[Mapping[str, Any]]:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.mistakes.append(f"{path} is no list of tables. Begin each with [[{path}]].")
            return []
        if len(tables) > EVENTS_MAX:
            self.mistakes.append(f"{path} has {len(tables)} entries, but {EVENTS_MAX} are the most.")
            return []
        return tables

    def is_table(self, table: Any, path: str) -> bool:
        if isinstance(table, dict):
            return True
        self.mistakes.append(f"{path} is {_shown(table)}, but a table is wanted. Begin it with [{path}].")
        return False

    def unknown(self, table: Mapping[str, Any], known: Iterable[str], path: str, of: str) -> None:
        choices = list(known)
        for key in table:
            if key not in choices:
                near = difflib.get_close_matches(key, choices, n=1)
                todo = f"Did you mean {near[0]}?" if near else f"It has {', '.join(choices)}."
                name = f"{path}.{key}" if path else key
                self.mistakes.append(f"{name[:200]} is no setting {of}. {todo}")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _words(types: Iterable[type]) -> str:
    words = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
    return " or ".join(words[kind] for kind in types if kind in words)
