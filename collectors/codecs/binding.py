"""Binding: what a description on the BMS event bus says a point is.

Lives here: the shape of the metadata, what contradicts itself, and the way from both to a `Point`. Pure: no index, no
clock. Not here: topics and values (dsx.py), what the words of a process area mean (areas.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec

from collectors.codecs.areas import loop_of, side_of, words
from collectors.codecs.bounds import Bounds
from collectors.codecs.naming import generic, in_unit
from collectors.codecs.payload import Refused, read, text
from dcim.core.assets import ELECTRICAL
from dcim.core.ledger import RejectReason
from dcim.core.points import Point, Side
from dcim.core.quantities import QUANTITIES, Nature, Quantity
from dcim.core.units import Conversion

ALIASES = {"LeakDetectRack": "RackLeakDetect"}
"""Point types that are seen on buses → what the contract calls them."""

POINT_TYPES = frozenset(
    {
        *("RackLiquidSupplyTemperature", "RackLiquidReturnTemperature", "RackLiquidFlow", "RackPower"),
        *("RackLiquidDifferentialPressure", "RackLiquidDifferentialPressureSp", "RackControlValvePosition"),
        *("RackLeakDetect", "RackLeakSensorFault", "RackLeakDetectTray"),
        *("RackLiquidIsolationStatus", "RackElectricalIsolationStatus"),
        *("RackLiquidIsolationRequest", "RackElectricalIsolationRequest"),
        *("Voltage", "PowerFactor", "Frequency", "ApparentPower", "ActivePower"),
        *("Current", "CurrentLimit", "PhaseCurrent"),
        *("LiquidTemperature", "LiquidTemperatureSpRequest", "LiquidDifferentialPressure", "LiquidFlow"),
        *("LiquidPressure", "AirTemperature", "AirDifferentialPressure", "AirFlow", "AirPressure"),
        *("AirRelativeHumidity", "LeakDetect", "ValvePosition", "PumpSpeed", "FanSpeed", "DamperPosition"),
        *("Status", "Available", "Sound", "GenericPoint"),
        *("HeartbeatTimestampBms", "HeartbeatTimestampIntegration", "HeartbeatEchoBms", "HeartbeatEchoIntegration"),
        *ALIASES,
    }
)
"""The point types of the contract, of all object types together, and the aliases. Which of them an object type may have
is not held against a sender."""

_PHASES = {"1": "A", "2": "B", "3": "C"}


class StateText(msgspec.Struct):
    """One value of a state and its word."""

    value: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    text: str


class Description(msgspec.Struct, rename="camel"):
    """The payload of a metadata topic; fields that we do not know are left alone. null is as good as absent."""

    object_type: str | None = None
    point_type: str | None = None
    eng_unit: str | None = None
    state_text: list[StateText] | None = None
    object_name: str | None = None
    object_id: str | None = None
    rack_location_name: str | None = None
    rack_location_id: str | None = None
    associate_id: str | None = None
    serves_id: list[str] | None = None
    process_area: list[str] | None = None
    is_setpoint: bool | None = None
    phase: str | int | None = None
    scope: str | None = None
    integration: str | None = None


_DESCRIPTION = msgspec.json.Decoder(Description)


class Address(NamedTuple):
    """What the topic of a point says: its types, and a path that means nothing but itself."""

    object_type: str
    point_type: str
    path: str


def describe(payload: bytes, address: Address, *, site: str, key: str, bounds: Bounds) -> Point:
    """The point that a metadata payload describes, still without a number (id −1).

    Strict on types, sizes and contradictions, forgiving where something is left out that is not the point's identity: a
    measure without a unit is kept in an unknown one, a state without words keeps its numbers. Raises Refused.
    """
    told = read(_DESCRIPTION, payload)
    _check_types(told, address)
    if told.eng_unit and told.state_text:
        raise _contradiction("it has both engUnit and stateText")
    asset, asset_name, asset_kind = _identity(told, address, bounds)
    areas = _texts(told.process_area, "processArea", bounds.areas_max, bounds)
    states = _states(told.state_text or [], bounds)
    unit = _optional(told.eng_unit, "engUnit", bounds)
    found = words(areas)
    quantity, way = _measured(address, unit, has_states=bool(states), level="level" in found)
    loop = loop_of(found)
    return Point(
        id=-1,
        key=key,
        site=site,
        asset=asset,
        asset_kind=asset_kind,
        asset_name=asset_name,
        quantity=quantity.name,
        unit=unit if way is None else way.unit,
        unit_known=way is not None,
        scale=1.0 if way is None else way.scale,
        offset=0.0 if way is None else way.offset,
        object_type=address.object_type,
        point_type=address.point_type,
        path=address.path,
        areas=areas,
        loop=loop,
        side=_RACK_SIDES.get(quantity.name) or side_of(found, loop, rack=address.object_type == "Rack"),
        phase=_phase(told.phase, bounds),
        setpoint=bool(told.is_setpoint),
        integration=_optional(told.integration, "integration", bounds),
        scope=_optional(told.scope, "scope", bounds),
        states=states,
        serves=_texts(told.serves_id, "servesId", bounds.serves_max, bounds),
    )


_RACK_SIDES = {"RackLiquidSupplyTemperature": Side.SUPPLY, "RackLiquidReturnTemperature": Side.RETURN}


def _check_types(told: Description, address: Address) -> None:
    if told.object_type is None or told.point_type is None:
        raise Refused(RejectReason.FIELD_MISSING, "objectType and pointType are both needed")
    if (told.object_type, told.point_type) != address[:2]:
        raise _contradiction(
            f"the topic says {address.object_type}/{address.point_type}, "
            f"the payload {told.object_type[:64]}/{told.point_type[:64]}"
        )


def _identity(told: Description, address: Address, bounds: Bounds) -> tuple[str, str, str]:
    """Id, name and kind of the asset. A part of another asset has no kind of its own."""
    own = (told.object_id, told.object_name, told.serves_id, told.rack_location_id, told.rack_location_name)
    if told.associate_id:
        if any(own):
            raise _contradiction("it has associateId, so it cannot have an id, a name or servesId of its own")
        parent = _needed(told.associate_id, "associateId", bounds)
        return parent, parent, ""
    if address.object_type == "Rack":
        rack = _needed(told.rack_location_id, "rackLocationId", bounds)
        return rack, _optional(told.rack_location_name, "rackLocationName", bounds) or rack, "Rack"
    thing = _needed(told.object_id, "objectId", bounds)
    return thing, _optional(told.object_name, "objectName", bounds) or thing, address.object_type


def _measured(address: Address, unit: str, *, has_states: bool, level: bool) -> tuple[Quantity, Conversion | None]:
    """The quantity, and the way from the sent unit to ours; None where we do not know one."""
    name = ALIASES.get(address.point_type, address.point_type)
    if has_states:
        named = name if QUANTITIES[name].nature is Nature.STATE else f"{name}State"
        return QUANTITIES.get(named, QUANTITIES["GenericPointState"]), Conversion("", 1.0)
    if name == "GenericPoint":
        if not unit:
            return QUANTITIES[name], Conversion("", 1.0)
        return generic(unit, level=level and address.object_type not in ELECTRICAL)
    return in_unit(QUANTITIES[name], unit)


def _states(told: list[StateText], bounds: Bounds) -> tuple[tuple[int, str], ...]:
    if len(told) > bounds.states_max:
        raise Refused(RejectReason.METADATA_TOO_LARGE, f"stateText has {len(told)} entries")
    states = {state.value: text(state.text, "a word of stateText", bounds) for state in told}
    if len(states) < len(told):
        raise _contradiction("stateText gives one value two words")
    return tuple(sorted(states.items()))


def _texts(told: Iterable[str] | None, name: str, most: int, bounds: Bounds) -> tuple[str, ...]:
    """Distinct texts in their order, without empty ones."""
    texts = [text(value, name, bounds) for value in told or ()]
    if len(texts) > most:
        raise Refused(RejectReason.METADATA_TOO_LARGE, f"{name} has {len(texts)} entries")
    return tuple(dict.fromkeys(value for value in texts if value))


def _phase(told: str | int | None, bounds: Bounds) -> str:
    """A, B or C; what else a sender calls a phase is kept as it is."""
    phase = _optional(None if told is None else str(told), "phase", bounds).upper()
    return _PHASES.get(phase, phase)


def _needed(value: str | None, name: str, bounds: Bounds) -> str:
    needed = _optional(value, name, bounds)
    if not needed:
        raise Refused(RejectReason.FIELD_MISSING, f"{name} is missing")
    return needed


def _optional(value: str | None, name: str, bounds: Bounds) -> str:
    return "" if value is None else text(value, name, bounds)


def _contradiction(detail: str) -> Refused:
    return Refused(RejectReason.METADATA_CONTRADICTS, detail)
