"""Alertmanager's API, version 2, under /alertmanager: for Grafana's data source, amtool, karma and Prometheus.

An app of its own, because its answers and its errors have another shape than ours: a JSON string where we refuse, and
{"code", "message"} where a request is not of the API's form. Whatever is not below is 404: programs try paths out to
learn what they speak to. GET changes nothing.

Lives here: routes, parameters, bodies, and errors in that shape. Not here: what becomes what (alerts.alertmanager),
what a silence may hide (alerts.silences), the alerts that are posted (dcim.app.outside)."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alerts import alertmanager as am
from alerts.engine import AlarmView
from alerts.external import BadAlert, ExternalAlert, external
from alerts.lifecycle import BringBack, Mistaken, Shelve, State, Unshelve
from alerts.matchers import MATCHERS_MAX, BadMatcher, Matcher, matcher, parse, whole
from alerts.silences import Silence, UnknownSilence
from dcim.app.api.context import Context
from dcim.app.api.people import origin_of
from dcim.app.outside import AlertRefusal
from dcim.core.assets import AssetKey
from dcim.core.errors import DcimError, Permanent, Transient

BODY_MAX = 4_194_304
"""Bytes of a body: a Prometheus sends some hundred alerts at a time."""
ALERTS_MAX = 2_000
"""Alerts of one body: each becomes a finding, and all of them are looked at together."""
NOBODY = "Alertmanager API"
"""Who ends a silence: the API does not say."""

_PIECE = 500  # alerts that are made in one go
_JSON = "application/json"
_NOT_ENDED = 500
"""What the API has for a silence that is not ended, whatever the reason: the words of no other status are shown."""
_TRUE = frozenset({"true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"})
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:?\d\d)")
_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]  # a route tells of each whether it takes it
_WORDS = "must be of type"

Answer: TypeAlias = Callable[[Request, Context], Awaitable[Response]]


class Refused(Exception):  # noqa: N818  an answer, not a crash
    """We do not do it. The body is the sentence, as a JSON string."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.words, self.status = words, status


class Malformed(Exception):  # noqa: N818  an answer, not a crash
    """The request is not of the API's form. The body is {"code", "message"}."""

    def __init__(self, code: int, words: str, status: int = 422) -> None:
        super().__init__(words)
        self.code, self.words, self.status = code, words, status


def create(context: Context) -> Starlette:
    """The app, to be mounted at /alertmanager."""
    app = Starlette(
        routes=[
            Route("/metrics", _by({"GET": _metrics}), methods=_METHODS),
            Route("/api/v2/status", _by({"GET": _status}), methods=_METHODS),
            Route("/api/v2/receivers", _by({"GET": _receivers}), methods=_METHODS),
            Route("/api/v2/alerts", _by({"GET": _alerts, "POST": _post_alerts}), methods=_METHODS),
            Route("/api/v2/alerts/groups", _by({"GET": _groups}), methods=_METHODS),
            Route("/api/v2/silences", _by({"GET": _silences, "POST": _post_silence}), methods=_METHODS),
            Route("/api/v2/silence/{id}", _by({"GET": _silence, "DELETE": _delete_silence}), methods=_METHODS),
        ],
        middleware=[Middleware(RequestBodyLimitMiddleware, max_body_size=BODY_MAX)],
        exception_handlers={
            Refused: _refused,
            Malformed: _malformed,
            HTTPException: _http,
            Transient: _broken,
            Permanent: _broken,
        },
    )
    app.router.redirect_slashes = False
    app.state.context = context
    return app


def _by(methods: Mapping[str, Answer]) -> Callable[[Request], Awaitable[Response]]:
    """One route of several methods."""
    allowed = ",".join(sorted(methods))

    async def answer(request: Request) -> Response:
        way = methods.get(request.method)
        if way is None:
            told = {"code": 405, "message": f"method {request.method} is not allowed, but [{allowed}] are"}
            return _json(told, 405, {"Allow": allowed})
        return await way(request, request.app.state.context)

    return answer


# --- What there is ----------------------------------------------------------------------------------------------------


async def _status(_: Request, ctx: Context) -> Response:
    version = {
        "branch": "dcim",
        "buildDate": "",
        "buildUser": "dcim",
        "goVersion": "",
        "revision": "dcim",
        "version": am.API_VERSION,
    }
    return _json(
        {
            "cluster": {"peers": [], "status": "disabled"},
            "config": {"original": am.config(ctx.destinations)},
            "uptime": am.stamp(ctx.started),
            "versionInfo": version,
        }
    )


