"""Metrics of the service itself, as Prometheus text.

Lives here: their names and help. Not here: telemetry of the plant, which programs ask the API for. They are read from
the ledger and the live parts at the moment of asking; nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alerts.outbox import Outbox
from dcim.app.annotator import Annotator
from dcim.app.api.context import Context, FactsTold
from dcim.app.upkeep import Upkeep
from dcim.core.times import SECOND_US, from_us


def exposition(context: Context) -> bytes:
    """Everything, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Service(context))
    return generate_latest(registry)


class _Service(Collector):
    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        context = self._context
        yield from _ledger(context)
        yield from _pace(context)
        yield from _store(context)
        connected = GaugeMetricFamily("dcim_source_connected", "1 where messages can come in.", labels=["source"])
        for source in context.sources:
            connected.add_metric([source.name], float(source.connected))
        yield connected
        yield GaugeMetricFamily(
            "dcim_clock_ahead_seconds",
            "By how much the service's clock is ahead of the machine's, which was set back.",
            value=context.clock.ahead_s(),
        )
        yield GaugeMetricFamily("dcim_points", "Points that are described.", value=len(context.watch.plant.points))
        newest = context.watch.newest_us
        if newest is not None:
            lag_s = max(0.0, (context.clock() - from_us(newest)).total_seconds())
            yield GaugeMetricFamily("dcim_newest_reading_age_seconds", "Since the last arrival.", value=lag_s)
        yield CounterMetricFamily(
            "dcim_readings_unwatched",
            "Readings that were kept, but that detectors did not see.",
            value=context.watch.offers_dropped,
        )
        yield GaugeMetricFamily(
            "dcim_window_bytes", "Of the readings that detectors look at.", value=context.watch.window_bytes
        )
        yield CounterMetricFamily(
            "dcim_window_dropped",
            "Readings that detectors could not look at for as long as they want, for want of room.",
            value=context.watch.window_dropped,
        )
        yield GaugeMetricFamily("dcim_tick_behind_seconds", "Lateness of the last tick.", value=context.watch.behind_s)
        yield GaugeMetricFamily("dcim_stream_listeners", "Open event streams.", value=len(context.hub))
        yield CounterMetricFamily(
            "dcim_stream_events_dropped", "Events that slow listeners lost.", value=context.hub.dropped
        )
        if context.upkeep is not None:
            yield from _upkeep(context.upkeep)
        alarms = GaugeMetricFamily(
            "dcim_alarms_standing", "Alarms by state and priority.", labels=["state", "priority"]
        )
        counts: dict[tuple[str, str], int] = {}
        for alarm in context.engine.alarms(suppressed=True):
            if alarm.occurrence is not None:
                key = (alarm.state.value, str(int(alarm.occurrence.priority)))
                counts[key] = counts.get(key, 0) + 1
        for (state, priority), count in sorted(counts.items()):
            alarms.add_metric([state, priority], count)
        yield alarms
        told = context.engine.counts
        yield GaugeMetricFamily(
            "dcim_findings_hidden", "Findings whose alarm is hidden by design, or would be.", value=told.masked
        )
        without = CounterMetricFamily(
            "dcim_findings_without_alarm", "Findings that made no alarm, counted at every look.", labels=["reason"]
        )
        for reason, count in (
            ("too_many_alarms", told.refused),
            ("too_many_hidden", told.unlisted),
            ("no_rule", told.unmatched),
        ):
            without.add_metric([reason], count)
        yield without
        yield from _notices(context.outbox)
        if context.chronicle is not None:
            yield from _facts(context.chronicle)
        if context.annotator is not None:
            yield from _annotations(context.annotator)


def _notices(outbox: Outbox) -> Iterator[Metric]:
    told = outbox.sending
    sent = CounterMetricFamily("dcim_notices_sent", "News of alarms that receivers took.", labels=["receiver"])
    retried = CounterMetricFamily("dcim_notices_retried", "Messages that were not taken at once.", labels=["receiver"])
    dead = CounterMetricFamily(
        "dcim_notices_dead", "News of alarms that will not be sent.", labels=["receiver", "reason"]
    )
    waiting = GaugeMetricFamily("dcim_notices_waiting", "News of alarms to be sent.", labels=["receiver"])
    for family, counts in ((sent, told.sent), (retried, told.retried), (waiting, told.waiting)):
        for receiver in told.waiting:
            family.add_metric([receiver], counts.get(receiver, 0))
    for (receiver, reason), count in told.dead.items():
        dead.add_metric([receiver, reason.value], count)
    yield from (sent, retried, dead, waiting)


def _facts(chronicle: FactsTold) -> Iterator[Metric]:
    yield CounterMetricFamily("dcim_facts_written", "Facts for boards that the server took.", value=chronicle.written)
    yield CounterMetricFamily(
        "dcim_facts_dropped", "Facts for boards that could not be written.", value=chronicle.dropped
    )
    yield GaugeMetricFamily(
        "dcim_facts_failing", "1 while no facts can be written.", value=float(bool(chronicle.failing))
    )


def _annotations(annotator: Annotator) -> Iterator[Metric]:
    told = CounterMetricFamily("dcim_annotations", "Annotations of alarms in Grafana.", labels=["outcome"])
    for outcome, count in annotator.counts.items():
        told.add_metric([outcome.value], count)
    yield told
    yield GaugeMetricFamily("dcim_annotations_waiting", "Annotations to be opened or closed.", value=annotator.waiting)


