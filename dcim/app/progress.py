"""Progress of long work, on the terminal.

Lives here: the bar for work whose share that is done is known. Not here: what publishes messages without knowing how
many there will be (send.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def shown(words: str) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal; what it is told is the share that is done."""
    with Progress(
        TextColumn(words),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(words, total=1.0)
        yield lambda share: progress.update(task, completed=share)
