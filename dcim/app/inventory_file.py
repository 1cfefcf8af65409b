"""Inventory files: the tables of an inventory in TOML, as NetBox's are kept and as an inventory is handed on.

Lives here: reading and writing them. Not here: what may stand in them (inventory_settings.py), NetBox (collectors)."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alerts import toml_lines
from dcim.app.inventory_settings import InventorySettings, Things
from dcim.core.claims import Claim, Value, claims_of, differences, merge
from dcim.core.errors import Permanent, Transient
from dcim.core.inventory import FactorStep, Inventory, Named, Origin, ThingKind

BYTES_MAX = 64 * 1024 * 1024
"""Of a file."""
MISTAKES_MAX = 20
"""So many mistakes of one file are told."""
_TABLES = {
    ThingKind.SITE: "sites",
    ThingKind.HALL: "halls",
    ThingKind.ROW: "rows",
    ThingKind.RACK: "racks",
    ThingKind.FEED: "feeds",
    ThingKind.COOLING: "cooling",
    ThingKind.PRODUCT: "products",
}


def load(file: Path, origin: Origin) -> list[Claim]:
    """What a file says, by whom it was said. Raises Permanent, with every mistake, for one that is no inventory."""
    try:
        size = file.stat().st_size
        if size > BYTES_MAX:
            raise Permanent(f"{size} bytes are more than {BYTES_MAX}", where=str(file), todo="Split the inventory.")
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError as error:
        raise Permanent("there is no such file", where=str(file), todo="dcim inventory import makes one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file)) from error
    except tomllib.TOMLDecodeError as error:
        raise Permanent(f"is not TOML: {error}", where=str(file), todo="Mend that line.") from error
    return list(parse(content, str(file), text).claims(origin))


def parse(content: dict[str, Any], where: str, text: str) -> Things:
    """The tables of a file. text: the file itself, so that each mistake is told with its line. Raises Permanent with
    every mistake."""
    try:
        return Things(**content)
    except (ValidationError, TypeError) as error:
        mistakes = error.errors() if isinstance(error, ValidationError) else []
        stand = toml_lines.lines(text)
        lines = [
            f"{where}:{_line(stand, one['loc'])}: {_path(one['loc'])} {one['msg'].removeprefix('Value error, ')}"
            for one in mistakes
        ]
        more = len(lines) - MISTAKES_MAX
        told = lines if more <= 0 else [*lines[:MISTAKES_MAX], f"{where}: and {more} more"]
        raise Permanent("\n".join(told) or f"{where}: {error}") from error


def dump(inventory: Inventory) -> str:
    """An inventory as a file: every figure that somebody gave, with who said it as a remark. Reading it again gives the
    same figures."""
    blocks = [f"# {len(inventory.conflicts)} conflicts are not settled in here"] if inventory.conflicts else []
    for what, claims in _by_thing(inventory):
        site = {} if what.kind in (ThingKind.SITE, ThingKind.PRODUCT) else {"site": what.site}
        names: dict[str, Value] = {**site, "id": what.id}
        if what.kind is ThingKind.ROW:
            hall, _, row = what.id.partition("/")
            names = {**site, "hall": hall, "id": row}
        lines = [f"[[{_TABLES[what.kind]}]]", *(f"{key} = {_toml(value)}" for key, value in names.items())]
        lines += [f"{claim.what.field} = {_toml(claim.value)}  # {claim.origin}" for claim in claims]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def write(file: Path, text: str) -> None:
    """Puts a file in its place as a whole, or leaves the one that is there. Raises Transient when the disk refuses."""
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(file)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise Transient(f"cannot be written: {error}", where=str(file), todo="Look at the disk.") from error


def take_in(
    settings: InventorySettings, fetch: Callable[[], tuple[Inventory, list[str]]], *, dry_run: bool
) -> list[str]:
    """Puts what `fetch` brings into the file of the settings, and answers in lines what changed and what was left out.
    What would be no inventory file is not written. Raises Permanent and Transient as `fetch` and the disk do."""
    file = settings.imported
    if file is None:
        raise Permanent("no file is named", where="inventory.imported", todo='Set imported = "inventory.netbox.toml".')
    found, remarks = fetch()
    text = dump(found)
    parse(tomllib.loads(text), str(file), text)
    stood = file.read_text(encoding="utf-8") if file.exists() else None
    before = merge(load(file, Origin.NETBOX)) if stood is not None else Inventory()
    changed = differences(before, found)
    lines = [*changed, *remarks, *(f"conflict: {conflict.why}" for conflict in found.conflicts)]
    if dry_run:
        return [*lines, f"{len(changed)} changes, nothing written"]
    if text == stood:
        return [*lines, f"{len(changed)} changes, {file} stays as it is"]
    write(file, text)
    return [*lines, f"{len(changed)} changes, written to {file}"]


def _by_thing(inventory: Inventory) -> Iterator[tuple[Named, list[Claim]]]:
    found: dict[Named, list[Claim]] = {}
    for claim in claims_of(inventory):
        own = found.setdefault(claim.what._replace(field=""), [])
        if claim.what.field and claim.value not in ("", (), None):
            own.append(claim)
    yield from found.items()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, FactorStep):
        return f"{{since = {_toml(value.start)}, value = {_toml(value.value)}}}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    # JSON's strings are TOML's basic strings, but for the one control character that JSON lets stand.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")


def _line(stand: Mapping[toml_lines.Path, int], loc: toml_lines.Path) -> int:
    """The nearest line that is known of a place in a file."""
    while loc and loc not in stand:
        loc = loc[:-1]
    return stand.get(loc, 1)


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for step in loc:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
