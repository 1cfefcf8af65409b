"""The rim to an InfluxDB 2 server: writes, queries and buckets, and what its answers mean.

Everything goes through influxdb-client's generated services over its async transport, which is asked for the raw
answer: its own reading of answers has no bound, and its batching writer loses batches without a word.

Lives here: requests, bounds on answers, and `translate`, the one place that gives errors of the library, of the
transport and of the server their family. Not here: what is written and asked (influx.py, forwarder.py, rollup.py),
trying again (forwarder.py)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from influxdb_client import BucketsService, OrganizationsService, QueryService, WriteService
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

from dcim.core.errors import DcimError, Permanent, Transient

WRITE_S: Final = 30.0
"""A write that takes longer is given up; whether the server has it is unknown, and it is sent again."""
CONNECT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 256 * 2**20
"""A longer answer to a query is refused: somebody asked for too much at once."""
TOLD_BYTES_MAX: Final = 64 * 2**10
"""So much is read of an answer that only tells what went wrong."""
RETRY_AFTER_S_MAX: Final = 300.0
"""A server that asks for more patience than this is asked again all the same."""

_DIALECT: Final = {"header": True, "delimiter": ",", "annotations": [], "dateTimeFormat": "RFC3339"}


class Unavailable(Transient):
    """The server took nothing, and the same request may work later.

    after_s: when it asks to be left alone for so long. standing: nothing but a person's doing will help.
    """

    def __init__(
        self, what: str, *, where: str = "", todo: str = "", after_s: float | None = None, standing: bool = False
    ) -> None:
        super().__init__(what, where=where, todo=todo)
        self.after_s, self.standing = after_s, standing


class Malformed(Permanent):
    """400: a line could not be read. Nothing of the request was written."""


class Dropped(Permanent):
    """422: the server wrote the request but for some lines. It says how many, not which; and where the lines are spread
    over several of its shards, it counts those of one shard only.

    dropped: at least so many; 0 where it does not say.
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "", dropped: int = 0) -> None:
        super().__init__(what, where=where, todo=todo)
        self.dropped = dropped


class TooLarge(Permanent):
    """413: the request is more than the server, or a proxy before it, takes at once."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as the server has it. every_s: age at which readings go; 0 for never."""

    id: str
    name: str
    every_s: int
    shard_s: int


