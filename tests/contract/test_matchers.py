"""Matchers: the notation, what is refused in words, and that no expression takes long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.matchers import VALUE_MAX, BadMatcher, fit_all, matcher, parse, whole

READ = [
    ('alertname="leak-wet"', ("alertname", "leak-wet", False, True)),
    ("alertname=leak-wet", ("alertname", "leak-wet", False, True)),
    ('  asset =~ "R1|R2"  ', ("asset", "R1|R2", True, True)),
    ("asset!=R1", ("asset", "R1", False, False)),
    ('asset!~"R\\\\d+"', ("asset", "R\\d+", True, False)),
    ('a="x \\"y\\" \\\\ \\n \\d"', ("a", 'x "y" \\ \n \\d', False, True)),
    ("a=", ("a", "", False, True)),
    ('a=""', ("a", "", False, True)),
    ("a==b", ("a", "=b", False, True)),
    ('a="{b,c}"', ("a", "{b,c}", False, True)),
    ("a=x\\", ("a", "x\\", False, True)),
]


@pytest.mark.parametrize(("text", "wanted"), READ)
def test_what_is_written_is_what_is_meant(text: str, wanted: tuple[str, str, bool, bool]) -> None:
    made = parse(text)
    assert (made.name, made.value, made.is_regex, made.is_equal) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bad", "bad matcher format: bad"),
        ("1x=y", "bad matcher format: 1x=y"),
        ("", "bad matcher format"),
        ('a="x', "unescaped double quote"),
        ('a=x"', "unescaped double quote"),
        ('a="x"y"', "unescaped double quote"),
        ('a="x\\"', "unescaped double quote"),
        ("a:b=c", "invalid label name"),
        ("a=~(", "error parsing regexp: unclosed group"),
        ("a=~x(?=y)", "look-around"),
        ("a=~(x)\\1", "error parsing regexp"),
        ("a=~" + "(" * 300 + ")" * 300, "error parsing regexp"),
        ("a=~(x{100}){100}", "its counts come to more than 1000"),
        ("a=~x{99999999999999999999}", "its counts come to more than 1000"),
        ("a=" + "x" * (VALUE_MAX + 1), "longer than"),
        ("a=\ud800", "not valid UTF-8"),
        ("a=\x00", "not valid UTF-8"),
    ],
)
def test_what_is_no_matcher_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(BadMatcher, match=words) as refused:
        parse(text)
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


def test_a_label_that_is_not_there_is_empty() -> None:
    labels = {"site": "oslo", "asset": "R1"}
    meant = {
        'asset="R1"': True,
        'asset!="R1"': False,
        'asset=~"R."': True,
        'asset=~"R"': False,  # as a whole
        'asset=~"R|R1"': True,
        'asset!~"Q.*"': True,
        'hall=""': True,
        'hall!=""': False,
        'hall=~".*"': True,
        'hall=~".+"': False,
    }
    assert {text: parse(text).fits(labels) for text in meant} == meant
    assert fit_all([parse("asset=R1"), parse("site=oslo")], labels)
    assert not fit_all([parse("asset=R1"), parse("site=bergen")], labels)
    assert fit_all([], labels)
    assert whole("a|ab", ["a", "ab", "abc", ""]) == [True, True, False, False]


def test_many_values_are_tried_at_once_and_remembered() -> None:
    made = parse("asset=~R[0-9]+")
    made.learn(f"R{number}" for number in range(12_000))  # more than one matcher remembers: it begins anew
    made.learn(["X"])
    assert made.fits({"asset": "R11999"})
    assert not made.fits({"asset": "X"})


def test_no_expression_takes_longer_than_its_value_is_long() -> None:
    """A backtracking engine would need 2^1000 steps for this."""
    assert whole("(a|aa|a*)*b", ["a" * 1_000]) == [False]


@given(st.text(max_size=40).filter(lambda text: "\x00" not in text), st.booleans())
def test_what_a_matcher_says_of_itself_is_read_as_itself(value: str, is_equal: bool) -> None:
    made = matcher("name", value, is_equal=is_equal)
    assert parse(str(made)) == made
