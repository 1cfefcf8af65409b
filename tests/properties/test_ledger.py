"""The account of the ledger: it balances whatever is booked, comes back from its bytes as it was, and nothing else is
taken for one."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core import account
from dcim.core.ledger import Fault, Kind, Ledger, Posting, Reject, RejectReason, Remark
from tests.examples import examples

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
LATER = START.replace(hour=13)
SOURCES, CODECS = ("bus", "ear"), ("dsx", "gpu", "")
COUNTS = st.integers(0, 10**12)


@st.composite
def postings(draw: st.DrawFn) -> Posting:
    """Something that can be booked: of what came, each item has become something or waits."""
    stored, duplicate, refused, held = draw(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS))
    rejects = [Reject(RejectReason.WRONG_TYPE, b"t", b"p", "no", 0, Kind.VALUE)] * draw(st.integers(0, 3))
    return Posting(
        draw(st.sampled_from(SOURCES)),
        draw(st.sampled_from(CODECS)),
        messages=draw(COUNTS),
        received={Kind.VALUE: stored + duplicate + refused + held + len(rejects)},
        stored={Kind.VALUE: stored},
        duplicate={Kind.VALUE: duplicate},
        rejects=rejects,
        refused={RejectReason.STORE_REFUSED: refused},
        remarks={Remark.UNIT_UNKNOWN: draw(COUNTS)},
        at=draw(st.sampled_from([None, START, LATER])),
    )


def ledger(accounts: bytes | None = None, since: datetime = START) -> Ledger:
    made = Ledger(account.read(accounts) if accounts else None)
    for source in SOURCES:
        made.open(source, "dsx", since)
    return made


@settings(max_examples=examples(40))
@given(st.lists(postings(), max_size=6), st.lists(postings(), max_size=6))
def test_books_balance_and_outlive_the_process(before: list[Posting], after: list[Posting]) -> None:
    first = ledger()
    for posting in before:
        assert account.read(account.write(first.preview([posting]), 1)) == first.preview([posting])
        first.post([posting])
    second = ledger(account.write(first.preview(), 2), LATER)
    assert second.tallies() == first.tallies()
    second.post(after)
    alone = ledger(since=LATER)
    alone.post(after)
    for whole, run, without, came in zip(
        second.tallies(), second.tallies(of_this_run=True), alone.tallies(), first.tallies(), strict=True
    ):
        for counts in (whole, run, *whole.codecs.values(), *run.codecs.values()):
            assert counts.balance == 0
        assert (whole.since, run.since) == (START, LATER)
        assert (run.received, run.stored, run.rejected) == (without.received, without.stored, without.rejected)
        assert (run.messages, run.remarks) == (without.messages, without.remarks)
        assert run.carried == came.pending
        assert run.pending == whole.pending == came.pending + without.pending


def test_a_preview_changes_nothing() -> None:
    books = ledger()
    books.fault("bus", Fault.CONNECTION_LOST)
    before = books.preview()
    books.preview([Posting("bus", "dsx", messages=1, received={Kind.VALUE: 1})])
    assert books.preview() == before
    assert books.preview()["bus"].faults == {Fault.CONNECTION_LOST: 1}
    assert books.tallies(of_this_run=True)[0].faults == {Fault.CONNECTION_LOST: 1}


GOOD = json.loads(account.write(ledger().preview([Posting("bus", "dsx", received={Kind.VALUE: 3}, at=START)]), 1))


@pytest.mark.parametrize(
    ("place", "wrong", "words"),
    [
        (("form",), 2, "form 2, and this version of the software knows form 1"),
        (("form",), True, "form is not what it should be"),
        (("sources",), [], "sources is not"),
        (("sources", "bus"), 7, "missing"),
        (("sources", "bus", "since"), "noon", "since is not"),
        (("sources", "bus", "since"), 10**30, "since is no time"),
        (("sources", "bus", "messages"), -1, "'-1' is no count"),
        (("sources", "bus", "faults"), {"gremlins": 1}, "gremlins"),
        (("sources", "bus", "codecs", "dsx", "received"), {"value": 1.5}, "no count"),
        (("sources", "bus", "codecs", "dsx", "pending"), None, "no count"),
        (("sources", "bus", "codecs", "dsx"), {}, "received is missing"),
    ],
)
def test_what_is_no_account_is_refused_in_words(place: tuple[str, ...], wrong: object, words: str) -> None:
    broken = json.loads(json.dumps(GOOD))
    inner = broken
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = wrong
    with pytest.raises(ValueError, match=words):
        account.read(json.dumps(broken).encode())


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_bytes_do_anything_but_be_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        account.read(junk)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        account.read(b"[" * 100_000)
