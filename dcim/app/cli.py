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

alarms = typer.Typer(no_args_is_help=True, help="The alarms' journal.")
app.add_typer(alarms, name="alarms")

notices = typer.Typer(no_args_is_help=True, help="Notices: who was told of alarms, and who was not.")
app.add_typer(notices, name="notices")

inventory = typer.Typer(no_args_is_help=True, help="What stands where, and what it is rated for.")
app.add_typer(inventory, name="inventory")

query = typer.Typer(no_args_is_help=True, help="Questions to a running service: tables, or JSON with --json.")
app.add_typer(query, name="query")

grafana = typer.Typer(no_args_is_help=True, help="The boards of Grafana.")
app.add_typer(grafana, name="grafana")

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings in TOML; environment variables go over them.")]
To = Annotated[str, typer.Option("--to", help="Where to publish: mqtt://host:port or mqtts://host:port.")]
User = Annotated[str | None, typer.Option("--user", help="Name to sign in with.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="File whose first line is the password.")]
CaFile = Annotated[Path | None, typer.Option("--ca-file", help="Authorities that the other end must be signed by.")]

Url = Annotated[str, typer.Option("--url", help="Where the service is.", envvar="DCIM_URL")]
Asked = Annotated[list[str], typer.Argument(help="Scopes: site/S, hall/S/H, row/S/H/R or asset/S/ID.")]
During = Annotated[
    str | None, typer.Option("--window", help="90m, 24h, 30d, yesterday, last_month, 2026-11 …; 24h if left out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The API's own answer.")]
HERE = "http://127.0.0.1:8080"


@app.command(epilog="Example: dcim demo --port 8080")
def demo(
    port: Annotated[int, typer.Option(help="Port of the console, on this machine only. 0 takes any free one.")] = 8080,
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep the data in. A temporary one, removed at the end, if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same hall and the same faults.")] = 1,
) -> None:
    """A simulated hall, live: telemetry over MQTT, a leak and other things on a timetable, console and alarms."""
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


@inventory.command("import", epilog="Example: dcim inventory import --config site.toml --dry-run")
def inventory_import(
    config: Config,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and write nothing.")] = False,
) -> None:
    """Reads NetBox into the file inventory.imported, says what changed and what was left out. A service that runs
    takes it in within seconds."""
    from dcim.app import inventory_file  # noqa: PLC0415
    from dcim.app.build import import_inventory  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    settings = load(config)
    lines = inventory_file.take_in(settings.inventory, lambda: import_inventory(settings), dry_run=dry_run)
    for line in lines:
        typer.echo(line)


@inventory.command("export", epilog="Example: dcim inventory export --config site.toml --from-bus > inventory.toml")
def inventory_export(
    config: Config,
    from_bus: Annotated[
        bool, typer.Option("--from-bus", help="With what the bus said, from the store; not while the service runs.")
    ] = False,
) -> None:
    """Writes the inventory as TOML, with who said each figure as a remark, and conflicts on standard error."""
    from dcim.app import inventory_file  # noqa: PLC0415
    from dcim.app.build import listed_inventory  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    found = listed_inventory(load(config), from_bus=from_bus)
    typer.echo(inventory_file.dump(found), nl=False)
    for conflict in found.conflicts:
        typer.echo(f"conflict: {conflict.why}", err=True)


@inventory.command("diff", epilog="Example: dcim inventory diff before.toml after.toml")
def inventory_diff(
    before: Annotated[Path, typer.Argument(help="Inventory file.")],
    after: Annotated[Path, typer.Argument(help="Inventory file.")],
) -> None:
    """Says what came (+), went (-) and changed (~) from one inventory file to another; exit status 1 where anything
    did."""
    from dcim.app import inventory_file  # noqa: PLC0415
    from dcim.core.claims import differences, merge  # noqa: PLC0415
    from dcim.core.inventory import Origin  # noqa: PLC0415

    old, new = (merge(inventory_file.load(file, Origin.TOML)) for file in (before, after))
    lines = differences(old, new)
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(1)


@grafana.command("build", epilog="Example: dcim grafana build boards --console-url https://dcim.example")
def grafana_build(
    out: Annotated[Path, typer.Argument(help="Folder to write the boards' JSON into.")],
    console_url: Annotated[
        str, typer.Option("--console-url", help="Where browsers find the console.")
    ] = "http://127.0.0.1:8080",
) -> None:
    """Writes the boards' JSON, to be mounted into Grafana or imported by hand. What is as it should be stays."""
    from dcim.app.boards import build  # noqa: PLC0415

    for line in build(out, console_url):
        typer.echo(line)


@grafana.command(
    "sync",
    epilog="Example: dcim grafana sync --url http://127.0.0.1:3000 --token-file grafana.token --config site.toml "
    "--influx-token-file influx-read.token",
)
def grafana_sync(
    url: Annotated[str, typer.Option("--url", help="Grafana's address.")],
    token_file: Annotated[
        Path, typer.Option("--token-file", help="File whose first line is the token of a service account, role Admin.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings in TOML, for what [store.influx] says.")
    ] = None,
    influx_url: Annotated[
        str | None, typer.Option("--influx-url", help="InfluxDB as Grafana reaches it; that of --config if left out.")
    ] = None,
    bucket: Annotated[str | None, typer.Option(help="Of readings; that of --config if left out.")] = None,
    influx_token_file: Annotated[
        Path | None,
        typer.Option("--influx-token-file", help="File whose first line is a token that may read the buckets."),
    ] = None,
    service_url: Annotated[
        str | None, typer.Option("--service-url", help="This service as Grafana reaches it; http.bind if left out.")
    ] = None,
    console_url: Annotated[
        str | None, typer.Option("--console-url", help="Where browsers find the console; the service if left out.")
    ] = None,
    ca_file: CaFile = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what differs; exit status 1 where something does. Changes nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Brings folder, data sources and boards of a Grafana server to what they should be. Doing it again does nothing,
    but for a token that is given: that is written each time."""
    from dcim.app.boards import Target, sync  # noqa: PLC0415

    target = Target(
        url=url, token_file=token_file, config=config, influx_url=influx_url, bucket=bucket,
        influx_token_file=influx_token_file, service_url=service_url, console_url=console_url, ca_file=ca_file,
    )  # fmt: skip
    lines = sync(target, dry_run=dry_run or check)
    for line in lines:
        typer.echo(line)
    if check and lines:
        raise typer.Exit(1)
    if not lines:
        typer.echo("all is as it should be")


@alarms.command("verify", epilog="Example: dcim alarms verify --config site.toml")
def alarms_verify(config: Config) -> None:
    """Checks that no row of the journal was changed, taken out or put in. Rows taken off the end show by the number and
    hash of the last row alone: keep them elsewhere."""
    import asyncio  # noqa: PLC0415

    from dcim.app.build import verify_journal  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    for line in asyncio.run(verify_journal(load(config))):
        typer.echo(line)


@alarms.command("check", epilog="Example: dcim alarms check rules.toml")
def alarms_check(file: Annotated[Path, typer.Argument(help="Alarm rules in TOML.")]) -> None:
    """Checks a rule file, and says every mistake with its line."""
    from alerts import rules  # noqa: PLC0415
    from dcim.app.rehearsal import summary  # noqa: PLC0415

    typer.echo(summary(rules.load(file)))


@alarms.command("test", epilog="Example: dcim alarms test cases.toml --rules rules.toml")
def alarms_test(
    cases: Annotated[Path, typer.Argument(help="Timelines in TOML: what happens, and what is expected of it.")],
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Alarm rules in TOML; the shipped set if left out.")
    ] = None,
) -> None:
    """Plays timelines through the engine and says, with the line what came otherwise than expected; exit status 1 then.
    Hours take no time: no clock is asked."""
    from alerts import cases as timelines  # noqa: PLC0415
    from alerts import rules as alarm_rules  # noqa: PLC0415
    from dcim.app.rehearsal import rehearse, uncovered  # noqa: PLC0415

    ruleset = alarm_rules.default() if rules is None else alarm_rules.load(rules)
    read = timelines.load(cases, ruleset)
    lines, failed = rehearse(read, ruleset, str(cases))
    for line in lines:
        typer.echo(line)
    untried = len(uncovered(read, ruleset))
    typer.echo(f"{len(read)} cases, {failed} failed; {untried} of {len(ruleset.rules)} rules have none")
    if failed:
        raise typer.Exit(1)


@alarms.command(
    "kpis",
    epilog="Examples: dcim alarms kpis --config site.toml --start 2026-11-01T00:00:00Z; dcim alarms kpis --log a.csv "
    "--time at --tag unit,code --event active --raised Y --cleared N --delays 10:60",
)
def alarms_kpis(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings in TOML: figures of the journal that they name.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="CSV file with a header: figures of another system.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="30 days before the end, or the log's first row.")] = None,
    end: Annotated[str | None, typer.Option(help="Now, or the log's last row.")] = None,
    operators: Annotated[int, typer.Option(help="On duty at a time.", min=1, max=100)] = 1,
    delays: Annotated[
        list[str] | None,
        typer.Option("--delays", help="ON:OFF in seconds: what these delays would have left; may be repeated."),
    ] = None,
    time: Annotated[str, typer.Option("--time", help="Column of a CSV file that holds the time.")] = "time",
    tag: Annotated[str, typer.Option("--tag", help="Columns that name the alarm, with commas between.")] = "tag",
    event: Annotated[str, typer.Option("--event", help="Column that says what happened.")] = "event",
    raised: Annotated[str, typer.Option("--raised", help="What it says of an alarm that came.")] = "raised",
    cleared: Annotated[str, typer.Option("--cleared", help="Of one that went.")] = "cleared",
    acknowledged: Annotated[str, typer.Option("--acknowledged", help="Of an acknowledgement.")] = "acknowledged",
    priority: Annotated[str | None, typer.Option("--priority", help="Column of priorities, 1 the most urgent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as the API answers it.")] = False,
) -> None:
    """How well the alarm system works, in the figures of EEMUA 191 and ISA-18.2: of our journal, or of another system's
    log."""
    from dcim.app import kpis  # noqa: PLC0415  heavy: polars

    if (config is None) == (log is None):
        raise typer.BadParameter("give one of the two", param_hint="--config, --log")
    since = None if start is None else _instant(start, "--start")
    until = None if end is None else _instant(end, "--end")
    spans = [_delays(text) for text in delays or []]
    if log is not None:
        columns = kpis.Columns(time, tuple(tag.split(",")), event, priority, raised, cleared, acknowledged)
        told = kpis.read(log, columns)
        since, until, rows = since or told.start, until or told.end, told.log
    else:
        import asyncio  # noqa: PLC0415
        from datetime import timedelta  # noqa: PLC0415

        from alerts.kpis import of_transitions  # noqa: PLC0415
        from dcim.app.build import journal_log  # noqa: PLC0415
        from dcim.app.settings import load  # noqa: PLC0415
        from dcim.core.times import now  # noqa: PLC0415

        assert config is not None  # noqa: S101  one of the two is given
        until = until or now()
        since = since or until - timedelta(days=30)
        rows = of_transitions(asyncio.run(journal_log(load(config), since, until)))
    if since >= until:
        raise typer.BadParameter("must be before the end", param_hint="--start")
    report = kpis.report(rows, since, until, operators)
    for line in [report.model_dump_json(indent=2)] if as_json else kpis.words(report):
        typer.echo(line)
    if spans and not as_json:
        for line in ["", *kpis.remedy_words(kpis.remedies(rows, since, until, operators, spans))]:
            typer.echo(line)


@alarms.command(
    "replay",
    epilog="Examples: dcim alarms replay month --rules shipped --rules rules.toml; "
    "dcim alarms replay --from-store --config site.toml --since 2026-11-01T00:00:00Z; "
    "dcim alarms replay --log a.csv --time at --tag unit,code --event active --raised Y --cleared N --delays 10:60",
)
def alarms_replay(
    input: Annotated[  # noqa: A002  the name that people are shown
        Path | None,
        typer.Argument(help="A recording of dcim simulate --out, or a table (CSV, Parquet) with a mapping."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="For a table, which column is which point; for the store, its settings."),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rules", help="Alarm rules in TOML, or shipped; several, up to four, side by side."),
    ] = None,
    from_store: Annotated[bool, typer.Option("--from-store", help="The history in the store of --config.")] = False,
    since: Annotated[str | None, typer.Option(help="Alarms are counted from here.")] = None,
    until: Annotated[str | None, typer.Option(help="And up to here.")] = None,
    norms: Annotated[
        Path | None, typer.Option(help="Norms that a service has learned: the .norms.parquet beside its store.")
    ] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds from tick to tick.", min=1)] = None,
    operators: Annotated[int, typer.Option(help="On duty at a time.", min=1, max=100)] = 1,
    log: Annotated[
        Path | None, typer.Option("--log", help="CSV file of alarms instead: what other settings had left of it.")
    ] = None,
    delays: Annotated[
        list[str] | None, typer.Option("--delays", help="Of a log: ON:OFF in seconds; may be repeated.")
    ] = None,
    deadband: Annotated[
        list[float] | None, typer.Option("--deadband", help="Of a log: percent of the limit; may be repeated.", min=0)
    ] = None,
    time: Annotated[str, typer.Option("--time", help="Column of a log that holds the time.")] = "time",
    tag: Annotated[str, typer.Option("--tag", help="Columns that name the alarm, with commas between.")] = "tag",
    event: Annotated[str, typer.Option("--event", help="Column that says what happened.")] = "event",
    raised: Annotated[str, typer.Option("--raised", help="What it says of an alarm that came.")] = "raised",
    cleared: Annotated[str, typer.Option("--cleared", help="Of one that went.")] = "cleared",
    value: Annotated[str | None, typer.Option("--value", help="Column of measured values, for deadbands.")] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="Column of the limits that they crossed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every figure and every alarm.")] = False,
) -> None:
    """The alarms that a rule set would have made of readings of the past, and the load that they would have been. With
    --log: what delays, deadbands and dropping duplicates would have made of another system's alarms."""
    if (log is not None) and (input is not None or from_store or rules):
        raise typer.BadParameter("goes without INPUT, --from-store and --rules", param_hint="--log")
    if log is None:
        from dcim.app import alarm_load  # noqa: PLC0415  heavy: the detectors

        asked = alarm_load.Asked(input, config, from_store, tuple(rules or ()), since, until, norms, stride, operators)
        answer = alarm_load.run(asked)
        for line in [alarm_load.dumped(answer)] if as_json else alarm_load.words(answer):
            typer.echo(line)
        return
    from dcim.app import kpis  # noqa: PLC0415  heavy: polars

    columns = kpis.Columns(time, tuple(tag.split(",")), event, None, raised, cleared, value=value, limit=limit)
    told = kpis.read(log, columns)
    begin = told.start if since is None else _instant(since, "--since")
    end = told.end if until is None else _instant(until, "--until")
    if begin >= end:
        raise typer.BadParameter("must be before the end", param_hint="--since")
    spans = [_delays(text) for text in delays or []] or list(kpis.DELAYS)
    table = kpis.remedies(told.log, begin, end, operators, spans, told.margin, deadband or kpis.DEADBANDS)
    if as_json:
        typer.echo(kpis.remedies_json(table))
        return
    typer.echo(f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {len(told.log)} rows")
    for line in kpis.remedy_words(table):
        typer.echo(line)
    if told.margin is None:
        typer.echo(kpis.NO_VALUES)


@notices.command("list", epilog="Example: dcim notices list --config site.toml --outcome dead")
def notices_list(
    config: Config,
    receiver: Annotated[str | None, typer.Option(help="Only what is for this receiver.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only what is pending, delivered or dead.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1_000)] = 50,
) -> None:
    """The outbox, newest first: what waits, what was delivered and with which proof, what is dead and why."""
    import asyncio  # noqa: PLC0415

    from alerts.outbox import Outcome  # noqa: PLC0415
    from dcim.app import told as lines  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    try:
        wanted = None if outcome is None else Outcome(outcome)
    except ValueError as error:
        raise typer.BadParameter("write pending, delivered or dead", param_hint="--outcome") from error
    for line in asyncio.run(lines.listed(load(config), receiver, wanted, limit)):
        typer.echo(line)


@notices.command(
    "retry", epilog="Examples: dcim notices retry 17 18 --config site.toml; dcim notices retry --all -c site.toml"
)
def notices_retry(
    config: Config,
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of dead news, as the list has them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is dead.")] = False,
) -> None:
    """Sends dead news after all, with the keys that it had. A running service begins within seconds; one that does not
    run, when it starts."""
    import asyncio  # noqa: PLC0415

    from dcim.app import told as lines  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    if bool(numbers) == everything:
        raise typer.BadParameter("give numbers, or --all", param_hint="NUMBERS")
    for line in asyncio.run(lines.retried(load(config), numbers or [], everything=everything)):
        typer.echo(line)


@notices.command("test", epilog="Example: dcim notices test night-shift --config site.toml")
def notices_test(
    receiver: Annotated[str, typer.Argument(help="Name of the receiver in the settings.")],
    config: Config,
    by: Annotated[str, typer.Option(help="Who asks for it; it stands in the message.")] = "the command line",
) -> None:
    """Sends a notice to one receiver that says of itself that it is a test, and tells what the other end said."""
    import asyncio  # noqa: PLC0415

    from dcim.app import told as lines  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    for line in asyncio.run(lines.tried(load(config), receiver, by)):
        typer.echo(line)


@notices.command("on-call", epilog="Example: dcim notices on-call --config site.toml")
def notices_on_call(config: Config) -> None:
    """Reads each calendar now, and tells who is on call by it, and what of it was not understood."""
    import asyncio  # noqa: PLC0415

    from dcim.app import told as lines  # noqa: PLC0415
    from dcim.app.settings import load  # noqa: PLC0415

    for line in asyncio.run(lines.on_call(load(config))):
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

    at = None if start is None else _instant(start, "--start")
    run(
        file, to, speed=speed, once=once, qos=qos, start=at, retain=retain,
        user=user, password_file=password_file, ca_file=ca_file,
    )  # fmt: skip


@app.command(
    epilog="Examples: dcim simulate --to mqtt://127.0.0.1:1883 --scenario burst; "
    "dcim simulate --out month --days 30 --racks 64 --faults catalogue --seed 7"
)
def simulate(
    to: Annotated[str | None, typer.Option("--to", help="Publish live: mqtt://host:port or mqtts://host:port.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Record into this new folder, as Parquet, as fast as it goes.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="Name of a scenario (--list), or a file in TOML.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios, and do nothing else.")] = False,
    racks: Annotated[
        int | None, typer.Option(help="Racks in the hall: 8 where neither this nor a scenario says.", min=8, max=512)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same hall and the same faults.", min=0)] = 1,
    days: Annotated[float | None, typer.Option(help="Length of a recording.")] = None,
    faults: Annotated[
        str | None,
        typer.Option(help="Faults in a recording: catalogue (the usual), none, or kinds with commas between."),
    ] = None,
    pace: Annotated[float, typer.Option(help="Seconds between the readings of a recording, 1 to 60.")] = 10.0,
    gpu_every: Annotated[float, typer.Option(help="Seconds between those of its GPUs.")] = 600.0,
    start: Annotated[
        str, typer.Option(help="Time of a recording's first reading, with its zone.")
    ] = "2026-01-01T00:00:00Z",
    qos: Annotated[int, typer.Option(help="0 or 1.", min=0, max=1)] = 1,
    user: User = None,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
) -> None:
    """A simulated hall: published live (--to), with DSX metadata, values and heartbeats, and GPU telemetry; or recorded
    into files (--out), with the truth about its faults."""
    if show:
        from dcim.app.simulated import library  # noqa: PLC0415

        for line in library():
            typer.echo(line)
        return
    if (to is None) == (out is None):
        raise typer.BadParameter("give one of the two", param_hint="--to, --out")
    if to is not None:
        for given, option in ((days, "--days"), (faults, "--faults")):
            if given is not None:
                raise typer.BadParameter("is for recordings, with --out", param_hint=option)
        from dcim.app.send import simulate as publish  # noqa: PLC0415

        publish(
            to, racks=racks, seed=seed, scenario=scenario, qos=qos,
            user=user, password_file=password_file, ca_file=ca_file,
        )  # fmt: skip
    elif out is not None:
        from dcim.app.record import run  # noqa: PLC0415
        from dcim.app.simulated import recorded  # noqa: PLC0415
        from dcim.sim.recording import Pace  # noqa: PLC0415

        begins = _instant(start, "--start")
        of = Pace(pace, gpu_every)
        run(recorded(begins, seed, days=days, racks=racks, faults=faults, scenario=scenario, pace=of), out)


@app.command(
    epilog="Examples: dcim train month --out site.models; "
    "dcim train --from-store --config site.toml --out site.models; "
    "dcim train racks.csv --kind Rack --time when --asset rack --out site.models"
)
def train(
    out: Annotated[Path, typer.Option("--out", help="File of models to write; one that is there is replaced.")],
    history: Annotated[
        Path | None,
        typer.Argument(help="Folder that dcim simulate --out wrote, or a CSV or Parquet file. None with --from-store."),
    ] = None,
    from_store: Annotated[
        bool, typer.Option("--from-store", help="Train from the store of --config. The service must not run on it.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings in TOML, for --from-store.")] = None,
    days: Annotated[float, typer.Option(help="How far back to go in the store.", min=0.1, max=3_650)] = 30.0,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Kind of asset: Rack, CDU, PowerMeter, Gpu …; may be repeated.")
    ] = None,
    time: Annotated[str, typer.Option("--time", help="Column of time, of a CSV or Parquet file.")] = "time",
    asset: Annotated[
        str | None, typer.Option("--asset", help="Column that names the asset. All rows are one asset's if left out.")
    ] = None,
    separator: Annotated[str, typer.Option("--separator", help="Between the columns of a CSV file.")] = ",",
    site: Annotated[str, typer.Option("--site", help="Site of a file's assets.")] = "site",
    accept_unusual: Annotated[
        bool, typer.Option("--accept-unusual", help="Learn also what earlier models alarmed about: it is usual now.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same history and seed make the same models.", min=0)] = 1,
) -> None:
    """Trains the models of what is usual from history, for detection.models. Times of alarms and of known faults are
    left out."""
    from dcim.app import training  # noqa: PLC0415  heavy: scikit-learn

    if from_store == (history is not None):
        raise typer.BadParameter("give one of the two", param_hint="HISTORY, --from-store")
    kinds = kind or []
    if history is None:
        import asyncio  # noqa: PLC0415

        from dcim.app.build import train_from_store  # noqa: PLC0415
        from dcim.app.settings import load  # noqa: PLC0415

        if config is None:
            raise typer.BadParameter("is needed with --from-store", param_hint="--config")
        lines = asyncio.run(train_from_store(load(config), out, kinds, seed, days, accept_unusual=accept_unusual))
    elif history.is_dir():
        lines = training.run(training.recording(history), out, kinds, seed)
    else:
        if len(kinds) != 1:
            raise typer.BadParameter("say which one kind of asset the file is about", param_hint="--kind")
        lines = training.run(training.table(history, kinds[0], time, asset, separator, site), out, kinds, seed)
    for line in lines:
        typer.echo(line)


@app.command(
    epilog="Examples: dcim backtest month --json month.json --picture month.svg; "
    "dcim backtest valve1 --labels anomaly --train-rows 400 --prefix random"
)
def backtest(
    input: Annotated[  # noqa: A002  the name that people are shown
        Path | None,
        typer.Argument(help="A recording of dcim simulate --out, a table (CSV, Parquet), or a folder of tables."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="plant: the service's detectors. generic: a model of the training rows.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="For tables, which column is which point; for the store, its settings."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Column that says which rows are anomalous, 0 or 1.")] = None,
    train_rows: Annotated[int | None, typer.Option(help="Rows of each table to learn from: 400.")] = None,
    train_until: Annotated[
        str | None, typer.Option(help="Instant until which is learned; what is found before does not count.")
    ] = None,
    from_store: Annotated[bool, typer.Option("--from-store", help="The history in the store of --config.")] = False,
    since: Annotated[str | None, typer.Option(help="Where history begins.")] = None,
    until: Annotated[str | None, typer.Option(help="Where it ends.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="random: healthy rows, so many as chance will have it, before each table.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of a table that holds the time.")] = None,
    separator: Annotated[str | None, typer.Option(help="Between the columns of CSV.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of a table to look at, with commas between.")] = None,
    norms: Annotated[
        Path | None, typer.Option(help="Norms that a service has learned: the .norms.parquet beside its store.")
    ] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds from tick to tick.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of --prefix random.", min=0)] = 1,
    json: Annotated[Path | None, typer.Option("--json", help="Write everything that was found here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the timeline here, as SVG.")] = None,
) -> None:
    """What the detectors would have said of the past, and how right they would have been. Nothing that is judged knows
    what came after."""
    from dcim.app.hindsight import Asked, run  # noqa: PLC0415

    run(
        Asked(
            input=input, profile=profile, config=config, labels=labels, train_rows=train_rows, train_until=train_until,
            from_store=from_store, since=since, until=until, prefix=prefix, time=time, separator=separator,
            columns=columns, norms=norms, stride_s=stride, seed=seed, json=json, picture=picture,
        )
    )  # fmt: skip


@query.command("scopes", epilog="Example: dcim query scopes")
def query_scopes(url: Url = HERE, as_json: AsJson = False) -> None:
    """What can be asked about."""
    from dcim.app.queries import ask, show_scopes  # noqa: PLC0415

    ask(url, lambda client: list(client.scopes()), as_json=as_json, show=show_scopes)


@query.command("utilization", epilog="Example: dcim query utilization site/demo --group-by rack --window 7d")
def query_utilization(
    scope: Asked,
    resource: Annotated[
        str,
        typer.Option(
            help="power, liquid_cooling, air_cooling, gpu, gpu_sm, gpu_memory, gpu_power or space.",
        ),
    ] = "power",
    window: During = None,
    group_by: Annotated[str, typer.Option("--group-by", help="site, hall, row, rack or cdu.")] = "none",
    compare: Annotated[bool, typer.Option("--compare", help="Also the period before, in the JSON.")] = False,
    total: Annotated[bool, typer.Option("--total", help="All scopes together.")] = False,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """How full it is."""
    from dcim.app.queries import ask, show_utilization  # noqa: PLC0415

    asked = {"scope": scope, "resource": resource, "window": window, "group_by": group_by}
    ask(
        url,
        lambda client: client.get("/utilization", **asked, compare=compare, total=total),
        as_json=as_json,
        show=show_utilization,
    )


@query.command("efficiency", epilog="Example: dcim query efficiency site/demo --window last_month")
def query_efficiency(scope: Asked, window: During = None, url: Url = HERE, as_json: AsJson = False) -> None:
    """How efficient it is: PUE and its relatives."""
    from dcim.app.queries import ask, show_figures  # noqa: PLC0415

    ask(url, lambda client: client.efficiency(scope, window=window), as_json=as_json, show=show_figures)


@query.command("cost", epilog="Example: dcim query cost site/north site/south --window 2026-10")
def query_cost(scope: Asked, window: During = None, url: Url = HERE, as_json: AsJson = False) -> None:
    """What a kWh and a GPU-hour cost."""
    from dcim.app.queries import ask, show_figures  # noqa: PLC0415

    ask(url, lambda client: client.cost(scope, window=window), as_json=as_json, show=show_figures)


@query.command("capacity", epilog="Example: dcim query capacity site/demo --level rack")
def query_capacity(
    scope: Annotated[str | None, typer.Argument(help="Site, hall, row or rack. Every hall if left out.")] = None,
    level: Annotated[str | None, typer.Option(help="site, hall, row or rack: what it is told of.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """What racks may draw more, and what stops them first."""
    from dcim.app.queries import ask, show_capacity  # noqa: PLC0415

    ask(url, lambda client: client.capacity(scope, level), as_json=as_json, show=show_capacity)


@query.command("checks", epilog="Example: dcim query checks site/demo --window 24h")
def query_checks(
    scope: Annotated[str, typer.Argument(help="A site, hall, row or asset.")],
    window: During = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """How far meters are apart that measure one thing: racks and taps, busways and taps, CDUs and racks."""
    from dcim.app.queries import ask, show_checks  # noqa: PLC0415

    ask(url, lambda client: client.checks(scope, window=window), as_json=as_json, show=show_checks)


@query.command("forecast", epilog="Example: dcim query forecast site/demo --resource cooling")
def query_forecast(
    scope: Annotated[str, typer.Argument(help="A site, hall, row or rack.")],
    resource: Annotated[
        list[str] | None, typer.Option(help="power, cooling, flow or space; may be repeated. All if left out.")
    ] = None,
    days: Annotated[int, typer.Option(help="How far to look back.", min=14, max=400)] = 90,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """When it is full."""
    from dcim.app.queries import ask, show_forecast  # noqa: PLC0415

    wanted = resource or ["power", "cooling", "flow", "space"]
    ask(
        url,
        lambda client: [client.forecast(scope, one, days) for one in wanted],
        as_json=as_json,
        show=show_forecast,
    )


@query.command("redundancy", epilog="Example: dcim query redundancy 'hall/demo/Hall 1'")
def query_redundancy(
    scope: Annotated[str | None, typer.Argument(help="Site, hall, row or rack. Everything if left out.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Whether 2N and N+1 are true right now, weakest first."""
    from dcim.app.queries import ask, show_redundancy  # noqa: PLC0415

    ask(url, lambda client: client.redundancy(scope), as_json=as_json, show=show_redundancy)


@query.command("placement", epilog="Example: dcim query placement 4 120 --redundancy 2N --scope site/demo")
def query_placement(
    racks: Annotated[int, typer.Argument(help="How many, all alike.", min=1)],
    power_kw: Annotated[float, typer.Argument(help="Of each, kW.")],
    cooling: Annotated[str, typer.Option(help="liquid or air.")] = "liquid",
    redundancy: Annotated[str, typer.Option(help="2N, N+1 or N.")] = "2N",
    scope: Annotated[list[str] | None, typer.Option(help="Where to look; everywhere if left out.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Where new racks fit."""
    from dcim.app.queries import ask, show_placement  # noqa: PLC0415

    more = {"cooling": cooling, "redundancy": redundancy, "scope": scope or []}
    ask(url, lambda client: client.placement(racks, power_kw, **more), as_json=as_json, show=show_placement)


@query.command("what-if", epilog="Example: dcim query what-if asset/demo/H1-BUS-A asset/demo/H1-CDU-1")
def query_what_if(
    lose: Annotated[list[str], typer.Argument(help="Feeds and cooling units that are lost, as asset/S/ID.")],
    at: Annotated[str, typer.Option(help="now: loads as they are. rated: every rack at its rated power.")] = "now",
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """What happens when something is lost."""
    from dcim.app.queries import ask, show_what_if  # noqa: PLC0415

    ask(url, lambda client: client.what_if(lose, at=at), as_json=as_json, show=show_what_if)


@query.command("report", epilog="Example: dcim query report demo 2026")
def query_report(
    site: Annotated[str, typer.Argument(help="Name of the site.")],
    year: Annotated[int, typer.Argument(help="By the site's clocks.")],
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """The yearly report of Delegated Regulation (EU) 2024/1364."""
    from dcim.app.queries import ask, show_report  # noqa: PLC0415

    ask(url, lambda client: client.report(site, year), as_json=as_json, show=show_report)


@query.command("jobs", epilog="Example: dcim query jobs demo sacct.csv")
def query_jobs(
    site: Annotated[str, typer.Argument(help="Where the nodes stand.")],
    file: Annotated[Path, typer.Argument(help="Slurm's accounting: sacct --allocations --parsable2 --format=…")],
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Energy of jobs and tenants."""
    from dcim.app.queries import ask, jobs_of, show_jobs  # noqa: PLC0415

    ask(url, lambda client: jobs_of(client, site, file), as_json=as_json, show=show_jobs)


def _delays(text: str) -> tuple[float, float]:
    """ON:OFF, in seconds of 0 to a week."""
    try:
        on_s, off_s = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not ON:OFF in seconds, such as 10:60", param_hint="--delays") from error
    if not (0 <= on_s <= 604_800 and 0 <= off_s <= 604_800):
        raise typer.BadParameter("a delay is 0 to 604800 s", param_hint="--delays")
    return on_s, off_s


def _instant(text: str, option: str) -> datetime:
    """An instant with its zone, out of an option."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time such as 2026-11-23T12:00:00Z", param_hint=option) from error
    if at.tzinfo is None:
        raise typer.BadParameter("say the zone too, as in 2026-11-23T12:00:00Z", param_hint=option)
    return at


def main() -> None:
    """Runs a command. What goes wrong is said in one line on stderr, with exit status 1; bad usage is 2."""
    try:
        app()
    except DcimError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
