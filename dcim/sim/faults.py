"""The catalogue of what may happen to the plant: every kind of fault, and of what only looks like one.

Lives here: the list. Not here: what each does (leaks.py, cooling.py, power.py, metering.py, routine.py), when it
happens (timetable.py), what follows from it (plant.py)."""

from __future__ import annotations

from types import MappingProxyType

from dcim.sim.cooling import (
    AirInLoop,
    BranchBlocked,
    Condensation,
    ExchangerFouling,
    FacilityWater,
    FilterClogging,
    FlowLost,
    InterfaceAgeing,
    PumpTrip,
    PumpWear,
    ValveHunting,
    ValveStuck,
)
from dcim.sim.fault import Fault, Severity
from dcim.sim.leaks import Burst, ExchangerLeak, FittingLeak, MakeUpLeak, PinholeLeak, TrayDrip
from dcim.sim.metering import BmsOffline, FlowMeter, RopeFault, TemperatureBias
from dcim.sim.power import FeedLost, PhaseLost
from dcim.sim.routine import Filling, LoadStep, PowerCap, PumpChangeover, QuickConnectSwap, SetpointChange

__all__ = [
    "KINDS",
    "AirInLoop",
    "BmsOffline",
    "BranchBlocked",
    "Burst",
    "Condensation",
    "ExchangerFouling",
    "ExchangerLeak",
    "FacilityWater",
    "Fault",
    "FeedLost",
    "Filling",
    "FilterClogging",
    "FittingLeak",
    "FlowLost",
    "FlowMeter",
    "InterfaceAgeing",
    "LoadStep",
    "MakeUpLeak",
    "PhaseLost",
    "PinholeLeak",
    "PowerCap",
    "PumpChangeover",
    "PumpTrip",
    "PumpWear",
    "QuickConnectSwap",
    "RopeFault",
    "SetpointChange",
    "Severity",
    "TemperatureBias",
    "TrayDrip",
    "ValveHunting",
    "ValveStuck",
]

_ALL: tuple[type[Fault], ...] = (
    *(PinholeLeak, FittingLeak, Burst, TrayDrip, ExchangerLeak, MakeUpLeak),
    *(FilterClogging, PumpTrip, FlowLost, PumpWear, AirInLoop, BranchBlocked, InterfaceAgeing),
    *(ValveStuck, ValveHunting, ExchangerFouling, FacilityWater, Condensation),
    *(TemperatureBias, FlowMeter, RopeFault, PhaseLost, FeedLost),
    *(PowerCap, LoadStep, BmsOffline, Filling, QuickConnectSwap, PumpChangeover, SetpointChange),
)

KINDS = MappingProxyType({fault.kind: fault for fault in _ALL})
"""Every kind, by name, in the order of the domain notes' catalogue; what is not in that comes last."""