class InfluxServer:
    """One server and organisation. To be made and used in one event loop; any number of calls at once.

    url: http://host:port or https://host:port. token: reads it; asked again when the server does not know the last.
    ca_file: authorities that the server must be signed by; the system's when None.
    Every call raises what `translate` makes of errors, and nothing else.
    """

    def __init__(self, url: str, org: str, token: Callable[[], str], ca_file: Path | None = None) -> None:
        self.url, self.org, self._token = url.rstrip("/"), org, token
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S)
        try:
            self._client = InfluxDBClientAsync(
                url=self.url, token=token(), org=org, timeout=timeout, allow_redirects=False,
                ssl_context=_trust(self.url, ca_file),
            )  # fmt: skip
        except (OSError, ssl.SSLError) as error:
            raise Permanent(
                f"the certificates cannot be used: {error}",
                where=str(ca_file or url),
                todo="Check store.influx.ca_file",
            ) from error
        api = self._client.api_client
        self._writes, self._queries = WriteService(api), QueryService(api)
        self._buckets, self._orgs = BucketsService(api), OrganizationsService(api)

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def write(self, bucket: str, lines_gz: bytes) -> None:
        """Writes gzipped lines with times in microseconds. Returns when the server has all of them.

        Raises Malformed, Dropped, TooLarge or Unavailable.
        """
        await self._ask(
            self._writes.post_write_async, WRITE_S, TOLD_BYTES_MAX, bucket=bucket, body=lines_gz, precision="us",
            org=self.org, content_encoding="gzip",
        )  # fmt: skip

    async def query(self, flux: str, timeout_s: float) -> bytes:
        """The raw answer to a query: CSV, without annotations. Raises Unavailable, or Permanent for a query that cannot
        be answered, or whose answer is too long."""
        answer = await self._ask(
            self._queries.post_query_async, timeout_s, ANSWER_BYTES_MAX, org=self.org,
            query={"query": flux, "type": "flux", "dialect": _DIALECT},
        )  # fmt: skip
        raise_told_within(answer, self.url)
        return answer

    async def buckets(self, *names: str) -> dict[str, Bucket]:
        """Those of the named buckets that there are."""
        found = {}
        for name in names:
            try:
                answer = await self._json(self._buckets.get_buckets_async, org=self.org, name=name)
            except Unavailable as error:
                if isinstance(error.__cause__, Answered) and error.__cause__.status == 404:
                    continue
                raise
            for bucket in answer.get("buckets", []):
                found[bucket["name"]] = _bucket(bucket)
        return found

    async def make_bucket(self, name: str, every_s: int, shard_s: int) -> Bucket:
        """Makes a bucket; see Bucket."""
        answer = await self._json(self._orgs.get_orgs_async, org=self.org)
        org_id = answer["orgs"][0]["id"]
        body = {"orgID": org_id, "name": name, "retentionRules": [_rule(every_s, shard_s)]}
        return _bucket(await self._json(self._buckets.post_buckets_async, post_bucket_request=body))

    async def change_bucket(self, bucket: Bucket, every_s: int, shard_s: int) -> None:
        """Gives a bucket another age at which readings go."""
        body = {"retentionRules": [_rule(every_s, shard_s)]}
        await self._json(self._buckets.patch_buckets_id_async, bucket_id=bucket.id, patch_bucket_request=body)

    async def drop_bucket(self, bucket: Bucket) -> None:
        """Deletes a bucket with all that it holds."""
        await self._ask(self._buckets.delete_buckets_id_async, WRITE_S, TOLD_BYTES_MAX, bucket_id=bucket.id)

    async def _json(self, call: Callable[..., Awaitable[Any]], **arguments: object) -> Any:
        answer = await self._ask(call, WRITE_S, TOLD_BYTES_MAX, **arguments)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise Unavailable("it does not answer as InfluxDB does", where=self.url, todo=_CHECK_URL) from error

    async def _ask(
        self, call: Callable[..., Awaitable[Any]], timeout_s: float, bytes_max: int, **arguments: object
    ) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                response: aiohttp.ClientResponse = await call(
                    **arguments, _preload_content=False, _return_http_data_only=True
                )
                async with response:
                    sound = 200 <= response.status < 300
                    body = await _read(response, bytes_max if sound else TOLD_BYTES_MAX)
                    if not sound:
                        raise Answered(response.status, response.headers, body)
                    if len(body) > bytes_max:
                        raise Permanent(
                            f"the answer is longer than {bytes_max >> 10} KiB",
                            where=self.url,
                            todo="Ask for less at once",
                        )
                    return body
        except FOREIGN as error:
            if isinstance(error, Answered) and error.status == 401:
                with contextlib.suppress(Permanent):  # what is raised below names the file
                    self._client.api_client.set_default_header("Authorization", f"Token {self._token()}")
            raise translate(error, self.url) from error


class Answered(Exception):  # noqa: N818  it is what the server answered, and `translate` says what that means
    """An answer that is no success."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.retry_after = status, headers.get("Retry-After", "")
        self.code, self.message = _told(body)
        super().__init__(f"{status} {self.message}")


FOREIGN: Final = (Answered, InfluxDBError, aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""Everything that the library, its transport and the server's answers raise. ValueError: an address that is none."""
_CHECK_URL: Final = "Check store.influx.url: it should be InfluxDB 2 that listens there"


def translate(error: BaseException, url: str) -> DcimError:
    """An error of FOREIGN in our families and words. Unavailable is what is not known for sure to be for good."""
    if isinstance(error, Answered):
        return _translate_answer(error, url)
    if isinstance(error, ssl.SSLCertVerificationError):
        cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
        todo = "Set store.influx.ca_file to the authority that signed it"
        return Unavailable(f"its certificate is not trusted: {_line(str(cause))}", where=url, todo=todo, standing=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Unavailable("this is no address", where=url, todo=_CHECK_URL, standing=True)
    if isinstance(error, TimeoutError):
        return Unavailable("it does not answer in time", where=url, todo="See what keeps it busy; it is tried again")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | ConnectionResetError):
        return Unavailable("it broke the connection", where=url, todo="See its log; it is tried again")
    if isinstance(error, OSError):
        told = error.strerror or _line(str(error))
        return Unavailable(f"it cannot be reached: {told}", where=url, todo="Start it; it is tried again")
    return Unavailable(_line(f"{type(error).__name__}: {error}"), where=url, todo=_CHECK_URL)


