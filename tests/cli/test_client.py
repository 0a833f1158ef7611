"""The signed client against a server that judges signatures as the daemons do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from cloudcore.auth.model import AccessKey, Secret
from cloudcore.cli.client import Client, Refused, healthy
from cloudcore.cli.printing import Refusal
from cloudcore.errors import Code
from cloudcore.signing.heads import Head, body_hash
from cloudcore.signing.sigv4 import BadSignature, Expected, read_claim, verify

SECRET = "0123456789abcdef"  # noqa: S105
KEY = AccessKey("CCIATEST", Secret(SECRET), "u", "1")
EC2_ERROR = (b"<Response><Errors><Error><Code>InvalidAMIID.NotFound</Code><Message>no such image</Message></Error>"
             b"</Errors><RequestID>r-1</RequestID></Response>")  # fmt: skip
S3_ERROR = b"<Error><Code>NoSuchBucket</Code><Message>none</Message><RequestId>r-2</RequestId></Error>"


class Judge(BaseHTTPRequestHandler):
    """Answers 403 to a bad signature, then by path and action; keeps what it saw in the server."""

    def do_POST(self) -> None:
        self.answer("ec2")

    def do_PUT(self) -> None:
        self.answer("s3")

    do_HEAD = do_DELETE = do_PUT

    def do_GET(self) -> None:
        self.reply(200 if self.path == "/healthz" else 503, b"")

    def answer(self, service: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        head = Head.read(self.command.encode(), self.path.encode(),
                         [(name.encode(), [value.encode()]) for name, value in self.headers.items()])
        claim = read_claim(head)
        assert claim is not None
        try:
            verify(claim, head, SECRET, Expected(time.time(), ("us-east-2",), service), body_hash(body))
        except BadSignature as problem:
            self.reply(403, f"<Error><Code>{problem.kind.value}</Code></Error>".encode())
            return
        self.server.seen.append((self.command, self.path, body))  # type: ignore[attr-defined]
        if b"Action=Deregister" in body:
            self.reply(400, EC2_ERROR)
        elif self.path.startswith("/missing"):
            self.reply(404, S3_ERROR)
        else:
            self.reply(200, b'<R xmlns="http://ec2/"><item><id>1</id></item></R>', str(len(body)))

    def reply(self, status: int, body: bytes, length: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    made.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def client(url: str) -> Client:
    return Client(url, url, "us-east-2", KEY)


def test_an_action_is_signed_and_its_answer_read_without_namespace(client: Client, server: ThreadingHTTPServer) -> None:
    root = client.action("DescribeImages", ImageId_1="ami-1", MaxResults=5)
    assert root.findtext("item/id") == "1"
    ((_, path, body),) = server.seen  # type: ignore[attr-defined]
    assert path == "/"
    assert dict(parse_qsl(body.decode())) == {
        "Action": "DescribeImages", "Version": "2016-11-15", "ImageId.1": "ami-1", "MaxResults": "5"}


def test_a_file_is_streamed_with_its_sum_signed(client: Client, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    file = tmp_path / "disk image.raw"
    file.write_bytes(bytes(range(256)) * 9000)
    seen: list[tuple[int, int]] = []
    client.make_bucket("images")
    client.put("images", "a b/ü+c", file, lambda done, whole: seen.append((done, whole)))
    assert server.seen[1] == ("PUT", "/images/a%20b/%C3%BC%2Bc", file.read_bytes())  # type: ignore[attr-defined]
    assert seen[-1] == (2304000, 2304000)


def test_refusals_carry_the_clouds_own_code_and_request(client: Client) -> None:
    with pytest.raises(Refused) as refusal:
        client.action("DeregisterImage", ImageId="ami-1")
    assert (refusal.value.name, refusal.value.text) == ("InvalidAMIID.NotFound", "InvalidAMIID.NotFound: no such image")
    assert (refusal.value.why, refusal.value.status) == ("request r-1", 3)
    with pytest.raises(Refused, match="NoSuchBucket: none"):
        client.delete("missing", "key")
    assert client.exists("missing", "key", 5) is False


def test_a_wrong_secret_is_refused(url: str) -> None:
    wrong = Client(url, url, "us-east-2", AccessKey("CCIATEST", Secret("another-secret"), "u", "1"))
    with pytest.raises(Refused) as refusal:
        wrong.action("DescribeImages")
    assert refusal.value.http_status == 403
    assert "another-secret" not in str(refusal.value)


def test_a_cloud_that_is_gone_says_so(client: Client, server: ThreadingHTTPServer, url: str) -> None:
    assert healthy(url) == (True, "")
    server.shutdown()
    server.server_close()
    well, reason = healthy(url)
    assert not well
    assert "refused" in reason
    with pytest.raises(Refusal) as refusal:
        client.action("DescribeImages")
    assert refusal.value.code is Code.UNAVAILABLE
    assert "cloudcore up" in refusal.value.hint
