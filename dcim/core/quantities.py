"""Quantities: what can be measured, in which unit we keep it, and which values are plausible at all.

The names are those of the DSX BMS event bus and, for GPUs, those of the DCGM fields (whose ids are in `dcgm_field`).
Lives here: the table. Not here: spellings of units (units.py), limits that alarm (the rules)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Nature(StrEnum):
    """How values of a quantity behave."""

    MEASURE = "measure"
    """A number on a scale; means and limits make sense."""
    STATE = "state"
    """One of a few numbers that stand for words; never averaged by anyone who wants to be believed."""
    COUNTER = "counter"
    """Only grows, until it resets."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of the table. unit: of stored values; "" for states and ratios. low, high: what is plausible, both
    included; outside, a reading is kept as uncertain. column: its name where a bare number travels."""

    name: str
    unit: str
    column: str
    low: float
    high: float
    nature: Nature = Nature.MEASURE
    dcgm_field: int | None = None
    setpoint: bool = False


def _rows() -> list[Quantity]:
    def state(name: str, column: str, high: float = 255, low: float = 0, dcgm_field: int | None = None) -> Quantity:
        return Quantity(name, "", column, low, high, Nature.STATE, dcgm_field)

    def count(name: str, unit: str, column: str, dcgm_field: int) -> Quantity:
        # What a counter can reach is not ours to say; beyond 1e15 it is no count of anything.
        return Quantity(name, unit, column, 0, 1e15, Nature.COUNTER, dcgm_field)

    def ratio(name: str, column: str, dcgm_field: int) -> Quantity:
        return Quantity(name, "", column, 0, 1, dcgm_field=dcgm_field)

    # Ranges: the validity gates of the domain notes (liquid 0–90 °C, −100–1000 kPa gauge, percentages 0–100 …); where
    # they depend on a rating (flow, power, current) the bound here is what no single point reaches.
    return [
        # racks
        Quantity("RackLiquidSupplyTemperature", "°C", "liquid_supply_temperature_c", 0, 90),
        Quantity("RackLiquidReturnTemperature", "°C", "liquid_return_temperature_c", 0, 90),
        Quantity("RackLiquidFlow", "L/min", "liquid_flow_lpm", 0, 5_000),
        Quantity("RackLiquidDifferentialPressure", "kPa", "liquid_differential_pressure_kpa", -100, 1_000),
        Quantity(
            "RackLiquidDifferentialPressureSp", "kPa", "liquid_differential_pressure_sp_kpa", -100, 1_000, setpoint=True
        ),
        Quantity("RackControlValvePosition", "%", "control_valve_position_pct", 0, 100),
        Quantity("RackPower", "kW", "power_kw", 0, 2_000),
        state("RackLeakDetect", "leak_detect"),
        state("RackLeakSensorFault", "leak_sensor_fault"),
        state("RackLeakDetectTray", "leak_detect_tray"),
        state("RackLiquidIsolationStatus", "liquid_isolation_status"),
        state("RackElectricalIsolationStatus", "electrical_isolation_status"),
        state("RackLiquidIsolationRequest", "liquid_isolation_request", low=-1),  # −1 is "unknown" on the bus
        state("RackElectricalIsolationRequest", "electrical_isolation_request", low=-1),
        # power meters
        Quantity("Voltage", "V", "voltage_v", 0, 50_000),
        Quantity("PowerFactor", "", "power_factor", 0, 1),
        Quantity("Frequency", "Hz", "frequency_hz", 0, 400),
        Quantity("ApparentPower", "kVA", "apparent_power_kva", 0, 200_000),
        Quantity("ActivePower", "kW", "active_power_kw", -200_000, 200_000),
        Quantity("Current", "A", "current_a", 0, 20_000),
        Quantity("CurrentLimit", "A", "current_limit_a", 0, 20_000),
        Quantity("PhaseCurrent", "A", "phase_current_a", 0, 20_000),
        # mechanical
        Quantity("LiquidTemperature", "°C", "liquid_temperature_c", 0, 90),
        Quantity("LiquidTemperatureSpRequest", "°C", "liquid_temperature_sp_request_c", 0, 90, setpoint=True),
        Quantity("LiquidDifferentialPressure", "kPa", "liquid_differential_pressure_kpa", -100, 1_000),
        Quantity("LiquidFlow", "L/min", "liquid_flow_lpm", 0, 100_000),
        Quantity("LiquidPressure", "kPa", "liquid_pressure_kpa", -100, 1_000),
        Quantity("LiquidLevel", "%", "liquid_level_pct", 0, 100),
        Quantity("LiquidConductivity", "µS/cm", "liquid_conductivity_us_cm", 0, 10_000),
        Quantity("AirTemperature", "°C", "air_temperature_c", -10, 80),
        Quantity("AirDifferentialPressure", "Pa", "air_differential_pressure_pa", -5_000, 5_000),
        Quantity("AirFlow", "m³/h", "air_flow_m3h", 0, 1_000_000),
        Quantity("AirPressure", "Pa", "air_pressure_pa", -5_000, 120_000),
        Quantity("AirRelativeHumidity", "%", "air_relative_humidity_pct", 0, 100),
        Quantity("ValvePosition", "%", "valve_position_pct", 0, 100),
        Quantity("PumpSpeed", "%", "pump_speed_pct", 0, 100),
        Quantity("FanSpeed", "%", "fan_speed_pct", 0, 100),
        Quantity("DamperPosition", "%", "damper_position_pct", 0, 100),
        Quantity("PumpSpeedRpm", "rpm", "pump_speed_rpm", 0, 100_000),
        Quantity("FanSpeedRpm", "rpm", "fan_speed_rpm", 0, 100_000),
        state("ValvePositionState", "valve_position_state"),
        state("PumpSpeedState", "pump_speed_state"),
        state("FanSpeedState", "fan_speed_state"),
        state("DamperPositionState", "damper_position_state"),
        state("LeakDetect", "leak_detect"),
        state("Status", "status", high=65_535),
        state("Available", "available", high=65_535),
        Quantity("Sound", "dB", "sound_db", 0, 200),
        Quantity("GenericPoint", "", "generic_point", float("-inf"), float("inf")),
        state("GenericPointState", "generic_point_state", high=65_535),
        # heartbeats: the value is the sender's clock
        Quantity("HeartbeatTimestampBms", "ms", "heartbeat_bms_ms", 0, 1e14),
        Quantity("HeartbeatTimestampIntegration", "ms", "heartbeat_integration_ms", 0, 1e14),
        Quantity("HeartbeatEchoBms", "ms", "heartbeat_echo_bms_ms", 0, 1e14),
        Quantity("HeartbeatEchoIntegration", "ms", "heartbeat_echo_integration_ms", 0, 1e14),
        # GPUs; utilizations over time are ratios of 0 to 1, as DCGM's profiling fields give them
        Quantity("GpuTemperature", "°C", "gpu_temperature_c", 0, 130, dcgm_field=150),
        Quantity("GpuMemoryTemperature", "°C", "gpu_memory_temperature_c", 0, 130, dcgm_field=140),
        Quantity("GpuTemperatureMargin", "K", "gpu_temperature_margin_k", -50, 130, dcgm_field=153),
        Quantity("GpuMemoryMaxTemperature", "°C", "gpu_memory_max_temperature_c", 0, 130, dcgm_field=151),
        Quantity("GpuMaxTemperature", "°C", "gpu_max_temperature_c", 0, 130, dcgm_field=152),
        Quantity("GpuSlowdownTemperature", "°C", "gpu_slowdown_temperature_c", 0, 130, dcgm_field=158),
        Quantity("GpuShutdownTemperature", "°C", "gpu_shutdown_temperature_c", 0, 130, dcgm_field=159),
        Quantity("GpuPower", "kW", "gpu_power_kw", 0, 5, dcgm_field=155),
        Quantity("GpuPowerInstant", "kW", "gpu_power_instant_kw", 0, 5, dcgm_field=157),
        Quantity("GpuPowerLimit", "kW", "gpu_power_limit_kw", 0, 5, dcgm_field=164),
        count("GpuEnergy", "kWh", "gpu_energy_kwh", 156),
        Quantity("GpuUtilization", "%", "gpu_utilization_pct", 0, 100, dcgm_field=203),
        ratio("GpuGraphicsActive", "gpu_graphics_active", 1001),
        ratio("GpuSmActive", "gpu_sm_active", 1002),
        ratio("GpuSmOccupancy", "gpu_sm_occupancy", 1003),
        ratio("GpuTensorActive", "gpu_tensor_active", 1004),
        ratio("GpuDramActive", "gpu_dram_active", 1005),
        Quantity("GpuSmClock", "MHz", "gpu_sm_clock_mhz", 0, 10_000, dcgm_field=100),
        Quantity("GpuMemoryClock", "MHz", "gpu_memory_clock_mhz", 0, 20_000, dcgm_field=101),
        Quantity("GpuFanSpeed", "%", "gpu_fan_speed_pct", 0, 100, dcgm_field=191),
        state("GpuClockEventReasons", "gpu_clock_event_reasons", high=2**53, dcgm_field=112),
        count("GpuPowerThrottleTime", "s", "gpu_power_throttle_time_s", 240),
        count("GpuThermalThrottleTime", "s", "gpu_thermal_throttle_time_s", 241),
        count("GpuSoftwarePowerCapTime", "s", "gpu_software_power_cap_time_s", 1420),
        count("GpuSyncBoostTime", "s", "gpu_sync_boost_time_s", 1421),
        count("GpuSoftwareThermalSlowdownTime", "s", "gpu_software_thermal_slowdown_time_s", 1422),
        count("GpuHardwareThermalSlowdownTime", "s", "gpu_hardware_thermal_slowdown_time_s", 1423),
        count("GpuPowerBrakeTime", "s", "gpu_power_brake_time_s", 1424),
        state("GpuXid", "gpu_xid", high=65_535, dcgm_field=230),
        count("GpuEccSingleBitErrors", "", "gpu_ecc_single_bit_errors", 310),
        count("GpuEccDoubleBitErrors", "", "gpu_ecc_double_bit_errors", 311),
        count("GpuRowsRemappedUncorrectable", "", "gpu_rows_remapped_uncorrectable", 393),
        count("GpuRowsRemappedCorrectable", "", "gpu_rows_remapped_correctable", 394),
        state("GpuRowRemapFailed", "gpu_row_remap_failed", dcgm_field=395),
        state("GpuRowRemapPending", "gpu_row_remap_pending", dcgm_field=396),
        count("GpuNvlinkFlitErrors", "", "gpu_nvlink_flit_errors", 409),
        count("GpuNvlinkDataErrors", "", "gpu_nvlink_data_errors", 419),
        count("GpuNvlinkReplayErrors", "", "gpu_nvlink_replay_errors", 429),
        count("GpuNvlinkRecoveryErrors", "", "gpu_nvlink_recovery_errors", 439),
        Quantity("NvSwitchTemperature", "°C", "nvswitch_temperature_c", 0, 130, dcgm_field=858),
    ]


QUANTITIES = MappingProxyType({quantity.name: quantity for quantity in _rows()})
"""The table, by name."""

BY_DCGM_FIELD = MappingProxyType(
    {quantity.dcgm_field: quantity for quantity in QUANTITIES.values() if quantity.dcgm_field is not None}
)
"""The GPU rows, by DCGM field id. Ids, because symbols were renamed in DCGM 4.6 and ids were not."""

HEARTBEATS = frozenset({"HeartbeatTimestampBms", "HeartbeatTimestampIntegration"})
"""Quantities whose arrival is the liveness of their source."""

_FOLDED = MappingProxyType({name.casefold(): quantity for name, quantity in QUANTITIES.items()})
_COLUMNS = MappingProxyType(
    {
        rack: MappingProxyType(
            {row.column: row for row in QUANTITIES.values() if rack or not row.name.startswith("Rack")}
            | ({row.column: row for row in QUANTITIES.values() if row.name.startswith("Rack")} if rack else {})
        )
        for rack in (False, True)
    }
)


def by_name(name: str, asset_kind: str) -> Quantity | None:
    """The quantity that somebody calls so at an asset of this kind, whatever the case, and whatever joins the words.
    At racks, what has a row of its own there is that: "LiquidFlow" of a rack is RackLiquidFlow.

    >>> by_name("liquid-flow", "CDU").name, by_name("Liquid Flow", "Rack").name, by_name("flow", "CDU")
    ('LiquidFlow', 'RackLiquidFlow', None)
    """
    folded = "".join(letter for letter in name.casefold() if letter.isalnum())
    if asset_kind == "Rack" and (found := _FOLDED.get(f"rack{folded}")) is not None:
        return found
    return _FOLDED.get(folded)


def by_column(column: str, asset_kind: str) -> Quantity | None:
    """The quantity whose bare numbers go by this name at an asset of this kind, in its own unit. Racks have columns
    that nothing else has, and some that others have too.

    >>> by_column("liquid_flow_lpm", "Rack").name, by_column("liquid_flow_lpm", "CDU").name
    ('RackLiquidFlow', 'LiquidFlow')
    >>> by_column("power_kw", "CDU") is None
    True
    """
    return _COLUMNS[asset_kind == "Rack"].get(column)
