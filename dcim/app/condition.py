"""The condition of the service itself: what a person has to know, and what keeps it from doing its work.

Lives here: the lines that are told, in one place for the API, the console and the probes. Not here: the condition of
the plant; alarms about ourselves (dcim.detect.housekeeping)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from dcim.app.clock import SAY_S, Clock
from dcim.core.ports import Backlog, Trouble
from dcim.detect.figures import duration


class Condition:
    """Asked at any time, from any thread."""

    def __init__(
        self,
        told: Sequence[str],
        clock: Clock,
        *,
        trouble: Callable[[], Trouble | None],
        damage: Callable[[], object | None],
        backlog: Callable[[], Backlog | None],
        rules: Callable[[], str] = lambda: "",
        unwritten: Callable[[], Trouble | None] = lambda: None,
        calendars: Callable[[], Sequence[tuple[str, str]]] = lambda: (),
        receivers: Callable[[], Sequence[tuple[str, datetime, str]]] = lambda: (),
        inventory: Callable[[], str] = lambda: "",
        netbox: Callable[[], Trouble | None] = lambda: None,
    ) -> None:
        """told: what the start found and nothing can change any more. trouble: why nothing can be made durable. damage:
        what of the store was found damaged, as a line. backlog: what it has not handed on yet. rules: what is
        wrong with the rule file, a line for each mistake; "" where nothing is. unwritten: why the journal does not take
        what was found. calendars: those of who is on call that cannot be read, each with why. receivers: of notices,
        those that nothing reaches, each with since when and why. inventory: what is wrong with an inventory file, as of
        the rule file. netbox: why it cannot be read."""
        self._inventory, self._netbox = inventory, netbox
        self._calendars, self._receivers = calendars, receivers
        self._told, self._clock, self._rules, self._unwritten = list(told), clock, rules, unwritten
        self.trouble, self.backlog, self._damage = trouble, backlog, damage

    def warnings(self) -> list[str]:
        """Everything that a person has to know, the most pressing first."""
        lines = []
        trouble, backlog, damage, ahead_s = self.trouble(), self.backlog(), self._damage(), self._clock.ahead_s()
        if trouble is not None:
            lines.append(f"Nothing is made durable or acknowledged since {trouble.since:%H:%M:%S} UTC: {trouble.what}")
        if (unwritten := self._unwritten()) is not None:
            lines.append(
                f"The alarms' journal does not take what was found since {unwritten.since:%H:%M:%S} UTC. It is neither "
                f"raised nor cleared meanwhile, and tried again: {unwritten.what}"
            )
        if backlog is not None and backlog.trouble:
            lines.append(backlog.trouble)
        if damage is not None:
            lines.append(str(damage))
        if wrong := self._rules():
            lines.append(f"The rule file is wrong; the rules before it stay in force: {wrong}")
        if wrong := self._inventory():
            lines.append(f"An inventory file is wrong; the inventory before it stays in force: {wrong}")
        if (unread := self._netbox()) is not None:
            lines.append(
                f"NetBox was not read since {unread.since:%Y-%m-%d %H:%M:%S} UTC; what it said before stays in force, "
                f"and it is tried again: {unread.what}"
            )
        lines += [
            f"No notice reaches {name} since {since:%Y-%m-%d %H:%M:%S} UTC; it is tried again: {why}"
            for name, since, why in self._receivers()
        ]
        lines += [
            f"The calendar {name} cannot be read; its last copy is used where there is one: {why}"
            for name, why in self._calendars()
        ]
        if ahead_s >= SAY_S:
            lines.append(
                f"This machine's clock was set back. Times told here run {duration(ahead_s)} ahead of it until it has "
                "caught up; a restart takes the machine's time at once"
            )
        return lines + self._told