def _translate_answer(answer: Answered, url: str) -> DcimError:
    """Of the answers that are no success only those are for good which InfluxDB gives about single lines. Any other,
    such as the 400 of something that is no InfluxDB, would make us put aside what is in order."""
    status, told = answer.status, answer.message or f"status {answer.status}"
    if status == 400 and answer.code == "invalid":
        return Malformed(told, where=url)
    if status == 413:
        return TooLarge(told, where=url)
    if status == 422 and answer.code == "unprocessable entity":
        return Dropped(told, where=url, dropped=_dropped(told))
    standing, todo = _HELPS.get(status, (False, "See its log; it is tried again"))
    if status == 400:
        standing, todo = True, _CHECK_URL
    if status == 404 and "bucket" in told:
        todo = "Run dcim store init, or set store.influx.bucket to one that is there"
    return Unavailable(
        f"it answers {status}: {told}", where=url, todo=todo, standing=standing, after_s=_seconds(answer.retry_after)
    )


_HELPS: Final[Mapping[int, tuple[bool, str]]] = {
    401: (True, "Put a token that it knows into the file named in store.influx.token_file"),
    403: (True, "Give the token the right to read and write the buckets named after store.influx.bucket"),
    404: (True, "Check store.influx.org and store.influx.url"),
    429: (False, "It asks for less at once; it is tried again"),
    503: (False, "It is busy; it is tried again"),
}
"""Status → whether only a person's doing helps, and what that is."""


def raise_told_within(answer: bytes, url: str) -> None:
    """Raises for an error that the server told after it had begun to answer: a table of its own within the CSV."""
    at = answer.rfind(b",error,reference")
    if at < 0:
        return
    told = answer[at:].split(b"\n", 2)
    message = told[1].decode("utf-8", "replace").strip("\r,") if len(told) > 1 else ""
    raise Unavailable(f"it gave the query up: {_line(message)}", where=url, todo="See its log; it can be asked again")


def _trust(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """Whom we believe. Where no TLS is spoken, nobody's certificates are read: that takes its time."""
    if url.startswith("https:"):
        return ssl.create_default_context(cafile=ca_file)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body, or a little more than bytes_max of it."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            break
    return b"".join(parts)


def _told(body: bytes) -> tuple[str, str]:
    """Code and message of an error as InfluxDB words it; of anything else, no code and its first line."""
    try:
        told = json.loads(body)
        code, message = told["code"], told.get("message", "")
        if isinstance(code, str) and isinstance(message, str):
            return code, _line(message)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # no InfluxDB, or a proxy before it: what it says is text
    return "", _line(body.decode("utf-8", "replace"))


def _line(text: str) -> str:
    """The beginning of a foreign text on one line."""
    return " ".join(text[:2_000].split())[:500]


def _dropped(message: str) -> int:
    _, found, count = message.rpartition("dropped=")
    digits = count.split(" ", 1)[0].split(",", 1)[0]
    return int(digits) if found and digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def _seconds(retry_after: str) -> float | None:
    """The header Retry-After where it counts seconds; as a date, which InfluxDB does not use, it is not followed."""
    text = retry_after.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:6]), RETRY_AFTER_S_MAX)


def _rule(every_s: int, shard_s: int) -> dict[str, object]:
    return {"type": "expire", "everySeconds": every_s, "shardGroupDurationSeconds": shard_s}


def _bucket(answer: Mapping[str, Any]) -> Bucket:
    rules = answer.get("retentionRules") or [{}]
    every_s, shard_s = rules[0].get("everySeconds", 0), rules[0].get("shardGroupDurationSeconds", 0)
    return Bucket(str(answer["id"]), str(answer["name"]), int(every_s), int(shard_s))
