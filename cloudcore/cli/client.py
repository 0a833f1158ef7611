"""A signed client of our own EC2 and S3 endpoints, on the standard library's http.client: it blocks, so it runs in a
command's own thread and never in a daemon. What it speaks is what every AWS client speaks.
"""

from __future__ import annotations

import hashlib
import http.client
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from cloudcore.auth.model import AccessKey
from cloudcore.cli.printing import Refusal
from cloudcore.errors import CloudError, Code
from cloudcore.signing.heads import Head, body_hash
from cloudcore.signing.signer import Signer, encoded_path, sign

API_VERSION = "2016-11-15"
PIECE = 1 << 20
TIMEOUT = 60.0  # seconds without a byte
LONG = 330.0  # RegisterImage reads the whole object before it answers
NONE: Mapping[str, str] = {}

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Refused(CloudError):
    """The cloud's own answer: its code, text and request id."""

    def __init__(self, status: int, code: str, text: str, request_id: str) -> None:
        super().__init__(Code.INTERNAL if status >= 500 else Code.BAD_REQUEST, f"{code}: {text}")
        self.http_status, self.name = status, code
        self.why, self.status = f"request {request_id}" if request_id else "", 1 if status >= 500 else 3


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes

    def tree(self) -> ET.Element:
        """The document without its namespace: element names as the API reference writes them."""
        root = ET.fromstring(self.body)  # noqa: S314  # from our own daemon, over our own signature
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root


class Client:
    """One user's view of a cloud. `ec2` and `s3` are base URLs."""

    def __init__(self, ec2: str, s3: str, region: str, key: AccessKey) -> None:
        self._urls = {"ec2": ec2, "sts": ec2, "s3": s3}
        self._region, self._key = region, key

    def action(self, name: str, **parameters: str | int) -> ET.Element:
        """One EC2 action; `Dots_1_Name` stands for `Dots.1.Name`. Raises Refused, UNAVAILABLE."""
        form = {"Action": name, "Version": API_VERSION,
                **{key.replace("_", "."): str(value) for key, value in parameters.items()}}
        body = urlencode(form).encode()
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return self._send("ec2", "POST", "/", body, body_hash(body), headers).tree()

    def make_bucket(self, bucket: str) -> None:
        """Twice equals once."""
        try:
            self._send("s3", "PUT", encoded_path(bucket), b"", body_hash(b""))
        except Refused as problem:
            if problem.name not in ("BucketAlreadyOwnedByYou",):
                raise

    def put(self, bucket: str, key: str, file: Path, progress: Progress) -> str:
        """Uploads a file, streaming; its SHA-256 in hex. The server checks the same sum, which is signed."""
        sha256 = sum_of(file)
        size = file.stat().st_size
        with file.open("rb") as stream:
            self._send("s3", "PUT", encoded_path(bucket, key), Counted(stream, size, progress), sha256,
                       {"content-length": str(size), "content-type": "application/octet-stream"})
        return sha256

    def delete(self, bucket: str, key: str) -> None:
        self._send("s3", "DELETE", encoded_path(bucket, key), b"", body_hash(b""))

    def exists(self, bucket: str, key: str, size: int) -> bool:
        """Is an object of this size there?"""
        try:
            answer = self._send("s3", "HEAD", encoded_path(bucket, key), b"", body_hash(b""))
        except Refused as problem:
            if problem.http_status in (404, 403):
                return False
            raise
        return answer.headers.get("content-length") == str(size)

    def _send(self, service: str, method: str, path: str, body: bytes | Counted, sha256: str,
              headers: Mapping[str, str] = NONE) -> Answer:
        url = urlsplit(self._urls[service])
        signer = Signer(self._key.id, self._key.secret.reveal(), self._region, service)
        head = Head(method, path, "", {"host": url.netloc, **headers})
        try:
            with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=LONG)) as connection:
                connection.request(method, path, body, sign(head, signer, time.time(), sha256))
                reply = connection.getresponse()
                answer = Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        except (OSError, http.client.HTTPException) as problem:
            raise Refusal(Code.UNAVAILABLE, f"{url.geturl()} does not answer: {problem or type(problem).__name__}",
                          "cloudcore status    or: cloudcore up", status=1) from None
        if answer.status >= 300:
            raise refused(answer)
        return answer


def refused(answer: Answer) -> Refused:
    """From EC2's <Response><Errors><Error>, S3's <Error>, or no document at all (HEAD)."""
    try:
        root = answer.tree()
    except ET.ParseError:
        return Refused(answer.status, f"HTTP {answer.status}", http.client.responses.get(answer.status, ""), "")
    code, text = (root.findtext(f".//{name}") or root.findtext(name) or "" for name in ("Code", "Message"))
    request_id = root.findtext(".//RequestID") or root.findtext(".//RequestId") or ""
    return Refused(answer.status, code, text, request_id)


class Counted:
    """A file that tells how much of it was read; http.client reads it in pieces."""

    def __init__(self, stream: BinaryIO, size: int, progress: Progress) -> None:
        self._stream, self._size, self._progress, self._done = stream, size, progress, 0

    def read(self, count: int = -1) -> bytes:
        piece = self._stream.read(max(count, PIECE) if count > 0 else count)
        self._done += len(piece)
        self._progress(self._done, self._size)
        return piece


def sum_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def healthy(url: str, timeout: float = 3.0) -> tuple[bool, str]:
    """Does the daemon behind this URL answer /healthz with 200? With the reason when not."""
    parts = urlsplit(url)
    try:
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)) as connection:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as problem:
        return False, str(problem) or type(problem).__name__
    return status == 200, "" if status == 200 else f"HTTP {status}"
