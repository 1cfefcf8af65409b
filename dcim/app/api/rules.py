"""The rules that are in force, with why each is there.

Lives here: the route and its bodies. Not here: the rule file and its errors (alerts.rules)."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from alerts.rules import Rule
from dcim.app.api.context import Ctx
from dcim.app.api.problems import RESPONSES
from dcim.app.views import RationaleBody, rationale_body

router = APIRouter(tags=["alarms"], responses=RESPONSES)


class LimitBody(BaseModel):
    """Bounds in the quantity's own unit."""

    quantity: str
    above: float | None
    below: float | None
    deadband: float
    loop: str | None
    side: str | None
    part: str | None
    per_rated_power: bool = Field(description="The bounds are shares of the asset's rated power.")
    over_setpoint: float | None = Field(
        description="K: above is no lower than so much over the set-point of the coolant that feeds the asset."
    )


class EscalationBody(BaseModel):
    """When its priority rises while the condition stands."""

    priority: int
    after_s: float | None
    confidence: float | None


class RuleBody(BaseModel):
    """One rule. Of those that match a finding, the first has it."""

    name: str
    title: str = Field(description="{asset}, {site} and {what} are filled in.")
    kind: str = Field(description="Kind of finding; `limit` where it sets one.")
    asset_kind: str | None
    limit: LimitBody | None
    priority: int = Field(ge=1, le=4)
    on_delay_s: float
    off_delay_s: float
    latch: bool
    escalate: EscalationBody | None
    remind_after_s: float | None
    masked_by: list[str] = Field(description="Kinds of findings whose alarm at the site hides its own.")
    explained_by: list[str] = Field(description="Rules whose alarm at what the asset depends on hides its own.")
    needs_running: bool = Field(description="Hidden while the equipment says that it is off.")
    group: str | None = Field(description="Alarms of a group remember the first out.")
    rationale: RationaleBody


@router.get("/rules", summary="Alarm rules")
def rules(ctx: Ctx) -> list[RuleBody]:
    """All of them, in their order."""
    return [_body(rule) for rule in ctx.engine.ruleset.rules]


def _body(rule: Rule) -> RuleBody:
    policy, limit, escalation = rule.policy, rule.limit, rule.policy.escalation
    return RuleBody(
        name=rule.name,
        title=rule.title,
        kind=rule.kind.value,
        asset_kind=rule.asset_kind,
        limit=None
        if limit is None
        else LimitBody(
            quantity=limit.quantity,
            above=limit.above,
            below=limit.below,
            deadband=limit.deadband,
            loop=limit.loop,
            side=limit.side,
            part=limit.part,
            per_rated_power=limit.per_rated_power,
            over_setpoint=limit.over_setpoint,
        ),
        priority=int(policy.priority),
        on_delay_s=policy.on_delay.total_seconds(),
        off_delay_s=policy.off_delay.total_seconds(),
        latch=policy.latch,
        escalate=None
        if escalation is None
        else EscalationBody(
            priority=int(escalation.priority),
            after_s=escalation.after.total_seconds() if escalation.after else None,
            confidence=escalation.confidence,
        ),
        remind_after_s=policy.remind.total_seconds() if policy.remind else None,
        masked_by=sorted(rule.masked_by),
        explained_by=sorted(rule.explained_by),
        needs_running=rule.needs_running,
        group=rule.group or None,
        rationale=rationale_body(rule.rationale),
    )
