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
    """A bar on the terminal; what it is told is the share that is done. Work that is broken off leaves one line."""
    console, done = Console(stderr=True), 0.0

    def tell(share: float) -> None:
        nonlocal done
        done = share
        progress.update(task, completed=share)

    try:
        with Progress(
            TextColumn(words),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as progress:
            task = progress.add_task(words, total=1.0)
            yield tell
    except KeyboardInterrupt:
        console.print(f"{words}: broken off at {done:.0%}", markup=False, highlight=False, soft_wrap=True)
        raise
