"""Everything else: a notice as plain text to any service that Apprise speaks to.

Lives here: the call, and the translation of its outcome. Not here: the services themselves, and when it is tried again
(alerts.outbox). Apprise is an extra, and is imported when a receiver wants it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from alerts.lifecycle import Priority
from alerts.notices import News, Notice, clean, subject_of, text_of
from alerts.notify.post import LATER, kept
from dcim.core.errors import Permanent, Transient

if TYPE_CHECKING:
    import apprise

SEND_S = 30.0
"""A message takes no longer."""
# They log addresses at INFO and DEBUG, and passwords are part of them.
for _name in ("apprise", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_STATUS = re.compile(r"\berror=(\d{3})\b")
"""How its plugins write the HTTP status that they were answered with."""


class Services:
    """Sends notices to one address of Apprise. `Notifier`.

    Apprise tells whether it worked, and little more: what is proven is that. Where its log names an HTTP status of the
    4xx family, trying again is of no use; every other failure may pass. Texts go as plain text; mentions are broken,
    for what some services take for markup others do not.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        """url: as Apprise writes them, with passwords in it; read anew for each message. Raises Permanent where Apprise
        is not installed or does not know such an address."""
        self._url = url
        self._plugin(url())
        # A thread of its own: a service that hangs must not hold up what waits for the loop's threads.
        self._thread = ThreadPoolExecutor(1, "apprise")

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is that the service took it, by Apprise's word."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._send, notice)

    async def close(self) -> None:
        """As `Notifier.close`: there is a connection for each message, and none between them."""
        self._thread.shutdown(wait=False)

    def _send(self, notice: Notice) -> str:
        import apprise  # noqa: PLC0415

        url = kept(self._url)
        try:
            plugin = self._plugin(url)
        except Permanent as error:  # somebody will put the address right
            raise Transient(error.what, where=error.where, todo=error.todo) from error
        service = str(plugin.service_name)
        where = f"Apprise, {service}"
        sending = apprise.Apprise()
        sending.add(plugin)
        try:
            result = sending.notify(
                body=_inert(text_of(notice)),
                title=_inert(subject_of(notice)),
                notify_type=_kind(notice),
                body_format=apprise.NotifyFormat.TEXT,
                interpret_escapes=False,
                timeout=SEND_S,
            )
        except Exception as error:  # noqa: BLE001  a hundred plugins, each with libraries of its own
            # Its words may hold the address, which holds passwords.
            raise Transient(f"raised {type(error).__name__}", where=where) from None
        if result:
            return f"taken by {service}"
        said = " ".join(str(entry.message) for entry in result.logs())
        statuses = [int(status) for status in _STATUS.findall(said)]
        if statuses and 400 <= statuses[-1] < 500 and statuses[-1] not in LATER:
            raise Permanent(f"answered {statuses[-1]}", where=where)
        words = f"answered {statuses[-1]}" if statuses else f"did not take it: {result.status.name.lower()}"
        raise Transient(clean(words), where=where)

    @staticmethod
    def _plugin(url: str) -> apprise.NotifyBase:
        try:
            import apprise  # noqa: PLC0415
        except ImportError as error:
            raise Permanent("Apprise is not installed", where="Apprise", todo="Install dcim[apprise].") from error
        asset = apprise.AppriseAsset(
            app_id="dcim",
            app_desc="dcim",
            secure_logging=True,
            http_redirects=False,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
        )
        plugin = apprise.Apprise.instantiate(url, asset=asset)
        if not isinstance(plugin, apprise.NotifyBase):
            raise Permanent("the address is none that Apprise understands", where="Apprise", todo="Check its url_file.")
        if plugin.overflow_mode == apprise.OverflowMode.UPSTREAM:
            plugin.overflow_mode = apprise.OverflowMode.TRUNCATE  # the most urgent stands first
        return plugin


def _kind(notice: Notice) -> apprise.NotifyType:
    import apprise  # noqa: PLC0415

    if all(item.news in (News.CLEARED, News.TEST) for item in notice.items):
        return apprise.NotifyType.SUCCESS
    return apprise.NotifyType.FAILURE if notice.priority <= Priority.HIGH else apprise.NotifyType.WARNING


def _inert(text: str) -> str:
    """The text with mentions broken: "@everyone", "<!channel>", "<@id>"."""
    return text.replace("@", "@\u200b").replace("<!", "< !")
