"""The service: its loops, from start to stop.

    sources ──deliver──▶ intake ──durable──▶ ledger, acknowledgement
                            └──offer──▶ watch ──▶ alarm engine ──▶ journal ──▶ event stream, API

Lives here: what runs, and the order in which it stops. Not here: which parts are used (build.py), what a loop does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Protocol, runtime_checkable

import structlog
import uvicorn
from fastapi import FastAPI

from dcim.app.api.context import Context
from dcim.app.garbage import seldom_searched
from dcim.app.intake import Intake
from dcim.app.requests import Requests
from dcim.core.errors import DcimError
from dcim.core.ports import Source

log = structlog.get_logger()

STOP_S = 3
"""Seconds that open requests get to finish."""


@runtime_checkable
class Ear(Protocol):
    """A source that listens somewhere."""

    async def started(self) -> tuple[str, int]:
        """Host and port, once it listens."""
        ...


class Service:
    """Everything that runs. Made by build.py; runs once."""

    def __init__(
        self,
        *,
        context: Context,
        sources: Sequence[Source],
        intake: Intake,
        errands: Sequence[Callable[[], Awaitable[None]]] = (),
        app: FastAPI,
        listening: socket.socket,
        closing: AsyncExitStack,
    ) -> None:
        """errands: loops that run as long as the service does. listening: the bound socket of the API. closing: what is
        closed at the end."""
        self.context = context
        self.intake = intake
        """The way in, for whoever has messages that no source brought."""
        self._sources, self._errands, self._closing = sources, errands, closing
        self._listening = listening
        self._server = _Server(
            uvicorn.Config(
                app,
                http=Requests,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        """Where the console is."""
        host, port = self._listening.getsockname()[:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    async def address_of(self, listener: str) -> tuple[str, int]:
        """Host and port of one of our ears, once it listens. Raises KeyError for a source that is none."""
        for source in self._sources:
            if source.name == listener and isinstance(source, Ear):
                return await source.started()
        raise KeyError(listener)

    def stop(self) -> None:
        """Lets `run` come to its end. May be called more than once."""
        self._stop.set()

    async def run(self, *beside: Callable[[], Awaitable[None]]) -> None:
        """Runs until SIGINT, SIGTERM or `stop`. `beside`: what else runs as long (the demo's simulator).

        When a loop fails, everything stops and the failure is raised: a service of which half is dead must not look
        alive."""
        with seldom_searched():
            await self._run(beside)

    async def _run(self, beside: Sequence[Callable[[], Awaitable[None]]]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        log.info("listening", console=self.url, sources=[source.name for source in self._sources])
        watch = self.context.watch
        try:
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(self._server.serve([self._listening]), name="http"),
                    group.create_task(watch.attend(), name="arrivals"),
                    group.create_task(watch.tick(), name="ticks"),
                    group.create_task(watch.tell(), name="stream"),
                    *(group.create_task(source.run(self.intake.deliver), name=source.name) for source in self._sources),
                    *(group.create_task(_as_coroutine(work), name="beside") for work in (*self._errands, *beside)),
                ]
                await self._stop.wait()
                # Readers first: they end cleanly. Then the rest; what a source has not acknowledged stays its sender's.
                self.context.hub.close()
                self._server.should_exit = True
                await running[0]
                for task in running[1:]:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise _cause(group) from group
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            await self._closing.aclose()
            log.info("stopped")


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a person should read of several failures: the first that we worded ourselves, or else the first."""
    ours, _ = group.split(DcimError)
    first: BaseException = ours if ours is not None else group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _as_coroutine(work: Callable[[], Awaitable[None]]) -> None:
    await work()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the service's, not the web server's."""
        yield
