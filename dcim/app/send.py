"""Publishing from the command line: a recording, or a simulated hall, with progress on the terminal.

Lives here: what `dcim replay` and `dcim simulate` do. Not here: the service, and nothing that only the service
needs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from collectors import replay as recordings
from collectors.publish import Broker, Outgoing, publish
from dcim.app.logs import log_to_stderr
from dcim.app.settings import parse_mqtt_url, read_secret
from dcim.app.simulated import live, outgoing
from dcim.core.errors import Permanent
from dcim.core.times import now, to_us


def replay(
    file: Path,
    to: str,
    *,
    speed: float,
    once: bool,
    qos: int,
    start: datetime | None,
    retain: bool,
    user: str | None,
    password_file: Path | None,
    ca_file: Path | None,
) -> None:
    """Publishes a recording and says how much of it was acknowledged."""
    log_to_stderr()
    broker = address(to, user, password_file, ca_file)
    recorded = recordings.read(file)
    span_ms = round(recorded[-1].offset_s * 1000)
    start_ms = to_us(start) // 1000 if start else to_us(now()) // 1000 - span_ms
    messages = recordings.schedule(
        recorded,
        speed=speed,
        once=once,
        start_ms=start_ms,
        at_publishing=start is None and speed > 0,
        retain=retain,
    )
    sent = _publish_with_progress(messages, broker, qos, total=len(recorded) if once else None)
    what = "acknowledged" if qos else "sent"
    print(f"{sent} messages {what} by {broker}")


def simulate(
    to: str,
    *,
    racks: int | None,
    seed: int,
    scenario: str | None,
    qos: int,
    user: str | None,
    password_file: Path | None,
    ca_file: Path | None,
) -> None:
    """Publishes a simulated hall in real time, until it is stopped."""
    log_to_stderr()
    broker = address(to, user, password_file, ca_file)
    _publish_with_progress(outgoing(live(now(), seed, racks, scenario)), broker, qos, total=None)


def address(to: str, user: str | None, password_file: Path | None, ca_file: Path | None) -> Broker:
    """Where to publish, out of the options. Raises Permanent in words."""
    try:
        host, port, secure = parse_mqtt_url(to)
    except ValueError as error:
        raise Permanent(str(error), where="--to") from error
    if (user is None) != (password_file is None):
        raise Permanent("--user and --password-file go together", where="--user", todo="Give both.")
    password = read_secret(password_file) if password_file else None
    tls = ssl.create_default_context(cafile=ca_file) if secure else None
    return Broker(host, port, user, password, tls)


def _publish_with_progress(messages: Iterator[Outgoing], broker: Broker, qos: int, total: int | None) -> int:
    with Progress(
        TextColumn(f"to {broker}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("publish", total=total)
        with contextlib.suppress(KeyboardInterrupt):
            return asyncio.run(
                publish(messages, broker, qos=qos, patience_s=60, sent=lambda n: progress.update(task, completed=n))
            )
    return int(next(itertools.chain([progress.tasks[0].completed], [0])))
