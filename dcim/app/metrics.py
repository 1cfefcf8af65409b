"""Metrics of the service itself, as Prometheus text.

Lives here: their names and help. Not here: telemetry of the plant, which programs ask the API for. They are read from
the ledger and the live parts at the moment of asking; nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dcim.app.api.context import Context
from dcim.core.times import from_us


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
        received = CounterMetricFamily(
            "dcim_items_received", "Items that a source sent: values, metadata, unreadable.", labels=["source", "kind"]
        )
        stored = CounterMetricFamily("dcim_items_stored", "Items made durable.", labels=["source", "kind"])
        duplicate = CounterMetricFamily(
            "dcim_items_duplicate", "Items that were durable already.", labels=["source", "kind"]
        )
        rejected = CounterMetricFamily("dcim_items_rejected", "Items put aside.", labels=["source", "reason"])
        remarks = CounterMetricFamily("dcim_remarks", "Items kept with a word.", labels=["source", "remark"])
        faults = CounterMetricFamily("dcim_faults", "What went wrong on connections.", labels=["source", "fault"])
        messages = CounterMetricFamily("dcim_messages", "MQTT messages acknowledged.", labels=["source"])
        pending = GaugeMetricFamily(
            "dcim_items_pending", "Values that wait for the metadata of their point.", labels=["source"]
        )
        balance = GaugeMetricFamily(
            "dcim_ledger_balance", "Items unaccounted for; anything but 0 is a defect.", labels=["source"]
        )
        for tally in context.ledger.tallies():
            messages.add_metric([tally.source], tally.messages)
            pending.add_metric([tally.source], tally.pending)
            balance.add_metric([tally.source], tally.balance)
            for kind, count in tally.received.items():
                received.add_metric([tally.source, kind.value], count)
            for kind, count in tally.stored.items():
                stored.add_metric([tally.source, kind.value], count)
            for kind, count in tally.duplicate.items():
                duplicate.add_metric([tally.source, kind.value], count)
            for reason, count in tally.rejected.items():
                rejected.add_metric([tally.source, reason.value], count)
            for remark, count in tally.remarks.items():
                remarks.add_metric([tally.source, remark.value], count)
            for fault, count in tally.faults.items():
                faults.add_metric([tally.source, fault.value], count)
        yield from (messages, received, stored, duplicate, rejected, remarks, faults, pending, balance)

        connected = GaugeMetricFamily("dcim_source_connected", "1 where messages can come in.", labels=["source"])
        for source in context.sources:
            connected.add_metric([source.name], float(source.connected))
        yield connected
        yield GaugeMetricFamily("dcim_points", "Points that are described.", value=len(context.watch.plant.points))
        newest = context.watch.newest_us
        if newest is not None:
            lag_s = (context.clock() - from_us(newest)).total_seconds()
            yield GaugeMetricFamily("dcim_newest_reading_age_seconds", "Since the last arrival.", value=lag_s)
        yield CounterMetricFamily(
            "dcim_readings_unwatched",
            "Readings that were kept, but that detectors did not see.",
            value=context.watch.offers_dropped,
        )
        yield GaugeMetricFamily("dcim_tick_behind_seconds", "Lateness of the last tick.", value=context.watch.behind_s)
        yield GaugeMetricFamily("dcim_stream_listeners", "Open event streams.", value=len(context.hub))
        yield CounterMetricFamily(
            "dcim_stream_events_dropped", "Events that slow listeners lost.", value=context.hub.dropped
        )
        alarms = GaugeMetricFamily(
            "dcim_alarms_standing", "Alarms by state and priority.", labels=["state", "priority"]
        )
        counts: dict[tuple[str, str], int] = {}
        for alarm in context.engine.standing():
            key = (alarm.state.value, str(int(alarm.priority)))
            counts[key] = counts.get(key, 0) + 1
        for (state, priority), count in sorted(counts.items()):
            alarms.add_metric([state, priority], count)
        yield alarms
