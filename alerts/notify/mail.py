"""Mail: a notice as plain text over SMTP.

Lives here: the message, the conversation with the server (the standard library's, in a worker thread), and the
translation of its errors. Not here: when it is tried again (alerts.outbox)."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from alerts.notices import Notice, clean, subject_of, text_of
from dcim.core.errors import Permanent, Transient

STEP_S = 10.0
"""A server that is silent for longer is given up."""


class Mail:
    """Sends notices through one SMTP server. `Notifier`.

    Message-ID follows from the notice's key, so a repetition can be told; messages of one thread refer to the same id,
    so mail programs show them together.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: Literal["starttls", "implicit", "none"],
        sender: str,
        to: tuple[str, ...],
        clock: Callable[[], datetime],
        user: str | None = None,
        password: Callable[[], str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """tls: "implicit" from the first byte on, "starttls" before anything is said, "none" for a server on this
        machine. password: read anew for each message. context: what to trust; the system's authorities when left
        out."""
        self._host, self._port, self._tls = host, port, tls
        self._sender, self._to, self._clock = sender, to, clock
        self._user, self._password = user, password
        self._context = context or ssl.create_default_context()
        # A thread of its own: a server that hangs must not hold up what waits for the loop's threads.
        self._thread = ThreadPoolExecutor(1, "mail")

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is what the server said when it took the message, often with its number in the
        queue, and which addresses it did not take."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._send, notice)

    async def close(self) -> None:
        """As `Notifier.close`: there is a connection for each message, and none between them."""
        self._thread.shutdown(wait=False)

    def _send(self, notice: Notice) -> str:
        message = compose(notice, self._sender, self._to, self._clock())
        try:
            password = self._password() if self._password is not None else ""
        except Permanent as error:  # somebody will put the file right: no reason to give the alarm up
            raise Transient(error.what, where=error.where, todo=error.todo) from error
        try:
            server = self._connected()
            try:
                if self._tls == "starttls":
                    server.starttls(context=self._context)
                if self._user is not None:
                    server.login(self._user, password)
                proof = self._hand_over(server, message)
                with contextlib.suppress(smtplib.SMTPException, OSError):  # it has the message: this is courtesy
                    server.quit()
            finally:
                server.close()
        except smtplib.SMTPAuthenticationError as error:
            # A password can be put right, and until then this is no fault of the message.
            raise Transient(f"the server refuses the login: {_said(error)}", where=self._where) from error
        except smtplib.SMTPResponseException as error:
            family = Permanent if 500 <= error.smtp_code < 600 else Transient
            raise family(f"the server answers {_said(error)}", where=self._where) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise Transient(f"{type(error).__name__}: {clean(str(error))}", where=self._where) from error
        return proof

    def _connected(self) -> smtplib.SMTP:
        if self._tls == "implicit":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=STEP_S, context=self._context)
        return smtplib.SMTP(self._host, self._port, timeout=STEP_S)

    def _hand_over(self, server: smtplib.SMTP, message: bytes) -> str:
        """MAIL, RCPT for each address, DATA. Raises SMTPResponseException where the server takes it for nobody."""
        server.ehlo_or_helo_if_needed()
        code, answer = server.mail(self._sender)
        if code != 250:
            raise smtplib.SMTPResponseException(code, answer)
        refused: dict[str, tuple[int, bytes]] = {}
        for address in self._to:
            code, answer = server.rcpt(address)
            if code not in (250, 251):
                refused[address] = code, answer
        if len(refused) == len(self._to):
            # One that may work later is worth a second try of all of them.
            raise smtplib.SMTPResponseException(*min(refused.values()))
        code, answer = server.data(message)
        if code != 250:
            raise smtplib.SMTPResponseException(code, answer)
        told = [
            f"{code} {_text(answer)}",
            *(f"not {address}: {no} {_text(why)}" for address, (no, why) in refused.items()),
        ]
        return clean("; ".join(told))

    @property
    def _where(self) -> str:
        return f"mail server {self._host}:{self._port}"


def compose(notice: Notice, sender: str, to: tuple[str, ...], at: datetime) -> bytes:
    """The message as it goes over the wire. What alarms are called cannot make a header: it is on one line."""
    domain = sender.rpartition("@")[2]
    message = EmailMessage(policy=SMTP)
    message["Subject"] = clean(subject_of(notice))
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{notice.key}@{domain}>"
    if notice.thread:
        message["References"] = f"<{notice.thread}.{notice.receiver}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Priority"] = "1" if notice.priority <= 2 else "3"
    message.set_content(text_of(notice), cte="quoted-printable")
    return message.as_bytes()


def _said(error: smtplib.SMTPResponseException) -> str:
    return clean(f"{error.smtp_code} {_text(error.smtp_error)}")


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
