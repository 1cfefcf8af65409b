"""The chart library of the trend views, out of the installed package.

Lives here: the one file that the console takes from elsewhere, compressed once. Not here: the console's own files
(dashboards.console)."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from dcim.app.api.problems import not_found

router = APIRouter()

PACKAGE = "plotly"
FILE = "package_data/plotly.min.js"
COMPRESSION = 6


@router.get("/console/lib/plotly.js", include_in_schema=False)
def plotly(request: Request) -> Response:
    """plotly.js as its wheel brings it; kept by a browser until the package is another."""
    etag = f'"{version(PACKAGE)}"'
    headers = {"ETag": etag, "Cache-Control": "max-age=86400", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    try:
        packed = _packed()
    except OSError as error:
        raise not_found("chart library in the installed plotly package", "Install plotly anew.") from error
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(packed), media_type="text/javascript", headers=headers)
    return Response(packed, media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})


@cache
def _packed() -> bytes:
    """The file, compressed: done once, for 5 MB take a fraction of a second."""
    return gzip.compress(files(PACKAGE).joinpath(FILE).read_bytes(), COMPRESSION)
