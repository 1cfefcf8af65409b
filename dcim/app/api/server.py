"""The web application: routes, console files, headers.

Lives here: how the parts of the API make one app, and what every answer carries. Not here: the routes themselves."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.console import PAGES, POLICY
from dcim.app.api import (
    alarms,
    alertmanager,
    capacity,
    efficiency,
    exchangers,
    forecast,
    gpus,
    hall,
    health,
    inventory,
    kpis,
    ledger,
    library,
    maintenance,
    notices,
    plant,
    power,
    problems,
    readings,
    redundancy,
    rules,
    stream,
    utilization,
    workloads,
)
from dcim.app.api.answers import ARROW, Answers, KeptFirst
from dcim.app.api.asking import Layouts
from dcim.app.api.context import Context
from dcim.app.api.gpus import Fleets

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BODY_BYTES_MAX = 65_536
"""No body that this API takes is larger."""

DESCRIPTION = """\
Telemetry of an AI data centre: what there is, what it measures, what is wrong with it.

Times are RFC 3339 in UTC. Values carry their unit beside them. `null` means missing, and missing is never 0.
Lists come in pages: pass `next_cursor` back as `cursor`. Errors are RFC 9457 problems (`application/problem+json`).
"""


def create_app(context: Context, hosts: tuple[str, ...]) -> FastAPI:
    """The app over a running service. hosts: the names by which it may be called."""
    app = FastAPI(
        title="dcim",
        version="1",
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        max_body_size=BODY_BYTES_MAX,
    )
    app.state.context = context
    app.state.answers, app.state.layouts, app.state.fleets = Answers(), Layouts(), Fleets()
    problems.install(app)
    for routes in (
        plant,
        readings,
        exchangers,
        gpus,
        kpis,
        alarms,
        maintenance,
        notices,
        rules,
        hall,
        ledger,
        inventory,
        capacity,
        forecast,
        redundancy,
        power,
        utilization,
        efficiency,
        workloads,
        stream,
    ):  # kpis: /alarms/{id} is wider
        app.include_router(routes.router, prefix="/api/v1")
    app.include_router(health.router)

    @app.get("/", include_in_schema=False)
    def home() -> FileResponse:
        return FileResponse(PAGES / "index.html")

    app.mount("/alertmanager", alertmanager.create(context), name="alertmanager")
    app.include_router(library.router)
    app.mount("/console", StaticFiles(directory=PAGES), name="console")

    app.add_middleware(_Headers)
    app.add_middleware(
        GZipMiddleware, minimum_size=1_024, exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, ARROW)
    )
    app.add_middleware(KeptFirst, headers=HEADERS)
    app.add_middleware(_Head)
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=[form for host in hosts for form in (host, host.strip("[]"))]
    )
    return app


class _Headers:
    """Puts our headers on every answer; plain ASGI, so that streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fresh = scope["path"].startswith(("/api/", "/alertmanager/", "/healthz", "/readyz", "/metrics"))

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store" if fresh else "no-cache")
            await send(message)

        await self._app(scope, receive, mark)


class _Head:
    """Answers HEAD as GET would be, without the body (RFC 9110, 9.3.2). Alertmanager's API has no HEAD, so neither has
    ours of that kind."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith("/alertmanager/"):
            await self._app(scope, receive, send)
            return

        async def cut(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})  # at once: a stream would have no end

        await self._app({**scope, "method": "GET"}, receive, cut)


def _operation_id(route: APIRoute) -> str:
    return route.name