async def _metrics(_: Request, __: Context) -> Response:
    text = (
        "# HELP alertmanager_build_info The Alertmanager whose API this is like; 1.\n"
        "# TYPE alertmanager_build_info gauge\n"
        f'alertmanager_build_info{{branch="dcim",goversion="",revision="dcim",version="{am.API_VERSION}"}} 1\n'
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _receivers(_: Request, ctx: Context) -> Response:
    return _json([{"name": name} for name in am.receiver_names(ctx.destinations)])


async def _alerts(request: Request, ctx: Context) -> Response:
    wanted = await _wanted(request, ctx)
    return await asyncio.to_thread(_chosen, am.wanted_of, await _all_alerts(ctx), wanted)


async def _groups(request: Request, ctx: Context) -> Response:
    wanted = await _wanted(request, ctx)
    return await asyncio.to_thread(_chosen, am.groups, await _all_alerts(ctx), wanted)


def _chosen(
    choose: Callable[[list[am.Alert], am.Wanted], list[Any]], alerts: list[am.Alert], wanted: am.Wanted
) -> Response:
    return _json(choose(alerts, wanted))


async def _all_alerts(ctx: Context) -> list[am.Alert]:
    """Everything, a piece at a time: others get their turn in between."""
    at, found = ctx.clock(), list[am.Alert]()
    for number, alarm in enumerate(ctx.engine.alarms(suppressed=True), 1):
        if number % _PIECE == 0:
            await asyncio.sleep(0)
        view = ctx.engine.view(alarm)
        if view is None or not am.shows(view):
            continue
        came = ctx.outside.get(alarm.key.subject)
        told = am.labels(view, ctx.watch.asset(AssetKey(view.site, view.asset)))
        found.append(
            am.alert(
                view, told, at, came=came, find=ctx.engine.find, destinations=ctx.destinations, console=ctx.console
            )
        )
    return found


async def _wanted(request: Request, ctx: Context) -> am.Wanted:
    """Raises Refused for a filter or a receiver that cannot be read."""
    told = request.query_params
    receivers: frozenset[str] | None = None
    if pattern := told.get("receiver", ""):
        names = am.receiver_names(ctx.destinations)
        try:
            fits = await asyncio.to_thread(whole, pattern, names)
        except BadMatcher as error:
            raise Refused(f"failed to parse receiver param: {error.what}") from error
        receivers = frozenset(name for name, fit in zip(names, fits, strict=True) if fit)
    shown = {name: told.get(name, "true").lower() in _TRUE for name in ("active", "silenced", "inhibited")}
    return am.Wanted(await _filters(request), receivers=receivers, **shown)


async def _filters(request: Request) -> tuple[Matcher, ...]:
    texts = request.query_params.getlist("filter")
    if len(texts) > MATCHERS_MAX:
        raise Refused(f"a question has {MATCHERS_MAX} filters at most")
    try:
        return tuple([await asyncio.to_thread(parse, text) for text in texts])  # an expression may take a while
    except BadMatcher as error:
        raise Refused(error.what) from error


# --- Alerts from outside ----------------------------------------------------------------------------------------------


async def _post_alerts(request: Request, ctx: Context) -> Response:
    """Alerts of another server. Those that can be read are taken in, whatever is wrong with the others."""
    rows: list[Any] = []
    try:
        rows = await _body(request, "alerts", list)
        if len(rows) > ALERTS_MAX:
            raise Refused(f"a body has {ALERTS_MAX} alerts at most")
        for number, row in enumerate(rows):
            _check_form(number, row)
    except (Malformed, Refused):
        ctx.outside.refused[AlertRefusal.NOT_VALID] += max(1, len(rows))  # the whole body is lost
        raise
    at = ctx.clock()
    taken: list[ExternalAlert] = []
    wrong: list[str] = []
    for row in rows:
        try:
            taken.append(_external(row, at))
        except BadAlert as error:
            wrong.append(error.what)
    ctx.outside.refused[AlertRefusal.NOT_VALID] += len(wrong)
    full = await ctx.outside.take(taken, at) if taken else 0
    if full:
        wrong.append(f"{full} alerts were not taken in: as many from outside stand as may")
    if wrong:
        raise Refused("; ".join(dict.fromkeys(wrong))[:2_000])
    return Response(status_code=200)


def _check_form(number: int, row: object) -> None:
    """Raises Malformed where an alert is not one, whatever it says."""
    if not isinstance(row, dict):
        raise Malformed(400, "parsing alerts body failed: an alert is an object", 400)
    if "labels" not in row or row["labels"] is None:
        raise Malformed(602, f"{number}.labels in body is required")
    for name in ("labels", "annotations"):
        pairs = {} if row.get(name) is None else row[name]
        if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
            raise Malformed(400, f"parsing alerts body failed: {number}.{name} is no object of strings", 400)
    link = row.get("generatorURL")
    if not isinstance(link, str | None):
        raise Malformed(400, f"parsing alerts body failed: {number}.generatorURL is no string", 400)
    if link and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", link):
        raise Malformed(601, f"{number}.generatorURL in body {_WORDS} uri")
    for name in ("startsAt", "endsAt"):
        _time(row, name, f"parsing alerts body failed: {number}.{name}")


def _external(row: Mapping[str, Any], at: datetime) -> ExternalAlert:
    starts_at, ends_at = _time(row, "startsAt", ""), _time(row, "endsAt", "")
    if ends_at is None:
        later = max(at, starts_at or at)
        ends_at = later + am.RESOLVE_AFTER if later < am.FOREVER - am.RESOLVE_AFTER else am.FOREVER
    link = row.get("generatorURL") or ""
    return external(row["labels"], row.get("annotations") or {}, starts_at or min(at, ends_at), ends_at, link)


# --- Silences ---------------------------------------------------------------------------------------------------------


async def _silences(request: Request, ctx: Context) -> Response:
    filters, at = await _filters(request), ctx.clock()
    every = [*ctx.engine.silences(), *(shelf for _, shelf in _shelves(ctx))]
    found = await asyncio.to_thread(am.silences_of, every, filters, at)
    return _json([am.silence_body(silence, at) for silence in found])


async def _silence(request: Request, ctx: Context) -> Response:
    silence_id = _id(request)
    found = {silence.id: silence for silence in ctx.engine.silences()}.get(silence_id)
    if found is None:
        found = next((shelf for _, shelf in _shelves(ctx) if shelf.id == silence_id), None)
    if found is None:
        return Response(status_code=404)
    return _json(am.silence_body(found, ctx.clock()))


async def _post_silence(request: Request, ctx: Context) -> Response:
    """Makes a silence, or changes the one whose id is given. Ours are the bounds of shelves: see alerts.silences."""
    told = await _body(request, "silence", dict)
    at = ctx.clock()
    wanted = await asyncio.to_thread(_read_silence, told, origin_of(request), at)
    shelved = next((one for one in _shelves(ctx) if one[1].id == wanted.id), None) if wanted.id else None
    try:
        if shelved is not None:
            return _json({"silenceID": await _change_shelf(ctx, *shelved, wanted, at)})
        done = await ctx.engine.silence(wanted, at)
    except Mistaken as error:
        raise Refused(f"Failed to create silence: {error.what}") from error
    except UnknownSilence as error:
        raise Refused("silence not found", 404) from error
    ctx.watch.say(done.transitions)
    return _json({"silenceID": done.silence.id})


async def _delete_silence(request: Request, ctx: Context) -> Response:
    """Ends a silence: what it hides comes back. A shelf of one alarm, too, and its being out of service."""
    silence_id, at, origin = _id(request), ctx.clock(), origin_of(request)
    shelved = next((view for view, shelf in _shelves(ctx) if shelf.id == silence_id), None)
    if shelved is None:
        try:
            done = await ctx.engine.expire(silence_id, NOBODY, origin, at)
        except UnknownSilence as error:
            raise Refused("silence not found", _NOT_ENDED) from error
        ctx.watch.say(done.transitions)
        return Response(status_code=200)
    act = Unshelve(NOBODY, "", origin) if shelved.state is State.SHELVED else BringBack(NOBODY, "", origin)
    acted = await ctx.engine.act([(shelved.id, shelved.version)], act, at)
    for _, refusal in acted.refused:
        raise Refused(refusal.what, _NOT_ENDED)
    ctx.watch.say(acted.transitions)
    return Response(status_code=200)


async def _change_shelf(ctx: Context, view: AlarmView, shelf: Silence, wanted: Silence, at: datetime) -> str:
    """Another end for the shelf of one alarm. Its id; raises Mistaken and Refused."""
    if view.state is not State.SHELVED:
        raise Refused("Failed to create silence: the alarm is out of service; return it to service instead")
    if set(wanted.matchers) != set(shelf.matchers):
        raise Refused("Failed to create silence: this is the shelf of one alarm; make a silence for others")
    act = Shelve(wanted.by, wanted.comment, wanted.ends_at, wanted.origin)
    acted = await ctx.engine.act([(view.id, view.version)], act, at)
    for _, refusal in acted.refused:
        raise Refused(f"Failed to create silence: {refusal.what}")
    ctx.watch.say(acted.transitions)
    return shelf.id


def _shelves(ctx: Context) -> Iterator[tuple[AlarmView, Silence]]:
    """What people have put aside one by one."""
    for alarm in ctx.engine.alarms():
        if alarm.state in (State.SHELVED, State.OUT_OF_SERVICE):
            view = ctx.engine.view(alarm)
            shelf = am.shelf(view) if view is not None else None
            if view is not None and shelf is not None:
                yield view, shelf


def _read_silence(told: Mapping[str, Any], origin: str, at: datetime) -> Silence:
    """Raises Malformed, or Refused for matchers that are none."""
    for name in ("comment", "createdBy", "endsAt", "matchers", "startsAt"):
        if told.get(name) is None:
            raise Malformed(602, f"{name} in body is required")
    for name in ("comment", "createdBy", "id"):
        if not isinstance(told.get(name), str | None):  # that two of them are there was seen above
            raise Malformed(400, f"parsing silence body failed: {name} is no string", 400)
    rows = told["matchers"]
    if not isinstance(rows, list):
        raise Malformed(400, "parsing silence body failed: matchers is no list", 400)
    if not rows:
        raise Malformed(612, "matchers in body should have at least 1 items")
    if len(rows) > MATCHERS_MAX:
        raise Refused(f"Failed to create silence: a silence has {MATCHERS_MAX} matchers at most")
    starts_at, ends_at = (_time(told, name, "parsing silence body failed: " + name) for name in ("startsAt", "endsAt"))
    return Silence(
        id=told.get("id") or "",
        matchers=tuple(_read_matcher(number, row) for number, row in enumerate(rows)),
        starts_at=starts_at or at,
        ends_at=ends_at or at,
        by=told["createdBy"].strip(),
        comment=told["comment"].strip(),
        origin=origin,
        updated_at=at,
    )


def _read_matcher(number: int, row: object) -> Matcher:
    if not isinstance(row, dict):
        raise Malformed(400, "parsing silence body failed: a matcher is an object", 400)
    for name, kind in (("isRegex", bool), ("name", str), ("value", str)):
        if row.get(name) is None:
            raise Malformed(602, f"matchers.{number}.{name} in body is required")
        if not isinstance(row[name], kind):
            raise Malformed(400, f"parsing silence body failed: matchers.{number}.{name} is no {kind.__name__}", 400)
    is_equal = row.get("isEqual")
    if is_equal is not None and not isinstance(is_equal, bool):
        raise Malformed(400, f"parsing silence body failed: matchers.{number}.isEqual is no bool", 400)
    try:
        return matcher(row["name"], row["value"], is_regex=row["isRegex"], is_equal=is_equal is not False)
    except BadMatcher as error:
        raise Refused(f"silence invalid: invalid label matcher {number}: {error.what}") from error


def _id(request: Request) -> str:
    told = str(request.path_params["id"])
    if not _UUID.fullmatch(told):
        raise Malformed(601, f"silenceID in path {_WORDS} uuid")
    return str(uuid.UUID(told))


# --- Bodies and errors ------------------------------------------------------------------------------------------------


async def _body(request: Request, name: str, kind: type[Any]) -> Any:
    """The JSON body. Only what says that it is JSON is read: a page of somebody else's cannot send that unasked."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await request.body()
    if not raw and not said:
        raise Malformed(602, f"{name} in body is required")
    if said != _JSON:
        words = f'unsupported media type "{said[:60]}", only [application/json] are allowed'
        raise Malformed(415, words, 415)
    if not raw:
        raise Malformed(602, f"{name} in body is required")
    try:
        told = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(400, f"parsing {name} body failed: {error}", 400) from error
    if told is None:
        return kind()
    if not isinstance(told, kind):
        raise Malformed(400, f"parsing {name} body failed: it is no {kind.__name__}", 400)
    return told


def _time(row: Mapping[str, Any], name: str, words: str) -> datetime | None:
    """An instant in RFC 3339, UTC; None where there is none, and for the first instant of all, by which Go says so."""
    told = row.get(name)
    if told is None or told == "":
        return None
    if not isinstance(told, str) or not _TIME.fullmatch(told):
        raise Malformed(400, f"{words} is no time of RFC 3339", 400)
    try:
        at = datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Malformed(400, f"{words} is no time: {error}", 400) from error
    return None if at.year == 1 else at


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type=_JSON)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101  it is registered for that alone
    return _json(error.words, error.status)


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, Malformed)  # noqa: S101
    return _json({"code": error.code, "message": error.words}, error.status)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    known = error.status_code == HTTPStatus.NOT_FOUND
    path = request.url.path.removeprefix("/alertmanager")
    words = f"path {path[:200]} was not found" if known else str(error.detail)
    return _json({"code": error.status_code, "message": words}, error.status_code)


async def _broken(_: Request, error: Exception) -> Response:
    assert isinstance(error, DcimError)  # noqa: S101
    return _json(str(error), 503 if isinstance(error, Transient) else 500)
