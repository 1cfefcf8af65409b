"""Calendars of who is on call: what is read of them, who is then told, and what happens where they cannot be read."""

from __future__ import annotations

import asyncio
import csv
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import calendars, icalendar
from alerts.calendars import Calendars, Watched, of_address, of_file
from alerts.duty import Known, Rota, on_call
from alerts.recurrence import Unreadable
from alerts.routing import OnCall
from dcim.core.errors import Permanent, Transient
from tests import certificates

CASES = sorted((Path(__file__).parents[1] / "cases" / "calendars").iterdir())
UTC_ZONE = ZoneInfo("UTC")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROTA = Rota("first", {"early@example.org": "phone", "night": "radio"}, ("desk",))


def shift(*lines: str, start: str = "20260302T000000Z", duration: str = "P1D") -> bytes:
    event = ["BEGIN:VEVENT", "UID:u", f"DTSTART:{start}", f"DURATION:{duration}", *lines, "END:VEVENT"]
    return "\r\n".join(["BEGIN:VCALENDAR", *event, "END:VCALENDAR", ""]).encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_calendar_names_whom_it_names(case: Path) -> None:
    assert {file.name for file in case.iterdir()} - {"problems.txt"} == {"calendar.ics", "shifts.csv"}
    calendar = icalendar.read((case / "calendar.ics").read_bytes(), UTC_ZONE)
    with (case / "shifts.csv").open() as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["at"])
            named = ["|".join(names) for names in calendar.named(at)]
            assert named == ([row["names"]] if row["names"] else []), row["at"]
    problems = case / "problems.txt"
    assert list(calendar.problems) == (problems.read_text().splitlines() if problems.exists() else [])
    assert calendar.left_out == len(calendar.problems)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no calendar"),
        (b"\xff\xfe", "is not in UTF-8"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", "is cut off"),
        (b"BEGIN:VCALENDAR\r\nEND:VEVENT\r\n", "ends something"),
        (b"BEGIN:VCALENDAR\r\n" + b"BEGIN:X\r\n" * 9, "nested deeper"),
        (b"<!doctype html><title>Sign in</title>", "is no calendar"),
        (b"x" * (icalendar.BYTES_MAX + 1), "has more than"),
        (shift("SUMMARY:" + "x" * icalendar.LINE_MAX), "has a line of more than"),
        (b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\nEND:VEVENT\r\n" * 2001 + b"END:VCALENDAR\r\n", "2000 events"),
    ],
)
def test_what_is_no_calendar_is_refused_in_words(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        icalendar.read(data, UTC_ZONE)


@pytest.mark.slow
def test_rules_that_would_take_for_ever_are_left_out_and_said() -> None:
    rule = "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"
    dead = f"BEGIN:VEVENT\r\nUID:{{0}}\r\nDTSTART:19700101T000000Z\r\nDURATION:PT1H\r\n{rule}{{1}}\r\nEND:VEVENT\r\n"
    for count, left_out in (("", 0), (";COUNT=5", 40 - icalendar.WORK_MAX // 47_482)):
        data = "BEGIN:VCALENDAR\r\n" + "".join(dead.format(n, count) for n in range(40)) + "END:VCALENDAR\r\n"
        calendar = icalendar.read(data.encode(), UTC_ZONE)
        assert calendar.named(NOON) == []
        assert calendar.left_out == left_out


@given(
    st.binary(max_size=200)
    | st.text('BEGIN:VCALENDAREVT\r\nDTSTART;=20260101Z,\\" \tRULEFQ', max_size=300).map(str.encode)
)
def test_nonsense_raises_nothing_but_that_it_cannot_be_read(data: bytes) -> None:
    for told in (data, b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n" + data + b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"):
        try:
            icalendar.read(told, UTC_ZONE).named(NOON)
        except Unreadable:
            continue


class TestWhoIsOnCall:
    @pytest.mark.parametrize(
        ("lines", "wanted"),
        [
            (("ATTENDEE:MAILTO:Early@Example.org",), OnCall(("phone",))),
            (("SUMMARY:On Call - Night - Hall 2",), OnCall(("radio",))),
            (("SUMMARY:Night", "ATTENDEE:mailto:early@example.org"), OnCall(("phone", "radio"))),
            (
                ("SUMMARY:Fortnight",),
                OnCall(("desk",), "The calendar first has Fortnight on call, for whom there is no receiver."),
            ),
            (
                (),
                OnCall(
                    ("desk",), "The calendar first has a shift without a name on call, for whom there is no receiver."
                ),
            ),
            (
                ("SUMMARY:x\\nBcc: all\u202e",),
                OnCall(("desk",), "The calendar first has x Bcc: all on call, for whom there is no receiver."),
            ),
        ],
    )
    def test_names_stand_for_receivers(self, lines: Sequence[str], wanted: OnCall) -> None:
        known = Known(icalendar.read(shift(*lines), UTC_ZONE), NOON)
        assert on_call(ROTA, known, NOON) == wanted

    def test_nobody_is_the_fallback_and_said(self) -> None:
        known = Known(icalendar.read(shift("SUMMARY:Night"), UTC_ZONE), NOON)
        tomorrow = NOON + timedelta(days=1)
        assert on_call(ROTA, known, tomorrow) == OnCall(("desk",), "Nobody is on call by the calendar first.")
        unknown = on_call(ROTA, Known(failing="x"), NOON)
        assert unknown == OnCall(("desk",), "The calendar first could not be read; who is on call is not known.")


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


class Place:
    """Where a calendar lies; `fails`: what comes instead of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.fails = data, ""

    async def __call__(self) -> bytes:
        if self.fails:
            raise Transient(self.fails)
        return self.data


def test_the_last_good_copy_is_used_over_restarts_and_said(tmp_path: Path) -> None:
    async def whole() -> None:
        clock, place = Clock(), Place(shift("SUMMARY:Night", "RRULE:FREQ=DAILY"))
        copy = tmp_path / "new" / "first.ics"
        watched = Watched(ROTA, place, UTC_ZONE, timedelta(minutes=5), copy)
        kept = Calendars([watched], clock)
        await kept.open()
        assert kept.on_call("first", clock.now) == OnCall(("radio",))
        assert copy.stat().st_mode & 0o077 == 0
        clock.now += timedelta(hours=30)
        place.fails = "nobody there"
        await kept.look("first")
        stale = "The calendar first could not be read since 2026-03-02 12:00 UTC; a copy is used."
        assert kept.on_call("first", clock.now) == OnCall(("radio",), stale)
        again = Calendars([watched], clock)
        await again.open()
        told = again.on_call("first", clock.now)
        assert told.receivers == ("radio",) and told.remark.endswith("a copy is used.")
        # What is no calendar replaces neither what is known nor the copy.
        place.fails, place.data = "", b"<html>sign in</html>"
        await again.look("first")
        assert again.on_call("first", clock.now).receivers == ("radio",)
        assert again.known["first"].failing == "calendar first: is no calendar, or several"
        place.data = shift("SUMMARY:Other")
        await again.look("first")
        assert again.known["first"].failing == ""
        assert copy.read_bytes() == place.data

    asyncio.run(whole())


def test_a_copy_that_is_damaged_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    async def whole() -> None:
        copy = tmp_path / "first.ics"
        copy.write_bytes(b"\xff")
        place = Place(b"")
        place.fails = "nobody there"
        kept = Calendars([Watched(ROTA, place, UTC_ZONE, timedelta(minutes=5), copy)], Clock())
        await kept.open()
        assert kept.on_call("first", NOON).receivers == ("desk",)

    asyncio.run(whole())


def test_a_file_is_read_and_bounded(tmp_path: Path) -> None:
    async def whole() -> None:
        file = tmp_path / "rota.ics"
        with pytest.raises(Transient, match="No such file"):
            await of_file(file)()
        file.write_bytes(b"x" * (icalendar.BYTES_MAX + 1))
        with pytest.raises(Permanent, match="has more than"):
            await of_file(file)()
        file.write_bytes(b"x")
        assert await of_file(file)() == b"x"

    asyncio.run(whole())


class TestAddresses:
    def fetch(
        self, answer: httpx.Response | Exception, *, private: bool = False, reached: Sequence[str] = ("8.8.8.8",)
    ) -> bytes:
        self.asked: list[httpx.Request] = []

        def serve(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def resolve(host: str, port: int) -> Sequence[str]:
            return reached

        async def whole() -> bytes:
            address = "https://rota.example.org/s3cret/first.ics?key=s3cret"
            return await of_address(
                lambda: address, private=private, resolve=resolve, transport=httpx.MockTransport(serve)
            )()

        return asyncio.run(whole())

    def test_what_was_looked_at_is_what_is_called(self) -> None:
        assert self.fetch(httpx.Response(200, stream=httpx.ByteStream(b"x"))) == b"x"
        (asked,) = self.asked
        assert (asked.url.host, asked.headers["host"]) == ("8.8.8.8", "rota.example.org")
        assert asked.extensions["sni_hostname"] == "rota.example.org"

    @pytest.mark.parametrize(
        "inner",
        ["127.0.0.1", "10.0.0.7", "169.254.169.254", "192.168.1.1", "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1",
         "0.0.0.0", "224.0.0.1", "100.64.0.1"],
    )  # fmt: skip
    def test_addresses_within_the_house_are_called_only_where_that_is_meant(self, inner: str) -> None:
        for reached in ((inner,), ("8.8.8.8", inner)):
            with pytest.raises(Permanent, match="private_addresses = true"):
                self.fetch(httpx.Response(200, stream=httpx.ByteStream(b"x")), reached=reached)
            assert self.asked == []
        if "%" not in inner:
            assert (
                self.fetch(httpx.Response(200, stream=httpx.ByteStream(b"x")), private=True, reached=(inner,)) == b"x"
            )

    @pytest.mark.parametrize(
        ("answer", "family"),
        [
            (httpx.Response(404), Permanent), (httpx.Response(302, headers={"Location": "http://[::1]/"}), Permanent),
            (httpx.Response(503), Transient), (httpx.Response(429), Transient),
            (httpx.ConnectError("no s3cret"), Transient), (OSError("no route"), Transient), (TimeoutError(), Transient),
            (httpx.Response(200, stream=httpx.ByteStream(b"x" * (icalendar.BYTES_MAX + 1))), Permanent),
        ],
    )  # fmt: skip
    def test_what_goes_wrong_is_of_one_family_and_says_no_secret(
        self, answer: httpx.Response | Exception, family: type[Exception]
    ) -> None:
        with pytest.raises(family) as caught:
            self.fetch(answer)
        assert "/s3cret/" not in str(caught.value) and "key=" not in str(caught.value)

    @pytest.mark.slow
    def test_over_tls_the_certificate_must_be_the_hosts(self, tmp_path: Path) -> None:
        certs = certificates.make(tmp_path)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            await writer.drain()
            writer.close()

        async def whole() -> None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certs.server, certs.server_key)
            trust = ssl.create_default_context(cafile=certs.ca)

            async def here(host: str, port: int) -> Sequence[str]:
                return ["127.0.0.1"]

            async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
                port = server.sockets[0].getsockname()[1]
                for host, works in (("localhost", True), ("rota.example.org", False)):
                    fetch = of_address(
                        lambda host=host: f"https://{host}:{port}/",  # type: ignore[misc]
                        private=True,
                        ca=trust,
                        resolve=here,
                    )
                    if works:
                        assert await fetch() == b"x"
                    else:
                        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
                            await fetch()

        asyncio.run(whole())

    def test_silence_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calendars, "FETCH_S", 0.1)

        async def never(host: str, port: int) -> Sequence[str]:
            await asyncio.sleep(3600)
            return []

        async def whole() -> None:
            with pytest.raises(Transient, match="no answer"):
                await of_address(lambda: "https://rota.example.org/", private=False, resolve=never)()

        asyncio.run(whole())
