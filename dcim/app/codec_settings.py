"""Settings of the codecs: how what a source sends is read, and the rules that a codec makes of them.

Lives here: what can be set, its defaults, and mistakes told in words. Not here: the source itself (settings.py), which
codec objects there are (build.py), what the rules do (collectors.codecs)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from collectors.codecs import line, mapped, sparkplug
from collectors.codecs.naming import Meaning, Unknown, in_unit, named
from collectors.codecs.placing import Pattern, Place
from dcim.core.assets import OBJECT_TYPES
from dcim.core.points import Loop, Side
from dcim.core.quantities import QUANTITIES

CodecName = Literal["dsx", "gpu", "sparkplug", "line", "mapped"]
KINDS = (*sorted(OBJECT_TYPES), "Gpu")

_FILTER = re.compile(r"(?:(?:\+|[^+#/]*)/)*(?:\+|#|[^+#/]*)\Z")
_STEP = re.compile(r"\d{1,6}\Z")


def _quantity(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"is {name!r}, but there is no such quantity. {_near(name, QUANTITIES)}")
    return name


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"is {kind!r}, but there is no such kind of asset. {_near(kind, KINDS)}")
    return kind


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"Write {near[0]}, if you mean that" if near else f"One of them is {names[0]}"


def _pattern(spelled: str) -> str:
    Pattern(spelled)
    return spelled


def _path(spelled: object) -> tuple[str | int, ...]:
    """A dotted text and a list of steps mean the same. An empty one is the payload itself."""
    steps: list[object] = list(spelled) if isinstance(spelled, list | tuple) else []
    if isinstance(spelled, str):
        steps = [int(step) if _STEP.match(step) else step for step in spelled.split(".")] if spelled else []
    elif not isinstance(spelled, list | tuple):
        raise ValueError('is no path. Write "supply.temp", or ["supply", "temp"] where a key holds a dot')
    if len(steps) > 16 or not all(
        (isinstance(step, str) and step) or (isinstance(step, int) and not isinstance(step, bool) and step >= 0)
        for step in steps
    ):
        raise ValueError("is no path: at most 16 steps, each a key or a place in a list, none of them empty")
    return tuple(step for step in steps if isinstance(step, str | int))


def _topic_filter(topic_filter: str) -> str:
    if not topic_filter or not _FILTER.match(topic_filter):
        raise ValueError(
            f"holds {topic_filter!r}, which is no topic filter. + stands alone between slashes, # at the end"
        )
    return topic_filter


Quantity = Annotated[str, AfterValidator(_quantity)]
Kind = Annotated[str, AfterValidator(_kind)]
Text = Annotated[str, Field(max_length=512)]
Filled = Annotated[Text, AfterValidator(_pattern)]
Path = Annotated[Any, BeforeValidator(_path)]
TopicFilter = Annotated[str, AfterValidator(_topic_filter)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Told(_Section):
    """What can be said of a measured value beside its quantity."""

    unit: Text = ""
    """Of the values as they are sent, where the sender does not say. The quantity's own when left out."""
    loop: Literal["primary", "secondary"] | None = None
    side: Literal["supply", "return"] | None = None
    phase: Text = ""
    part: Text = ""
    """Tells it from its like at the same asset."""
    setpoint: bool = False

    def meaning(self, quantity: str) -> Meaning:
        """The same, for the codec."""
        loop = Loop(self.loop) if self.loop else None
        side = Side(self.side) if self.side else None
        return Meaning(quantity, self.unit, loop, side, self.phase, self.part, self.setpoint)

    def check_unit(self, quantity: str) -> None:
        """Raises ValueError where the values cannot be converted."""
        kept = QUANTITIES[quantity]
        if self.unit and kept.name != "GenericPoint" and in_unit(kept, self.unit)[1] is None:
            raise ValueError(
                f"gives the unit {self.unit!r}, but {quantity} is kept in {kept.unit or 'no unit'}, "
                f"and there is no way from one to the other. Mend unit, or quantity"
            )


class Named(_Told):
    """What a name means."""

    name: str = Field(min_length=1, max_length=512)
    quantity: Quantity

    @model_validator(mode="after")
    def _unit_fits(self) -> Named:
        self.check_unit(self.quantity)
        return self


