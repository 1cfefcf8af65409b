"""Alerts from outside: what a Prometheus server, or a person with amtool, says is wrong, as findings of our own kind.

The labels are what tells one alert from another, so they are the qualifier, in JSON, after the name of the rule; they
come back from the journal with it. Annotations are lines of evidence. Priority follows the label `severity`:

    critical  critical, page, emergency, disaster, fatal       high  high, error, major
    medium    medium, warning, minor, and anything else        low   low, info, notice, none

Lives here: the shape of such an alert, its bounds, and what becomes of it in our words. Not here: the wire format
(dcim.app.api.alertmanager), for how long one stands (dcim.app.outside)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlsplit

from alerts.lifecycle import Policy, Priority
from alerts.matchers import NAME
from alerts.rules import EXTERNAL_RULE, Rationale, Rule, Ruleset
from dcim.core.errors import Permanent
from dcim.core.findings import Evidence, Finding, FindingKind, Subject

LABELS_MAX, LABELS_TEXT_MAX = 64, 2_048
"""Labels of an alert, and characters of all of them together, as they are written down."""
ANNOTATIONS_MAX, ANNOTATION_TEXT_MAX = 24, 500
"""Annotations of an alert; characters of one, of which the rest is cut off."""
URL_MAX = 2_048
"""Characters of an address."""
ELSEWHERE = "external"
"""The site of an alert that names none."""

_LINK, _ENDS = "generator URL", "ends at"
"""Lines of evidence that are no annotations; the blank tells them from those."""
_WORDS = {
    Priority.CRITICAL: ("critical", "page", "emergency", "disaster", "fatal"),
    Priority.HIGH: ("high", "error", "major"),
    Priority.MEDIUM: ("medium", "warning", "minor"),
    Priority.LOW: ("low", "info", "notice", "none"),
}
SEVERITIES = MappingProxyType({word: priority for priority, words in _WORDS.items() for word in words})
"""What a `severity` means."""
_RESPOND_MIN = {Priority.CRITICAL: 5.0, Priority.HIGH: 30.0, Priority.MEDIUM: 240.0, Priority.LOW: 1_440.0}


class BadAlert(Permanent):
    """An alert that cannot be taken in."""


@dataclass(frozen=True, slots=True)
class ExternalAlert:
    """One alert, checked."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime
    """UTC. When it is over, unless it is told again."""
    link: str = ""
    """Where it came from: an address of http or https, or ""."""
    unlinked: bool = False
    """Whether it came with an address that nobody should open."""

    @property
    def subject(self) -> Subject:
        """What it is about: its identity."""
        labels = self.labels
        site = _place(labels.get("site", ""), 64)
        asset = _place(labels.get("asset", ""), 512) or _place(labels.get("instance", ""), 512)
        return Subject(site or ELSEWHERE, asset, f"{rule_name(priority_of(labels))}|{_written(labels)}")


def priority_of(labels: Mapping[str, str]) -> Priority:
    """How urgent an alert of these labels is."""
    return SEVERITIES.get(labels.get("severity", "").strip().lower(), Priority.MEDIUM)


def rule_name(priority: Priority) -> str:
    """The rule that alerts of this priority belong to."""
    return f"{EXTERNAL_RULE}-{priority.word}"


def external(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    starts_at: datetime,
    ends_at: datetime,
    link: str = "",
) -> ExternalAlert:
    """A checked alert. Labels without a value are none. Raises BadAlert, in words."""
    kept = {name: value for name, value in sorted(labels.items()) if value}
    if not kept:
        raise BadAlert("at least one label pair required")
    for name in [*kept, *annotations]:
        if not NAME.fullmatch(name):
            raise BadAlert(f"invalid label set: invalid name {json.dumps(name[:120])}")
    for name, value in [*kept.items(), *annotations.items()]:
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise BadAlert(f"{name} holds a character that cannot be kept")
    if len(kept) > LABELS_MAX or len(_written(kept)) > LABELS_TEXT_MAX:
        raise BadAlert(f"an alert has {LABELS_MAX} labels and {LABELS_TEXT_MAX} characters of them at most")
    if len(annotations) > ANNOTATIONS_MAX:
        raise BadAlert(f"an alert has {ANNOTATIONS_MAX} annotations at most")
    if starts_at > ends_at:
        raise BadAlert("start time must be before end time")
    told = {name: _cut(value) for name, value in sorted(annotations.items()) if value}
    good = _is_link(link)
    return ExternalAlert(kept, told, starts_at, ends_at, link if good else "", unlinked=bool(link) and not good)


