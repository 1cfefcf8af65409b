"""Receivers of notices for tests: a web server and a mail server, each a few lines over a socket, that can be told to
misbehave. They speak TLS, and keep what they took."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.certificates import Certificates

Mood = Literal["takes", "never", "later", "busy", "hangs", "drops", "babbles", "echoes"]
RETRY_AFTER_S = 7


@dataclass
class Taken:
    """A message as it arrived."""

    key: str
    text: str
    """All that a reader sees of it, and more."""
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class _Server:
    certificates: Certificates
    mood: Mood = "takes"
    taken: list[Taken] = field(default_factory=list)
    port: int = 0
    """Where it listens; 0: anywhere."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._from_the_first_byte())
        self.port = self._server.sockets[0].getsockname()[1]
        self._open: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificates.server, self.certificates.server_key)
        return context

    def _from_the_first_byte(self) -> ssl.SSLContext | None:
        return self.context()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            if not self._server.is_serving():
                writer.transport.abort()  # a peer that keeps its connection open would be waited for

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class WebServer(_Server):
    """Takes POSTs over HTTPS."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = [(name.lower(), told) for name, _, told in (line.partition(": ") for line in lines[1:] if line)]
            body = await reader.readexactly(int(dict(headers)["content-length"]))
            match self.mood:
                case "drops":
                    return
                case "hangs":
                    await asyncio.sleep(3600)
                case "babbles":
                    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    while True:
                        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                        await writer.drain()
            if self.mood == "takes":
                key = dict(headers).get("idempotency-key", "")
                self.taken.append(Taken(key, "\n".join(_texts(json.loads(body))), headers, body))
            status = {
                "takes": b"202 Accepted", "never": b"410 Gone", "later": b"503 Busy", "echoes": b"400 No",
                "busy": b"429 Slow\r\nRetry-After: %d" % RETRY_AFTER_S,
            }[self.mood]  # fmt: skip
            answer = head + body if self.mood == "echoes" else b"bye!"
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer))
            await writer.drain()


def _texts(told: Any) -> list[str]:
    """All texts in a JSON value."""
    if isinstance(told, str):
        return [told]
    within = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return [text for each in within for text in _texts(each)]


class MailServer(_Server):
    """Takes mail after STARTTLS, from whoever knows the password."""

    login = b"AGRjaW0Ab3BlbiBzZXNhbWU="  # base64 of \0dcim\0open sesame

    def _from_the_first_byte(self) -> None:
        return None

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: bytes) -> None:
            writer.write(line + b"\r\n")
            await writer.drain()

        await say(b"220 test")
        secure = known = False
        while line := (await reader.readline()).strip():
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                await say(b"250-test\r\n250 AUTH PLAIN" if secure else b"250-test\r\n250 STARTTLS")
            elif verb == b"STARTTLS":
                await say(b"220 go")
                await writer.start_tls(self.context())
                secure = True
            elif verb == b"AUTH":
                known = secure and line.endswith(self.login)
                await say(b"235 welcome" if known else b"535 who are you")
            elif verb == b"MAIL":
                if self.mood == "hangs":
                    await asyncio.sleep(3600)
                await say(b"250 ok" if known else b"530 no")
            elif verb == b"RCPT":
                lost = b"nobody@" in line
                refusals = {"never": b"550 never", "later": b"451 later", "busy": b"450 busy", "echoes": b"550 " + line}
                await say(refusals.get(self.mood, b"550 no" if lost else b"250 ok"))
            elif verb == b"DATA":
                if self.mood == "drops":
                    return
                await say(b"354 go")
                body = b""
                while (data := await reader.readline()) != b".\r\n":
                    body += data.removeprefix(b".") if data.startswith(b"..") else data
                message = email.message_from_bytes(body, policy=email.policy.default)
                headers = [(name.lower(), str(told)) for name, told in message.items()]
                content = message.get_content()
                self.taken.append(
                    Taken(dict(headers)["message-id"].strip("<>").partition("@")[0], content, headers, body)
                )
                await say(b"250 queued as 17")
            elif verb == b"QUIT":
                return  # without a word: it has the message
            else:
                await say(b"250 ok")


def secret(folder: Path, text: str) -> Path:
    """A secret's file."""
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return file