class _Placed(_Section):
    """Whose values they are: patterns with {places}."""

    asset: Filled
    """Id of the asset."""
    kind: Kind
    within: Filled = ""
    """Id of the asset that contains it: a GPU's rack."""
    part: Filled = ""

    def place(self, kind: str | None = None) -> Place:
        """The same, for the codec."""
        return Place(Pattern(self.asset), kind or self.kind, Pattern(self.within), Pattern(self.part))

    def places(self) -> dict[str, frozenset[str]]:
        """Setting → the places that it names."""
        return {key: Pattern(getattr(self, key)).names for key in ("asset", "within", "part")}


class SparkplugAsset(_Placed):
    """Which asset nodes or devices are."""

    match: str = Field(min_length=1, max_length=512)
    """"group/node" or "group/node/device"; a star stands for any part of one segment."""
    asset: Filled = "{device}"
    """Filled with group, node and device."""

    @model_validator(mode="after")
    def _places_are_known(self) -> SparkplugAsset:
        _check_places(self.places(), ("group", "node", "device"), "a Sparkplug topic")
        return self


class Sparkplug(_Section):
    """Sparkplug B."""

    rebirth: bool = False
    """Whether nodes are asked to repeat their birth certificates when one of their messages is missing, or was sent
    before we came. It is the only thing that this service ever sends to a bus."""
    unknown: Unknown = "keep"
    """Metrics whose name says nothing: "keep" them as generic points, or "reject" them."""
    assets: tuple[SparkplugAsset, ...] = ()
    metrics: tuple[Named, ...] = ()
    """By the whole name of a metric, or its last segment."""

    def rules(self) -> sparkplug.SparkplugRules:
        """The same, for the codec."""
        return sparkplug.SparkplugRules(
            assets=tuple(
                sparkplug.SparkplugAsset(sparkplug.SparkplugAsset.pattern(asset.match), asset.place())
                for asset in self.assets
            ),
            metrics=_meanings(self.metrics),
            unknown=self.unknown,
        )

    @model_validator(mode="after")
    def _once(self) -> Sparkplug:
        _check_once("metrics", [metric.name for metric in self.metrics])
        return self


