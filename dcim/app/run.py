"""Running the service from the command line.

Lives here: what `dcim serve` does. Not here: how the service is put together (build.py), what it does (service.py)."""

from __future__ import annotations

import asyncio

from dcim.app.allocator import give_back_large_blocks
from dcim.app.build import build
from dcim.app.logs import log_to_stderr
from dcim.app.settings import Settings
from dcim.core.errors import Permanent


def serve(settings: Settings) -> None:
    """Runs the service until SIGINT or SIGTERM."""
    log_to_stderr()
    give_back_large_blocks()
    if not settings.sources:
        raise Permanent(
            "there is no source", where="sources", todo="Add a [[sources]] table; docs/settings.md shows how."
        )

    async def run() -> None:
        service = await build(settings)
        await service.run()

    asyncio.run(run())
