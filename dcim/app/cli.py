"""The command line: what can be asked for, and errors in one line.

Lives here: commands, options, help with examples. Not here: the work, which is imported only by the command that does
it, so that help comes at once."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dcim.core.errors import DcimError

app = typer.Typer(
    name="dcim",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Telemetry and monitoring for AI data centres: power, liquid cooling and GPUs, from the bus to the screen.",
)

store = typer.Typer(no_args_is_help=True, help="The store of readings.")
app.add_typer(store, name="store")

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings in TOML; environment variables go over them.")]
To = Annotated[str, typer.Option("--to", help="Where to publish: mqtt://host:port or mqtts://host:port.")]
User = Annotated[str | None, typer.Option("--user", help="Name to sign in with.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="File whose first line is the password.")]
CaFile = Annotated[Path | None, typer.Option("--ca-file", help="Authorities that the other end must be signed by.")]


@app.command(epilog="Example: dcim demo --port 8080")
def demo(
    port: Annotated[int, typer.Option(help="Port of the console, on this machine only. 0 takes any free one.")] = 8080,
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep the data in. A temporary one, removed at the end, if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same hall and the same faults.")] = 1,
) -> None:
    """A simulated hall, live: telemetry over MQTT, a pump trip and a leak on a timetable, console and alarms."""
    from dcim.app.demo import run  # noqa: PLC0415  heavy: polars, duckdb, fastapi

    run(port=port, data=data, seed=seed)


@app.command(epilog="Example: dcim serve --config site.toml")
def serve(config: Config) -> None:
    """Runs the service: sources, store, detectors, alarms, API and console."""
    from dcim.app.run import serve as run  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    run(load(config))


@app.command("check-config", epilog="Example: dcim check-config site.toml")
def check_config(file: Annotated[Path, typer.Argument(help="Settings in TOML.")]) -> None:
    """Checks a settings file and everything that it names, without starting anything."""
    from dcim.app.build import check  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    for line in check(load(file)):
        typer.echo(line)


@store.command("init", epilog="Example: dcim store init --config site.toml --dry-run")
def store_init(
    config: Config,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    shorten: Annotated[
        bool, typer.Option("--shorten", help="Also where readings are deleted by it, because they are kept for less.")
    ] = False,
) -> None:
    """Makes the buckets of an InfluxDB store and sets how long they keep readings. Doing it again does nothing."""
    import asyncio  # noqa: PLC0415

    from dcim.app.build import init_store  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    for line in asyncio.run(init_store(load(config), dry_run=dry_run, shorten=shorten)):
        typer.echo(line)


@app.command(
    epilog="Example: dcim replay recording.csv --to mqtt://127.0.0.1:1884 --once --speed 0 --qos 1",
)
def replay(
    file: Annotated[Path, typer.Argument(help="Recorded scenario: CSV with offset,topic,payload.")],
    to: To,
    speed: Annotated[
        float, typer.Option(help="1 as recorded, 2 twice as fast, 0 as fast as it is acknowledged.", min=0)
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One pass, instead of again and again.")] = False,
    qos: Annotated[int, typer.Option(help="0 or 1.", min=0, max=1)] = 1,
    start: Annotated[
        str | None,
        typer.Option(
            help="Time of the recording's first instant, such as 2026-11-23T12:00:00Z: timestamps then follow the "
            "recording, and a second replay is the same readings again."
        ),
    ] = None,
    retain: Annotated[
        bool, typer.Option("--retain", help="Publish metadata retained, as a building's bus does.")
    ] = False,
    user: User = None,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
) -> None:
    """Publishes a recorded scenario over MQTT.

    {{timestamp_ms}} becomes the time of publishing. At --speed 0 there is next to no time between two messages, so
    timestamps then keep the recording's own spacing and end now.
    """
    from dcim.app.send import replay as run  # noqa: PLC0415

    at = None
    if start is not None:
        try:
            at = datetime.fromisoformat(start)
        except ValueError as error:
            raise typer.BadParameter(
                f"{start!r} is no time such as 2026-11-23T12:00:00Z", param_hint="--start"
            ) from error
        if at.tzinfo is None:
            raise typer.BadParameter("say the zone too, as in 2026-11-23T12:00:00Z", param_hint="--start")
    run(
        file, to, speed=speed, once=once, qos=qos, start=at, retain=retain,
        user=user, password_file=password_file, ca_file=ca_file,
    )  # fmt: skip


@app.command(epilog="Example: dcim simulate --to mqtt://127.0.0.1:1883 --racks 16 --seed 7")
def simulate(
    to: To,
    racks: Annotated[int, typer.Option(help="Racks in the hall.", min=8, max=512)] = 8,
    seed: Annotated[int, typer.Option(help="The same seed makes the same hall and the same faults.")] = 1,
    qos: Annotated[int, typer.Option(help="0 or 1.", min=0, max=1)] = 1,
    user: User = None,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
) -> None:
    """Publishes a simulated hall, in real time: DSX metadata, values and heartbeats, and GPU telemetry."""
    from dcim.app.send import simulate as run  # noqa: PLC0415

    run(to, racks=racks, seed=seed, qos=qos, user=user, password_file=password_file, ca_file=ca_file)


def main() -> None:
    """Runs a command. What goes wrong is said in one line on stderr, with exit status 1; bad usage is 2."""
    try:
        app()
    except DcimError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