class LineMeasurement(_Placed):
    """What lines of one measurement mean."""

    name: str = Field(min_length=1, max_length=512)
    asset: Filled = "{asset}"
    """Filled with the line's tags, and with measurement."""
    fields: tuple[Named, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> LineMeasurement:
        _check_once("fields", [field.name for field in self.fields])
        return self


class Line(_Section):
    """Influx line protocol."""

    topics: tuple[TopicFilter, ...]
    """Topic filters of messages that are lines."""
    precision: Literal["ns", "us", "ms", "s"] = "ns"
    """Of timestamps."""
    asset: Filled = "{asset}"
    """Of measurements that are not listed."""
    kind: Annotated[str, AfterValidator(lambda kind: _kind(kind) if kind else kind)] = ""
    """Of the same; what the measurement is called after when left out."""
    within: Filled = ""
    part: Filled = ""
    unknown: Unknown = "keep"
    ignored_tags: tuple[Text, ...] = ()
    """Tags that do not tell one series from another."""
    fields: tuple[Named, ...] = ()
    """Of all measurements."""
    measurements: tuple[LineMeasurement, ...] = ()

    def rules(self) -> line.LineRules:
        """The same, for the codec."""
        everywhere = _meanings(self.fields)
        place = Place(Pattern(self.asset), self.kind, Pattern(self.within), Pattern(self.part))
        return line.LineRules(
            otherwise=line.Measurement(place, everywhere),
            measurements={
                each.name: line.Measurement(each.place(), everywhere | _meanings(each.fields))
                for each in self.measurements
            },
            ignored_tags=frozenset(self.ignored_tags),
            precision=self.precision,
            unknown=self.unknown,
        )

    @model_validator(mode="after")
    def _once(self) -> Line:
        if not self.topics:
            raise ValueError('has no topics, so there is nothing to read. Write topics = ["telegraf/#"]')
        _check_once("fields", [field.name for field in self.fields])
        _check_once("measurements", [each.name for each in self.measurements])
        return self


class MappedField(_Told):
    """One value of a payload."""

    path: Path
    """Where it stands in the payload."""
    quantity: Filled = ""
    """A quantity, a column, or a pattern that the topic fills. The path's last step when left out."""
    unit_path: Path | None = None
    """Where the payload says the unit."""

    def codec_field(self, kind: str) -> mapped.MappedField:
        """The same, for the codec."""
        name = Pattern(self.quantity or re.sub(r"[{}]", "", str(self.path[-1])))
        quantity, unit = _fixed(self.quantity, kind)
        meaning = self.meaning(quantity or "")
        return mapped.MappedField(self.path, name, replace(meaning, unit=meaning.unit or unit), self.unit_path)


class MappedTopic(_Placed):
    """Messages of one kind of topic, in plain JSON."""

    topic: str = Field(min_length=1, max_length=1_024)
    """Its segments are as they stand, or {places}."""
    fields: tuple[MappedField, ...]
    names: tuple[Named, ...] = ()
    """What names mean that the topic or a path holds."""
    time: Path | None = None
    """Where the payload says when. The time of receipt when left out."""
    time_form: Literal["s", "ms", "us", "ns", "iso8601"] = "ms"
    quality: Path | None = None
    """Where the payload says how good its values are. They are good when left out."""
    good: tuple[Any, ...] = (1,)
    """What stands there when they are."""
    unknown: Unknown = "keep"

    def mapping(self) -> mapped.TopicMapping:
        """The same, for the codec."""
        return mapped.TopicMapping(
            topic=mapped.TopicPattern(self.topic),
            place=self.place(),
            fields=tuple(field.codec_field(self.kind) for field in self.fields),
            names=_meanings(self.names),
            time=self.time,
            time_form=self.time_form,
            quality=self.quality,
            good=self.good,
            unknown=self.unknown,
        )

    @property
    def topic_filter(self) -> str:
        """The filter that matches its topics."""
        return mapped.TopicPattern(self.topic).topic_filter

    @field_validator("topic")
    @classmethod
    def _is_a_topic(cls, topic: str) -> str:
        mapped.TopicPattern(topic)
        return topic

    @field_validator("good")
    @classmethod
    def _scalars(cls, good: tuple[Any, ...]) -> tuple[Any, ...]:
        if not good or not all(isinstance(value, str | int | float | bool) for value in good):
            raise ValueError("is not a list of texts, numbers, true or false. Write good = [1]")
        return good

    @model_validator(mode="after")
    def _fits(self) -> MappedTopic:
        if not self.fields:
            raise ValueError('has no fields, so there is nothing to read. Write fields = [{ path = "value" }]')
        names = sorted(mapped.TopicPattern(self.topic).names)
        _check_places(self.places(), names, "the topic")
        _check_once("names", [each.name for each in self.names])
        _check_once("fields", [".".join(map(str, each.path)) for each in self.fields])
        explained = {each.name for each in self.names}
        for number, each in enumerate(self.fields):
            where = f"fields[{number}]"
            _check_places({f"{where}.quantity": Pattern(each.quantity).names}, names, "the topic")
            if not each.quantity and not (each.path and isinstance(each.path[-1], str)):
                raise ValueError(f"{where} has no name that tells what it is. Set its quantity")
            if each.quantity and not Pattern(each.quantity).names and each.quantity not in explained:
                fixed, _ = _fixed(each.quantity, self.kind)
                if fixed is None:
                    raise ValueError(
                        f"{where}.quantity is {each.quantity!r}, but there is no such quantity. "
                        f"{_near(each.quantity, QUANTITIES)}"
                    )
                each.check_unit(fixed)
        return self


def _fixed(quantity: str, kind: str) -> tuple[str | None, str]:
    """The quantity that a setting names outright, and the unit that its name ends in. None where there is no such
    quantity, "" where the setting leaves it to the topic or the path."""
    if not quantity or Pattern(quantity).names:
        return "", ""
    if quantity in QUANTITIES:
        return quantity, ""
    found, unit = named(quantity, kind)
    return None if found is None else found.name, unit


def _meanings(named: Iterable[Named]) -> dict[str, Meaning]:
    return {each.name: each.meaning(each.quantity) for each in named}


def _check_places(places: dict[str, frozenset[str]], known: Iterable[str], of: str) -> None:
    for setting, names in places.items():
        strange = sorted(names - set(known))
        if strange:
            has = ", ".join(f"{{{name}}}" for name in known) or "none"
            raise ValueError(
                f"{setting} has the place {{{strange[0]}}}, but the places of {of} are: {has}. Mend {setting}"
            )


def _check_once(setting: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{setting} has {twice[0]!r} twice. Leave one of them out")