def _ledger(context: Context) -> Iterator[Metric]:
    by_kind = ["source", "codec", "kind"]
    received = CounterMetricFamily(
        "dcim_items_received", "Items that a source sent: values, metadata, unreadable.", labels=by_kind
    )
    stored = CounterMetricFamily("dcim_items_stored", "Items made durable.", labels=by_kind)
    duplicate = CounterMetricFamily("dcim_items_duplicate", "Items that were durable already.", labels=by_kind)
    rejected = CounterMetricFamily("dcim_items_rejected", "Items put aside.", labels=["source", "codec", "reason"])
    remarks = CounterMetricFamily("dcim_remarks", "Items kept with a word.", labels=["source", "codec", "remark"])
    faults = CounterMetricFamily("dcim_faults", "What went wrong on connections.", labels=["source", "fault"])
    messages = CounterMetricFamily("dcim_messages", "MQTT messages acknowledged.", labels=["source"])
    pending = GaugeMetricFamily(
        "dcim_items_pending", "Values that wait for the metadata of their point.", labels=["source", "codec"]
    )
    balance = GaugeMetricFamily(
        "dcim_ledger_balance", "Items unaccounted for; anything but 0 is a defect.", labels=["source", "codec"]
    )
    last = GaugeMetricFamily(
        "dcim_source_last_received_timestamp_seconds", "When the source's last batch came.", labels=["source"]
    )
    for tally in context.ledger.tallies():
        messages.add_metric([tally.source], tally.messages)
        if tally.last_received is not None:
            last.add_metric([tally.source], tally.last_received.timestamp())
        for fault, count in tally.faults.items():
            faults.add_metric([tally.source, fault.value], count)
        for codec, counts in tally.codecs.items():
            whose = [tally.source, codec]
            pending.add_metric(whose, counts.pending)
            balance.add_metric(whose, counts.balance)
            for kind, count in counts.received.items():
                received.add_metric([*whose, kind.value], count)
            for kind, count in counts.stored.items():
                stored.add_metric([*whose, kind.value], count)
            for kind, count in counts.duplicate.items():
                duplicate.add_metric([*whose, kind.value], count)
            for reason, count in counts.rejected.items():
                rejected.add_metric([*whose, reason.value], count)
            for remark, count in counts.remarks.items():
                remarks.add_metric([*whose, remark.value], count)
    yield from (messages, received, stored, duplicate, rejected, remarks, faults, pending, balance, last)


def _pace(context: Context) -> Iterator[Metric]:
    at_us = context.clock.us()
    lag = GaugeMetricFamily(
        "dcim_lag_seconds",
        "From the newest value's own timestamp to its receipt, over the last minute; quantile 1 is the longest.",
        labels=["source", "quantile"],
    )
    ahead = GaugeMetricFamily(
        "dcim_sender_ahead_seconds", "By how much a newest value was ahead of our clock at most.", labels=["source"]
    )
    durable = GaugeMetricFamily(
        "dcim_durable_seconds", "From receipt to durable, over the last minute.", labels=["source", "quantile"]
    )
    for source in context.sources:
        times = context.pace.times(source.name, at_us)
        ahead.add_metric([source.name], times.ahead_s)
        for spread, family in ((times.lag, lag), (times.durable, durable)):
            if spread is not None:
                for quantile, seconds in (("0.5", spread.p50_s), ("0.99", spread.p99_s), ("1", spread.max_s)):
                    family.add_metric([source.name, quantile], seconds)
    yield from (lag, ahead, durable)


def _store(context: Context) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "dcim_store_trouble",
        "1 while nothing can be made durable or acknowledged.",
        value=float(context.condition.trouble() is not None),
    )
    backlog = context.condition.backlog()
    if backlog is None:
        return
    yield GaugeMetricFamily("dcim_spool_readings", "Readings that the server does not have.", value=backlog.waiting)
    yield GaugeMetricFamily("dcim_spool_bytes", "What they take up on disk.", value=backlog.bytes)
    yield GaugeMetricFamily("dcim_spool_bytes_max", "What they may take up.", value=backlog.bytes_max)
    oldest_us = backlog.oldest_us
    oldest_s = 0.0 if oldest_us is None else max(0.0, (context.clock.us() - oldest_us) / SECOND_US)
    yield GaugeMetricFamily("dcim_spool_oldest_age_seconds", "Age of the oldest of them.", value=oldest_s)
    yield CounterMetricFamily("dcim_spool_forwarded", "Readings that the server took.", value=backlog.forwarded)
    yield CounterMetricFamily(
        "dcim_spool_overtaken", "Readings that were at the server already.", value=backlog.overtaken
    )
    yield CounterMetricFamily("dcim_spool_damaged", "Records that the disk lost.", value=backlog.damaged)
    dead = CounterMetricFamily("dcim_dead_lettered", "Readings that the server will never take.", labels=["reason"])
    for letter, count in backlog.dead_lettered.items():
        dead.add_metric([letter.value], count)
    yield dead
    yield GaugeMetricFamily("dcim_spool_trouble", "1 while nothing is handed on.", value=float(bool(backlog.trouble)))


def _upkeep(upkeep: Upkeep) -> Iterator[Metric]:
    dropped = CounterMetricFamily("dcim_retention_dropped", "Rows that the retention dropped.", labels=["tier"])
    for tier, rows in upkeep.dropped.items():
        dropped.add_metric([tier.value], rows)
    yield dropped
    yield GaugeMetricFamily(
        "dcim_rollup_behind_seconds",
        "Time whose readings are due to be rolled up and are not.",
        value=upkeep.behind.total_seconds(),
    )
    yield GaugeMetricFamily(
        "dcim_upkeep_failing", "1 where the last upkeep of the store failed.", value=float(bool(upkeep.failing))
    )
