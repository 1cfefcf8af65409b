"""Collectors that divide the load of one bus: values are divided, descriptions are everybody's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.codecs.topics import common, matcher, overlap
from dcim.app.build import _login, _subscriber
from dcim.app.clock import Clock
from dcim.app.settings import BrokerSource
from dcim.core.ledger import Ledger

LEVELS = st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=4)
FILTERS = st.tuples(LEVELS, st.booleans()).map(lambda made: "/".join([*made[0], "#"] if made[1] else made[0]))
TOPICS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5).map("/".join)


@given(FILTERS, FILTERS, TOPICS)
def test_the_common_filter_matches_what_both_do(one: str, other: str, topic: str) -> None:
    def matches(topic_filter: str | None) -> bool:
        return topic_filter is not None and bool(matcher([topic_filter]).match(topic.encode()))

    assert matches(common(one, other)) is (matches(one) and matches(other))
    assert (common(one, other) is not None) is overlap(one, other)


@pytest.mark.parametrize(
    ("filters", "besides"),
    [
        (("BMS/v1/#", "dcim/v1/#"), ("BMS/v1/PUB/Metadata/#",)),
        (("BMS/v1/+/Value/#",), ()),
        (("BMS/v1/PUB/+/CDU/#", "BMS/v1/+/+/CDU/#"), ("BMS/v1/PUB/Metadata/CDU/#",)),
    ],
)
def test_who_shares_hears_all_descriptions(filters: tuple[str, ...], besides: tuple[str, ...]) -> None:
    source = BrokerSource(kind="broker", name="bus", site="s", url="mqtt://localhost", share="hall", filters=filters)
    subscriber = _subscriber(source, _login(source), Ledger(), Clock())
    assert subscriber._settings.filters == (*(f"$share/hall/{one}" for one in filters), *besides)
