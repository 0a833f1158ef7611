"""Images from addresses: what is followed, what is refused, and how transfers may end."""

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from cloudcore.errors import CloudError, Code
from cloudcore.images.downloading import Digest
from cloudcore.images.fetching import Limits, check_uri, choose, copy_file, fetch_uri, outside
from tests.virt.rigs import in_thread

INSIDE = Limits(size=3_000_000, inside=True)


class Canned(Protocol):
    """Answers any request with the bytes of its path, then closes."""

    def dataReceived(self, data):
        path = data.split(b" ")[1]
        self.factory.asked.append(path)
        self.transport.write(self.factory.answers[path])
        self.transport.loseConnection()


@pytest_twisted.async_yield_fixture
async def server():
    factory = Factory.forProtocol(Canned)
    factory.asked = []
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    factory.url = f"http://127.0.0.1:{port.getHost().port}"
    factory.answers = {
        b"/good": b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000,
        b"/endless": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 4_000_000,
        b"/short": b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_000_000,
        b"/gone": b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone",
        b"/sick": b"HTTP/1.1 503 Sick\r\nContent-Length: 0\r\n\r\n",
        b"/once": b"HTTP/1.1 302 Found\r\nLocation: /good\r\nContent-Length: 0\r\n\r\n",
        b"/loop": b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n",
        b"/file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        b"/nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"/noise": b"SSH-2.0-OpenSSH\r\n\r\n",
    }
    yield factory
    await port.stopListening()


async def fetched(server, path, limits=INSIDE):
    digest = Digest()
    await fetch_uri(reactor, in_thread, server.url + path, digest, limits)
    return digest


@pytest.mark.parametrize("path", ["/good", "/once"])
async def test_an_image_is_fetched_also_over_a_redirect(server, path):
    assert (await fetched(server, path)).size == 2_000_000


@pytest.mark.parametrize(("path", "code"), [
    ("/endless", Code.IMAGE_INVALID), ("/short", Code.UNAVAILABLE), ("/gone", Code.RESOURCE_UNKNOWN),
    ("/sick", Code.UNAVAILABLE), ("/loop", Code.BAD_VALUE), ("/file", Code.BAD_VALUE), ("/nowhere", Code.BAD_VALUE),
    ("/noise", Code.UNAVAILABLE),
])  # fmt: skip
async def test_whatever_else_a_server_says_has_its_refusal(server, path, code):
    with pytest.raises(CloudError) as problem:
        await fetched(server, path)
    assert problem.value.code is code


async def test_a_loop_of_redirects_ends(server):
    with pytest.raises(CloudError):
        await fetched(server, "/loop")
    assert len(server.asked) == 4


async def test_our_own_network_is_not_reached_unless_allowed(server):
    with pytest.raises(CloudError) as problem:
        await fetched(server, "/good", Limits())
    assert problem.value.code is Code.BAD_VALUE
    assert server.asked == []


@pytest.mark.parametrize("uri", [
    "", "file:///etc/passwd", "ftp://example.org/x", "gopher://example.org", "http://", "http:///x", "//example.org/x",
    "http://user:secret@example.org/", "http://example.org:99999/", "http://exa mple.org/", "http://exämple.org/",
    "http://example.org/\r\nHost: other", "http://[::1/",
])  # fmt: skip
def test_what_is_no_address_of_an_image_is_refused(uri):
    with pytest.raises(CloudError) as problem:
        check_uri(uri)
    assert problem.value.code is Code.BAD_VALUE


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1",  # noqa: S104
    "255.255.255.255", "240.0.0.1", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2001::1", "2001:db8::1",
])  # fmt: skip
def test_no_spelling_of_an_inner_address_is_outside(address):
    assert not outside(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "151.101.2.132", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_the_internet_is_outside(address):
    assert outside(address)


def test_a_name_that_leads_to_both_is_refused():
    with pytest.raises(CloudError):
        choose("sly.example.org", ["1.1.1.1", "127.0.0.1"], inside=False)
    assert choose("mirror", ["10.0.0.1"], inside=True) == "10.0.0.1"


async def test_a_file_of_this_machine_is_copied(tmp_path):
    (tmp_path / "disk").write_bytes(b"d" * 3_000_000)
    digest = Digest()
    assert await copy_file(in_thread, tmp_path / "disk", digest) == digest.size == 3_000_000


@pytest.mark.parametrize(("name", "code"), [("nothing", Code.RESOURCE_UNKNOWN), (".", Code.BAD_VALUE)])
async def test_what_is_no_file_is_refused(tmp_path, name, code):
    with pytest.raises(CloudError) as problem:
        await copy_file(in_thread, tmp_path / name, Digest())
    assert problem.value.code is code
