"""The object store as a source of images: signed GET and PUT over twisted.web's Agent with a persistent pool.

We sign with a key of our own that may read every bucket, so whose object it is has to be said: `owner` goes as
x-amz-expected-bucket-owner, and the store refuses a bucket of another project.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.task import Cooperator
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers

from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import Download, InThread, Sink, announced_length
from cloudcore.signing.heads import EMPTY_BODY, Head
from cloudcore.signing.signer import Signer, encoded_path, sign

LOCATION = re.compile(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.{1,1024})", re.DOTALL)
PATIENCE = 30.0  # seconds until the head of an answer
CONNECT = 10.0
DOCUMENT = 2**20  # bytes of an answer that is no object
PROBLEMS = {
    403: (Code.NOT_AUTHORISED, "does not exist or may not be read"),  # the store does not tell us which
    404: (Code.RESOURCE_UNKNOWN, "does not exist"),
}


class Nothing:
    """Takes bytes and forgets them."""

    def take(self, data: bytes) -> None:
        pass


class Piece:
    """A few bytes, kept in memory."""

    def __init__(self) -> None:
        self.data = b""

    def take(self, data: bytes) -> None:
        self.data += data


class ObjectStore:
    """`endpoint` is `http://127.0.0.1:3333`; `in_thread` runs what blocks off the reactor."""

    def __init__(self, reactor: Any, endpoint: str, signer: Signer, in_thread: InThread) -> None:
        self._reactor, self._endpoint, self._signer, self._in_thread = reactor, endpoint.rstrip("/"), signer, in_thread
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._cooperator = Cooperator(scheduler=lambda turn: reactor.callLater(0, turn))
        self._agent = Agent(reactor, connectTimeout=CONNECT, pool=self._pool)

    async def get(self, location: str, sink: Sink, limit: int, owner: str | None = None) -> int:
        """The object's bytes into `sink`; how many. CloudErrors: RESOURCE_UNKNOWN, NOT_AUTHORISED, UNAVAILABLE,
        IMAGE_INVALID (larger than `limit` bytes), and what the sink raises."""
        response = await self._request("GET", location, owner)
        expected = announced_length(response)
        download = Download(self._reactor, self._in_thread, sink, expected, limit)
        response.deliverBody(download)
        return await download.done

    async def read(self, location: str, offset: int, length: int, owner: str | None = None) -> bytes:
        """A piece of the object, in memory. Errors as of `get`."""
        response = await self._request("GET", location, owner, span=(offset, length))
        piece = Piece()
        download = Download(self._reactor, self._in_thread, piece, announced_length(response), length)
        response.deliverBody(download)
        await download.done
        return piece.data

    async def size(self, location: str, owner: str | None = None) -> int:
        response = await self._request("HEAD", location, owner)
        await self._drain(response)
        length = response.headers.getRawHeaders("content-length", ["0"])[0]
        return int(length)

    async def put(self, location: str, path: Path, sha256: str, owner: str | None = None) -> None:
        with path.open("rb") as file:
            response = await self._request("PUT", location, owner, file, sha256)
            await self._drain(response)

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    async def _drain(self, response: Any) -> None:
        """Error documents are read, so that the connection can be used again; what they say is in the status too."""
        download = Download(self._reactor, self._in_thread, Nothing(), None, DOCUMENT)
        response.deliverBody(download)
        await download.done

    async def _request(
        self, method: str, location: str, owner: str | None, body: BinaryIO | None = None, sha256: str = EMPTY_BODY,
        span: tuple[int, int] | None = None,
    ) -> Any:
        bucket, key = split_location(location)
        path = encoded_path(bucket, key)
        headers = {"host": self._endpoint.partition("://")[2]}
        if owner is not None:
            headers["x-amz-expected-bucket-owner"] = owner
        if span is not None:
            headers["range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}"
        signed = sign(Head(method, path, "", headers), self._signer, self._reactor.seconds(), sha256)
        producer = FileBodyProducer(body, self._cooperator, 2**18) if body is not None else None
        asked = self._agent.request(
            method.encode(), (self._endpoint + path).encode("ascii"),
            Headers({name: [value] for name, value in signed.items() if name != "host"}), producer,
        )  # fmt: skip
        if body is None:
            asked.addTimeout(PATIENCE, self._reactor)
        try:
            response = await asked
        except CancelledError:
            raise
        except (ConnectError, ConnectionClosed, ConnectTimeout, ResponseFailed, TimeoutError) as problem:
            raise CloudError(Code.UNAVAILABLE, f"the object store does not answer: {problem}") from problem
        if response.code != (200 if span is None else 206):
            await self._drain(response)
            code, text = PROBLEMS.get(response.code, (Code.UNAVAILABLE, f"cannot be had now ({response.code})"))
            raise CloudError(code, f"{location} {text}")
        return response


def split_location(location: str) -> tuple[str, str]:
    """bucket and key. CloudError(IMAGE_INVALID) where it is no `bucket/key`."""
    match = LOCATION.fullmatch(location)
    if match is None:
        raise CloudError(Code.IMAGE_INVALID, f"{location[:200]!r} is no place of the form bucket/key")
    return match[1], match[2]
