"""The object store as a source of images and a place for contents: signed requests over twisted.web's Agent with a
persistent pool.

We sign with a key of our own that may read every bucket, so whose object it is has to be said: `owner` goes as
x-amz-expected-bucket-owner, and the store refuses a bucket of another project.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.task import Cooperator
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers

from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import Download, InThread, Sink, announced_length
from cloudcore.signing.heads import EMPTY_BODY, Head, encoded
from cloudcore.signing.signer import Signer, encoded_path, sign

LOCATION = re.compile(r"([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.{1,1024})", re.DOTALL)
PATIENCE = 30.0  # seconds until the head of an answer
CONNECT = 10.0
DOCUMENT = 2**20  # bytes of an answer that is no object
AWAY = (ConnectError, ConnectionClosed, ConnectTimeout, ResponseFailed, TimeoutError)
UPLOAD_ID = re.compile(rb"<UploadId>([A-Za-z0-9._~-]{1,200})</UploadId>")
PROBLEMS = {
    403: (Code.NOT_AUTHORISED, "does not exist or may not be read"),  # the store does not tell us which
    404: (Code.RESOURCE_UNKNOWN, "does not exist"),
    412: (Code.UNAVAILABLE, "was changed meanwhile"),
    409: (Code.NOT_AUTHORISED, "belongs to somebody else"),
}
PACE = 2**20  # bytes a second that a body is sent at the least


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `key` is false where `location` is a bucket alone. `sha256` is that of the body, `size` its length
    in bytes; `done` are the good answers."""

    method: str
    location: str
    owner: str | None = None
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: BinaryIO | None = None
    sha256: str = EMPTY_BODY
    size: int = 0
    done: tuple[int, ...] = (200,)
    key: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of an open file, for a part of an upload."""

    file: BinaryIO
    offset: int
    size: int
    sha256: str


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
        response = await self._request(Asked("GET", location, owner))
        expected = announced_length(response)
        download = Download(self._reactor, self._in_thread, sink, expected, limit)
        response.deliverBody(download)
        return await download.done

    async def read(self, location: str, offset: int, length: int, owner: str | None = None) -> bytes:
        """A piece of the object, in memory. Errors as of `get`."""
        span = {"range": f"bytes={offset}-{offset + length - 1}"}
        response = await self._request(Asked("GET", location, owner, headers=span, done=(206,)))
        piece = Piece()
        download = Download(self._reactor, self._in_thread, piece, announced_length(response), length)
        response.deliverBody(download)
        await download.done
        return piece.data

    async def size(self, location: str, owner: str | None = None) -> int:
        response = await self._request(Asked("HEAD", location, owner))
        await self._drain(response)
        length = response.headers.getRawHeaders("content-length", ["0"])[0]
        return int(length)

    async def etag(self, location: str, owner: str | None = None) -> str:
        response = await self._request(Asked("HEAD", location, owner))
        await self._drain(response)
        return str(response.headers.getRawHeaders("etag", [""])[0])

    async def put(self, location: str, span: Span, owner: str | None = None) -> None:
        """An object of at most 5 GiB, in one request."""
        await self._send(Asked("PUT", location, owner), span)

    async def begin(self, location: str, owner: str | None = None) -> str:
        """The id of a new upload in parts."""
        answer = await self._told(Asked("POST", location, owner, "uploads="))
        found = UPLOAD_ID.search(answer)
        if found is None:
            raise CloudError(Code.UNAVAILABLE, f"{location}: the object store names no upload")
        return found[1].decode()

    async def unfinished(self, location: str) -> list[str]:
        """The ids of uploads in parts to this place that were begun and not ended."""
        bucket, key = split_location(location)
        asked = Asked("GET", bucket, query=f"prefix={encoded(key)}&uploads=", key=False)
        named = re.compile(rb"<Upload><Key>" + re.escape(key.encode()) + rb"</Key>" + UPLOAD_ID.pattern)
        return [match[1].decode() for match in named.finditer(await self._told(asked))]

    async def put_part(self, location: str, upload: str, number: int, span: Span) -> str:
        """Its ETag. `number` from 1. Whose bucket it is was said when the upload was begun."""
        response = await self._send(Asked("PUT", location, query=f"partNumber={number}&uploadId={upload}"), span)
        return str(response.headers.getRawHeaders("etag", [""])[0])

    async def complete(self, location: str, upload: str, etags: Sequence[str]) -> None:
        parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
                        for number, etag in enumerate(etags, 1))  # fmt: skip
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        span = Span(io.BytesIO(body), 0, len(body), hashlib.sha256(body).hexdigest())
        await self._send(Asked("POST", location, query=f"uploadId={upload}"), span)

    async def abort(self, location: str, upload: str) -> None:
        await self._told(Asked("DELETE", location, query=f"uploadId={upload}", done=(204, 404)))

    async def copy(self, source: str, target: str, owner: str, etag: str) -> None:
        """Within the store, if the source still has this ETag; `owner` is whose its bucket has to be."""
        path = encoded_path(*split_location(source))
        headers = {"x-amz-copy-source": path, "x-amz-source-expected-bucket-owner": owner,
                   "x-amz-copy-source-if-match": etag}  # fmt: skip
        await self._told(Asked("PUT", target, headers=headers))

    async def delete(self, location: str) -> None:
        """What is not there has gone."""
        await self._told(Asked("DELETE", location, done=(200, 204, 404)))

    async def create_bucket(self, bucket: str) -> None:
        """Ours afterwards. CloudError(NOT_AUTHORISED): it is somebody else's, or we may not have it."""
        await self._told(Asked("PUT", bucket, key=False))

    async def _told(self, asked: Asked) -> bytes:
        response, answer = await self._request(asked), Piece()
        download = Download(self._reactor, self._in_thread, answer, announced_length(response), DOCUMENT)
        response.deliverBody(download)
        await download.done
        return answer.data

    async def _send(self, asked: Asked, span: Span) -> Any:
        body: Any = Slice(span)
        response = await self._request(replace(asked, body=body, sha256=span.sha256, size=span.size))
        await self._drain(response)
        return response

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    async def _drain(self, response: Any) -> None:
        """Error documents are read, so that the connection can be used again; what they say is in the status too."""
        download = Download(self._reactor, self._in_thread, Nothing(), None, DOCUMENT)
        response.deliverBody(download)
        await download.done

    async def _request(self, asked: Asked) -> Any:
        path = encoded_path(*split_location(asked.location)) if asked.key else encoded_path(asked.location)
        headers = {"host": self._endpoint.partition("://")[2], **asked.headers}
        if asked.owner is not None:
            headers["x-amz-expected-bucket-owner"] = asked.owner
        head = Head(asked.method, path, asked.query, headers)
        signed = sign(head, self._signer, self._reactor.seconds(), asked.sha256)
        producer = FileBodyProducer(asked.body, self._cooperator, 2**18) if asked.body is not None else None
        answered = self._agent.request(
            asked.method.encode(), f"{self._endpoint}{path}{'?' if asked.query else ''}{asked.query}".encode("ascii"),
            Headers({name: [value] for name, value in signed.items() if name != "host"}), producer,
        )  # fmt: skip
        answered.addTimeout(PATIENCE + asked.size / PACE, self._reactor)
        try:
            response = await answered
        except CancelledError:
            raise
        except AWAY as problem:
            raise CloudError(Code.UNAVAILABLE, f"the object store does not answer: {problem}") from problem
        if response.code not in asked.done:
            await self._drain(response)
            code, text = PROBLEMS.get(response.code, (Code.UNAVAILABLE, f"cannot be had now ({response.code})"))
            raise CloudError(code, f"{asked.location} {text}")
        return response


class Slice:
    """A span of a file as a file of its own, as FileBodyProducer wants one. Closing it leaves the file open."""

    def __init__(self, span: Span) -> None:
        self._span, self._at = span, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self._span.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        wanted = max(0, min(size, self._span.size - self._at))
        self._span.file.seek(self._span.offset + self._at)
        data = self._span.file.read(wanted)
        self._at += len(data)
        return data

    def close(self) -> None:
        pass


def split_location(location: str) -> tuple[str, str]:
    """bucket and key. CloudError(IMAGE_INVALID) where it is no `bucket/key`."""
    match = LOCATION.fullmatch(location)
    if match is None:
        raise CloudError(Code.IMAGE_INVALID, f"{location[:200]!r} is no place of the form bucket/key")
    return match[1], match[2]
