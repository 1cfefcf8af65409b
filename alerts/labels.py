"""Labels: an alarm as a set of names and values, for whoever selects alarms by such.

Lives here: which label says what. Not here: matchers (matchers.py), what a label set is selected for."""

from __future__ import annotations

from alerts.external import labels_in
from alerts.lifecycle import AlarmKey, Priority
from dcim.core.assets import Asset
from dcim.core.findings import FindingKind


def labels_of(key: AlarmKey, kind: FindingKind, priority: Priority, asset: Asset | None) -> dict[str, str]:
    """The labels of an alarm. Of an alert from outside, those that it came with; of ours:

    alertname   the rule           site, asset       ids, where there are any
    severity    the priority       asset_kind        of what is known of the asset, as are hall, row and rack
    kind        of the finding     qualifier         tells several of a rule at one asset apart, where there are several

    `severity` alone changes while an alarm stands, and what is learned of its asset.
    """
    site, name, qualifier = key.subject
    if kind is FindingKind.EXTERNAL_ALERT and (labels := labels_in(qualifier)):
        return labels
    place = asset.placement if asset is not None else None
    told = {
        "alertname": key.rule,
        "severity": priority.word,
        "kind": kind.value,
        "site": site,
        "asset": name,
        "qualifier": qualifier,
        "asset_kind": asset.kind if asset is not None else "",
        "hall": place.hall if place is not None else "",
        "row": place.row if place is not None else "",
        "rack": asset.within if asset is not None else "",
    }
    return {label: value for label, value in told.items() if value}