def finding_of(alert: ExternalAlert) -> Finding:
    """What an alert says, as a finding. As sure as whoever sent it."""
    told = alert.annotations
    name = alert.labels.get("alertname", "")
    summary = next((told[key] for key in ("summary", "description", "message") if told.get(key)), name or "an alert")
    steps = [line.strip() for line in told.get("action", "").splitlines() if line.strip()]
    if _is_link(runbook := told.get("runbook_url", "")):
        steps.append(f"Runbook: {runbook}")
    lines = [Evidence(key, value) for key, value in told.items()]
    if alert.link:
        lines.append(Evidence(_LINK, alert.link if len(alert.link) <= ANNOTATION_TEXT_MAX else ""))
    if alert.unlinked:
        lines.append(Evidence("link", "left out: it is no address of http or https"))
    lines.append(Evidence(_ENDS, alert.ends_at.isoformat()))
    return Finding(
        kind=FindingKind.EXTERNAL_ALERT,
        subject=alert.subject,
        since=alert.starts_at,
        summary=" ".join(summary.split()),
        score=1.0,
        confidence=1.0,
        evidence=tuple(lines),
        check_first=tuple(steps),
    )


def alert_of(subject: Subject, finding: Finding | None, at: datetime) -> ExternalAlert:
    """The alert that a finding was made of, as the journal brings it back; of one that is gone, what its identity still
    tells, ending at `at`."""
    labels = labels_in(subject.qualifier)
    if finding is None:
        return ExternalAlert(labels, {}, at, at)
    told = {line.what: line.shows for line in finding.evidence}
    link, ends, _ = told.pop(_LINK, ""), told.pop(_ENDS, ""), told.pop("link", "")
    try:
        ends_at = datetime.fromisoformat(ends)
    except ValueError:
        ends_at = at
    return ExternalAlert(labels, told, finding.since, ends_at, link)


def labels_in(qualifier: str) -> dict[str, str]:
    """The labels that a qualifier is made of; none where it is not of an alert from outside."""
    try:
        labels = json.loads(qualifier.partition("|")[2])
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}


def with_external(ruleset: Ruleset) -> Ruleset:
    """The rules, and those for alerts from outside."""
    return Ruleset((*ruleset.rules, *RULES))


def rationale(rule: Rule, finding: Finding | None) -> Rationale:
    """Why a rule exists: for an alert from outside, in the words of its sender where there are any."""
    if rule.kind is not FindingKind.EXTERNAL_ALERT or finding is None:
        return rule.rationale
    told = {line.what: line.shows for line in finding.evidence}
    known = rule.rationale
    return replace(
        known,
        cause=told.get("description") or told.get("message") or known.cause,
        consequence=told.get("consequence") or told.get("impact") or known.consequence,
        action=finding.check_first or known.action,
    )


def _rule(priority: Priority) -> Rule:
    # No delays: whoever sends alerts has waited already (`for:` of a rule of Prometheus).
    return Rule(
        name=rule_name(priority),
        title="{what}: {asset}",
        kind=FindingKind.EXTERNAL_ALERT,
        policy=Policy(priority, off_delay=timedelta(0)),
        rationale=Rationale(
            "A server outside of this service evaluates a rule of its own, and says that it holds.",
            "Only whoever wrote that rule can tell: see the alert's annotations.",
            ("Open the alert's link, and read its annotations.", "Ask whoever keeps the rules of that server."),
            _RESPOND_MIN[priority],
        ),
    )


RULES = tuple(_rule(priority) for priority in Priority)
"""The rules that alerts from outside belong to, one for each priority."""


def _written(labels: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(labels.items())), separators=(",", ":"), ensure_ascii=False)


def _place(text: str, longest: int) -> str:
    """The name of a site or an asset, as long as one may be; "" where it is none."""
    return text if len(text) <= longest and text.isprintable() else ""


def _is_link(text: str) -> bool:
    """Whether a person may be given this to click on."""
    if not text or len(text) > URL_MAX or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _cut(text: str) -> str:
    return text if len(text) <= ANNOTATION_TEXT_MAX else text[: ANNOTATION_TEXT_MAX - 1] + "…"
