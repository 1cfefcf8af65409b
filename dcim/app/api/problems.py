"""Errors of the API as RFC 9457 problems: one shape, a title for programs, a sentence for people.

Lives here: the shape and the handlers. Not here: when something is an error (the routes)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dcim.core.errors import Permanent, Transient


class FieldProblem(BaseModel):
    """What is wrong with one parameter or field."""

    field: str = Field(description="Where it stands: query.every, path.id, body.by.")
    detail: str = Field(description="What is wrong, and what is allowed.")


class Problem(BaseModel):
    """RFC 9457 problem details; media type application/problem+json."""

    type: str = Field(default="about:blank", description="about:blank: the status says it all.")
    title: str = Field(description="The kind of problem; the same for every occurrence.", examples=["Not found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened here, and what to do.", examples=["There is no asset X."])
    instance: str = Field(default="", description="The path that was asked for.")
    errors: list[FieldProblem] = Field(default=[], description="One entry for each field that is wrong.")


class Wrong(Exception):  # noqa: N818  an answer, not a crash
    """Raised by a route to answer with a problem. `more` goes into the body beside the standard members."""

    def __init__(
        self, status: int, title: str, detail: str, *, field: str | None = None, more: dict[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.field, self.more = status, title, detail, field, more or {}


def not_found(what: str, todo: str) -> Wrong:
    """404 in a sentence."""
    return Wrong(404, "Not found", f"There is no {what}. {todo}")


def bad(field: str, detail: str) -> Wrong:
    """422 about one parameter."""
    return Wrong(422, "Not valid", detail, field=field)


RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such thing.", "content": {"application/problem+json": {}}},
    422: {"model": Problem, "description": "A parameter is not valid.", "content": {"application/problem+json": {}}},
    503: {
        "model": Problem,
        "description": "Cannot answer at the moment.",
        "content": {"application/problem+json": {}},
    },
}
"""What every route may answer besides its own, for OpenAPI."""


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem."""

    @app.exception_handler(Wrong)
    async def _wrong(request: Request, error: Wrong) -> JSONResponse:
        errors = [FieldProblem(field=error.field, detail=error.detail)] if error.field else []
        return _answer(request, error.status, error.title, error.detail, errors, error.more)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            FieldProblem(field=".".join(str(step) for step in mistake["loc"]), detail=mistake["msg"])
            for mistake in error.errors()
        ]
        detail = "; ".join(f"{entry.field}: {entry.detail}" for entry in errors)
        return _answer(request, 422, "Not valid", detail, errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = (
            f"{request.method} {request.url.path} cannot be answered. See /api/v1/openapi.json for what can be asked."
        )
        answer = _answer(request, error.status_code, str(error.detail), detail)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Transient)
    async def _transient(request: Request, error: Transient) -> JSONResponse:
        return _answer(request, 503, "Not now", str(error))

    @app.exception_handler(Permanent)
    async def _permanent(request: Request, error: Permanent) -> JSONResponse:
        return _answer(request, 500, "Broken", str(error))


def _answer(
    request: Request,
    status: int,
    title: str,
    detail: str,
    errors: list[FieldProblem] | None = None,
    more: dict[str, Any] | None = None,
) -> JSONResponse:
    problem = Problem(title=title, status=status, detail=detail, instance=request.url.path, errors=errors or [])
    return JSONResponse(
        {**problem.model_dump(), **(more or {})}, status_code=status, media_type="application/problem+json"
    )
