"""Line numbers of a TOML file: on which line each key stands, so that a mistake can be told with its line.

Lives here: the scan of a text that is known to be TOML. Not here: its values, which tomllib reads, and what is wrong
with them (rules.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)')
_TOKEN = re.compile(r'"""|\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]')


def lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key and table header: ("rule", 0, "limit") is the first rule's key `limit`.

    text: valid TOML. Keys inside inline tables stand where the table begins and have no entry of their own.
    """
    found: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, statement in _statements(text):
        if statement.startswith("["):
            names = _keys(statement.strip("[] \t"))
            table = ()
            for depth, name in enumerate(names, 1):
                table = (*table, name)
                if statement.startswith("[[") and depth == len(names):
                    counts[table] = counts.get(table, 0) + 1
                if table in counts:
                    table = (*table, counts[table] - 1)
            found.setdefault(table, number)
        else:
            path = table
            for name in _keys(statement):
                path = (*path, name)
                found.setdefault(path, number)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(line, what stands left of the "=", or the whole header) of every statement."""
    until = ""  # what ends the string of several lines that we are in
    depth = 0  # of brackets that are open in a value
    for number, line in enumerate(text.split("\n"), 1):
        if not until and not depth:
            head = line.strip()
            if head and not head.startswith("#"):
                yield number, head if head.startswith("[") else head.partition("=")[0]
            if head.startswith("["):
                continue
        depth, until = _scan(line, depth, until)


def _scan(line: str, depth: int, until: str) -> tuple[int, str]:
    """How many brackets and which string are open at the end of a line."""
    at = 0
    while at < len(line):
        if until:
            end = line.find(until, at)
            if end < 0:
                return depth, until
            at, until = end + 3, ""
            continue
        token = _TOKEN.search(line, at)
        if token is None:
            break
        at = token.end()
        if token[0] in {'"""', "'''"}:
            until = token[0]
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
    return depth, until


def _keys(dotted: str) -> list[str]:
    """The names in a dotted key: a."b.c".d has three."""
    names: list[str] = []
    at = 0
    while (match := _KEY.match(dotted, at)) is not None:
        names.append(next(group for group in match.groups() if group is not None))
        at = match.end()
        while at < len(dotted) and dotted[at] in " \t.":
            at += 1
        if at < len(dotted) and dotted[at] in "]#":
            break
    return names
