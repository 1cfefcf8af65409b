"""All boards, and their files.

Lives here: which boards there are, and the text of their JSON, which is checked in under boards/ so that it can be
imported by hand, mounted, and read in a review. Not here: what is on them (subjects), their way to a server (sync.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dashboards.grafana.board import CONSOLE, Board, body
from dashboards.grafana.look import Json
from dashboards.grafana.subjects import alarms, capacity, cdu, data, gpus, hall, power, rack, site

BOARDS: Final[tuple[Board, ...]] = (
    site.BOARD, hall.BOARD, rack.BOARD, cdu.BOARD, gpus.BOARD, power.BOARD, alarms.BOARD, capacity.BOARD, data.BOARD,
)  # fmt: skip
"""In the order in which a person looks at them."""
FOLDER: Final = Path(__file__).parent / "boards"


def bodies(console: str = CONSOLE) -> dict[str, Json]:
    """By uid: each board's JSON. console: where browsers find the console."""
    return {board.uid: body(board, console) for board in BOARDS}


def text(board: Json) -> str:
    """As it lies in a file: the same board gives the same bytes."""
    return json.dumps(board, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def write(folder: Path = FOLDER, console: str = CONSOLE) -> list[Path]:
    """Writes the files that are not there or differ, and says which. Takes none away."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for uid, board in bodies(console).items():
        file, content = folder / f"{uid}.json", text(board)
        if not file.is_file() or file.read_text(encoding="utf-8") != content:
            file.write_text(content, encoding="utf-8")
            written.append(file)
    return written
