"""Alarms as the API and the event stream show them: one shape for both.

Lives here: the bodies and how an alarm becomes one. Not here: states (alerts.lifecycle), routes (api/alarms.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from alerts.engine import AlarmView
from alerts.lifecycle import Transition
from alerts.rules import Rationale
from dcim.core.assets import AssetKey
from dcim.core.plant import Plant


class EvidenceBody(BaseModel):
    """One line of the argument."""

    what: str = Field(examples=["Inventory"])
    shows: str = Field(description="The figure with its unit, or a word.", examples=["−0.9 L/min"])
    bearing: Literal["for", "against", "ruled_out", "unknown"]
    point: int | None = Field(description="The point whose trend shows it.")


class RationaleBody(BaseModel):
    """Why the rule exists."""

    cause: str
    consequence: str
    action: list[str] = Field(description="Steps, in order.")
    respond_within_min: float = Field(description="Time to respond, minutes.")


class TransitionBody(BaseModel):
    """One change of an alarm, as the journal has it."""

    seq: int = Field(description="Its place in the journal.")
    at: datetime
    id: str = Field(description="The alarm.")
    rule: str = Field(examples=["leak-wet"])
    site: str
    asset: str
    qualifier: str
    change: str = Field(description="What happened.", examples=["activated"])
    before: str
    after: str
    priority: int
    by: str = Field(description='Who did it; "" for the product itself.')
    origin: str = Field(description='From where, for what a person did: an address; "" where that is not known.')
    comment: str
    why: str = Field(description="What made the product do it.")
    until: datetime | None = Field(description="On shelving: when the shelf ends.")
    detail: str = Field(
        description="On assignment: to whom. On closing: the cause. On shelving: id of the silence that it follows "
        "from. On activation: id of the alarm that was the first "
        "out of its group, where it was another."
    )
    hidden_by: str | None = Field(description="On suppression: id of the alarm, window or asset that hides it.")
    hidden_how: Literal["site", "upstream", "maintenance", "off"] | None = Field(description="In which way.")


class AsideBody(BaseModel):
    """Who put an alarm aside, and until when."""

    at: datetime
    by: str
    reason: str
    until: datetime | None = Field(description="null: until somebody brings it back to service.")


class AlarmBody(BaseModel):
    """One alarm: from its first activation until it is normal again."""

    id: str
    rule: str = Field(examples=["leak-wet"])
    kind: str = Field(examples=["leak_wet"])
    title: str = Field(examples=["Leak at H1-A05"])
    summary: str = Field(description="The finding in one line.")
    site: str
    asset: str = Field(description="Id of the asset.")
    asset_name: str
    asset_kind: str
    where: str = Field(description="Where to go.", examples=["Hall 1 · row A · position 5"])
    qualifier: str = Field(description="Tells several alarms of one rule at one asset apart.")
    priority: int = Field(ge=1, le=4, description="1 critical, 2 high, 3 medium, 4 low.")
    priority_word: Literal["critical", "high", "medium", "low"]
    state: str = Field(description='ISA-18.2 state; "normal" on the stream alone: it is over.')
    since: datetime = Field(description="The latest activation.")
    opened_at: datetime
    activations: int = Field(description="How often the condition came in this occurrence.")
    returned_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    comment: str | None = Field(description="What whoever acknowledged it added.")
    score: float | None = Field(description="The detector's own statistic.")
    confidence: float | None = Field(description="0 to 1.")
    time_to_limit_s: float | None = Field(description="Seconds until the harm, where a model can tell.")
    evidence: list[EvidenceBody]
    check_first: list[str] = Field(description="What a technician does first, in order.")
    rationale: RationaleBody | None = Field(description="null where the rule is no longer in the rules.")
    cannot_tell: str | None = Field(description="Why the detector cannot tell whether it still stands.")
    masked: int = Field(description="Findings that this alarm hides, because it explains them.")
    version: int = Field(description="Changes with every change; send it back with what you do.")
    active: bool = Field(description="Whether the condition stands, after its delays; whatever the state.")
    aside: AsideBody | None = Field(description="Who shelved it or took it out of service.")
    assigned: str | None = Field(description="Whose it is.")
    comments: int = Field(description="How many comments its history has.")
    hidden_by: str | None = Field(description="Where it is suppressed: id of the alarm, window or asset that hides it.")
    hidden_how: Literal["site", "upstream", "maintenance", "off"] | None = Field(description="In which way.")
    hidden_why: str | None = Field(description="In words.")
    first_out: str | None = Field(
        description="Where its rule is of a group: id of the alarm of it that came first; its own, where it did."
    )
    history: list[TransitionBody] | None = Field(
        default=None, description="Its changes, oldest first; in the answer about one alarm alone."
    )


def alarm_body(plant: Plant, view: AlarmView, *, over: bool = False) -> AlarmBody:
    """An alarm as it is shown. over: it has just become normal."""
    asset = plant.assets.get(AssetKey(view.site, view.asset))
    finding, aside, mask = view.finding, view.aside, view.mask
    return AlarmBody(
        id=view.id,
        rule=view.rule,
        kind=view.kind.value,
        title=view.title,
        summary=view.summary,
        site=view.site,
        asset=view.asset,
        asset_name=asset.name if asset else view.asset,
        asset_kind=asset.kind if asset else "",
        where=place_of(plant, AssetKey(view.site, view.asset)),
        qualifier=view.qualifier,
        priority=int(view.priority),
        priority_word=_WORDS[int(view.priority)],
        state="normal" if over else view.state.value,
        since=view.since,
        opened_at=view.opened_at,
        activations=view.activations,
        returned_at=view.returned_at,
        acknowledged_at=view.acknowledged_at,
        acknowledged_by=view.acknowledged_by or None,
        comment=view.acknowledged_comment or None,
        score=finding.score if finding else None,
        confidence=finding.confidence if finding else None,
        time_to_limit_s=finding.time_to_limit_s if finding else None,
        evidence=[
            EvidenceBody(what=line.what, shows=line.shows, bearing=line.bearing.value, point=line.point)
            for line in (finding.evidence if finding else ())
        ],
        check_first=list(finding.check_first) if finding else [],
        rationale=rationale_body(view.rationale) if view.rationale else None,
        cannot_tell=view.cannot_tell or None,
        masked=view.masks,
        version=view.version,
        active=view.active and not over,
        aside=AsideBody(at=aside.at, by=aside.by, reason=aside.reason, until=aside.until) if aside else None,
        assigned=view.assigned or None,
        comments=view.comments,
        hidden_by=mask.by if mask else None,
        hidden_how=mask.cause.value if mask else None,
        hidden_why=mask.why if mask else None,
        first_out=view.first_out or None,
    )


def rationale_body(rationale: Rationale) -> RationaleBody:
    """Why a rule exists, as it is shown."""
    return RationaleBody(
        cause=rationale.cause,
        consequence=rationale.consequence,
        action=list(rationale.action),
        respond_within_min=rationale.respond_within_min,
    )


def transition_body(transition: Transition) -> TransitionBody:
    """A change as it is shown."""
    return TransitionBody(
        seq=transition.seq,
        at=transition.at,
        id=transition.occurrence,
        rule=transition.key.rule,
        site=transition.key.subject.site,
        asset=transition.key.subject.asset,
        qualifier=transition.key.subject.qualifier,
        change=transition.change.value,
        before=transition.before.value,
        after=transition.after.value,
        priority=int(transition.priority),
        by=transition.by,
        origin=transition.origin,
        comment=transition.comment,
        why=transition.why,
        until=transition.until,
        detail=transition.detail,
        hidden_by=transition.mask.by if transition.mask else None,
        hidden_how=transition.mask.cause.value if transition.mask else None,
    )


def place_of(plant: Plant, key: AssetKey) -> str:
    """Where an asset stands, in words: "Hall 1 · row A · position 5"; the site where nobody placed it.
    What nobody said of a thing in a rack is said of the rack."""
    asset = plant.assets.get(key)
    if asset is None:
        return key.site or "this service"
    place, rack = asset.placement, plant.assets.get(AssetKey(key.site, asset.within)) if asset.within else None
    around = rack.placement if rack is not None else place
    row, position = place.row or around.row, place.position or around.position
    words = [
        place.hall or around.hall,
        f"row {row}" if row else "",
        f"position {position}" if position else "",
        f"unit {place.rack_unit}" if place.rack_unit else "",
    ]
    said = [word for word in words if word]
    return " · ".join(said) if said else f"site {key.site}"


_WORDS: dict[int, Literal["critical", "high", "medium", "low"]] = {1: "critical", 2: "high", 3: "medium", 4: "low"}
