from __future__ import annotations

import json
import socket

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from cloudcore.domain.metadata_tree import Options
from cloudcore.errors import CloudError, Code
from cloudcore.metadata.site import BODY, CONNECTIONS, REFUSED_HEADERS
from cloudcore.rpc.faults import TimedOut
from tests.metadata.imds import NOBODY, ONE, TWO, a_port, exchange, metadata_service

TOKEN = "X-aws-ec2-metadata-token"


async def test_each_guest_reads_its_own_whatever_it_says():
    async with metadata_service(a_port(ONE, b"one"), a_port(TWO, b"two")) as service:
        for address, data in ((ONE, b"one"), (TWO, b"two")):
            answer = await service.get("/latest/meta-data/local-ipv4", by=address)
            assert (answer.status, answer.text) == (200, address)
            assert (await service.get("/latest/user-data", by=address)).body == data


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_an_address_that_is_nobodys_learns_nothing(method):
    async with metadata_service(a_port()) as service:
        for path in ("/", "/latest/meta-data/", "/latest/api/token", "/nothing"):
            answer = await service.ask(method, path, by=NOBODY)
            assert (answer.status, answer.body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize("header", REFUSED_HEADERS)
async def test_who_is_asked_for_is_never_taken_from_a_header(header):
    async with metadata_service(a_port()) as service:
        assert (await service.get("/latest/meta-data/instance-id", {header: TWO})).status == 400
        assert (await service.token(**{header: TWO})).status == 400


async def test_a_token_opens_what_requires_one():
    async with metadata_service(a_port(options=Options(tokens="required"))) as service:
        assert (await service.get("/latest/meta-data/instance-id")).status == 401
        made = await service.token("60")
        assert (made.status, made.headers["x-aws-ec2-metadata-token-ttl-seconds"]) == (200, "60")
        answer = await service.get("/latest/meta-data/instance-id", {TOKEN: made.text})
        assert (answer.status, answer.text) == (200, "i-00000000000000001")
        assert answer.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
        service.clock.now += 59
        assert (await service.get("/latest/meta-data/instance-id", {TOKEN: made.text})).status == 200
        service.clock.now += 1
        assert (await service.get("/latest/meta-data/instance-id", {TOKEN: made.text})).status == 401


async def test_a_token_is_of_no_use_to_another_instance():
    async with metadata_service(a_port(ONE), a_port(TWO)) as service:
        made = await service.token(by=ONE)
        assert (await service.get("/latest/meta-data/instance-id", {TOKEN: made.text}, by=TWO)).status == 401


@pytest.mark.parametrize("forged", ["", "x", "AAAA", "=" * 56, "é", "A" * 4000, "-" * 56])
async def test_a_bad_token_is_refused_even_where_none_is_required(forged):
    async with metadata_service(a_port()) as service:
        assert (await service.get("/latest/meta-data/instance-id")).status == 200
        headers = {TOKEN: forged.encode("latin-1")}
        assert (await service.get("/latest/meta-data/instance-id", headers)).status == 401


async def test_each_bit_of_a_token_counts():
    async with metadata_service(a_port()) as service:
        made = (await service.token()).text
        swapped = [made[:at] + ("A" if made[at] != "A" else "B") + made[at + 1 :] for at in range(0, 52, 3)]
        answers = await gatherResults([service.get("/latest/meta-data/", {TOKEN: one}) for one in swapped])
        assert {answer.status for answer in answers} == {401}


@pytest.mark.parametrize(("lifetime", "status"), [
    (None, 400), ("0", 400), ("-1", 400), ("21601", 400), ("x", 400), ("", 400), ("1.5", 400), ("9" * 100, 400),
    ("1", 200), ("21600", 200),
])  # fmt: skip
async def test_a_token_lives_for_one_second_to_six_hours(lifetime, status):
    async with metadata_service(a_port()) as service:
        assert (await service.token(lifetime)).status == status


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reading_is_allowed(method):
    async with metadata_service(a_port()) as service:
        answer = await service.ask(method, "/latest/meta-data/")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, PUT")
        assert (await service.ask("PUT", "/latest/meta-data/")).status == 405


async def test_head_says_what_get_would():
    async with metadata_service(a_port()) as service:
        answer = await service.ask("HEAD", "/latest/meta-data/instance-id")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "19")


async def test_a_disabled_endpoint_says_forbidden():
    async with metadata_service(a_port(options=Options(endpoint="disabled"))) as service:
        assert (await service.get("/latest/meta-data/")).status == 403
        assert (await service.token()).status == 403


@pytest.mark.parametrize(("path", "status"), [
    ("/", 200), ("/latest", 200), ("/latest/", 200), ("//latest//meta-data//instance-id", 200),
    ("/latest/meta-data", 200), ("/2021-03-23/meta-data/instance-id", 200), ("/1.0/meta-data/", 200),
    ("/latest/user-data", 404), ("/2031-01-01/meta-data/", 404), ("/latest/meta-data/iam/", 404), ("/../etc", 404),
    ("/latest/meta-data/%00", 404), ("/latest/meta-data/%ff%fe", 404), ("/latest/meta-data/instance-id?x=1", 200),
    ("/latest/meta-data/network/interfaces/macs/06%3A00%3A00%3A00%3A00%3A01/mac", 200), ("/latest/api/token", 404),
])  # fmt: skip
async def test_paths(path, status):
    async with metadata_service(a_port()) as service:
        answer = await service.get(path)
        assert answer.status == status
        assert answer.headers["server"] == "cloudcore"


async def test_user_data_are_the_bytes_that_were_given():
    data = bytes(range(256))
    async with metadata_service(a_port(ONE, data)) as service:
        answer = await service.get("/latest/user-data")
        assert (answer.body, answer.headers["content-type"]) == (data, "application/octet-stream")


async def test_a_connection_is_kept_and_its_owner_asked_for_once_in_two_seconds():
    async with metadata_service(a_port()) as service:
        connection = service.connection()
        for _ in range(30):
            assert (await deferToThread(exchange, connection, "GET", "/latest/meta-data/mac")).status == 200
        assert service.agent.asked == [ONE]
        service.clock.now += 2
        service.agent.ports.clear()
        assert (await deferToThread(exchange, connection, "GET", "/latest/meta-data/mac")).status == 404
        connection.close()


async def test_an_address_with_a_new_owner_never_answers_for_the_old_one():
    """New connections ask anew, however soon: nothing is remembered by address."""
    async with metadata_service(a_port()) as service:
        assert (await service.get("/latest/meta-data/instance-id")).text == "i-00000000000000001"
        service.agent.ports[ONE] = a_port(ONE, instance_id="i-heir")
        assert (await service.get("/latest/meta-data/instance-id")).text == "i-heir"
        service.agent.ports.clear()
        assert (await service.get("/latest/meta-data/instance-id")).status == 404


@pytest.mark.parametrize(("path", "waited", "told"), [
    ("/latest/meta-data/iam/secret", 1.5, "a guest left after 1.5 s without the answer below /latest"),
    ("/hunter2", 2.0, "a guest left after 2.0 s without the answer below /..."),
    ("/latest/user-data", 0.9, None),
])  # fmt: skip
async def test_a_guest_that_waited_in_vain_is_noted_without_what_it_asked(path, waited, told):
    lines = []
    watch = lambda event: lines.append(formatEvent(event)) if event["log_level"] is LogLevel.warn else None  # noqa: E731
    globalLogPublisher.addObserver(watch)
    try:
        async with metadata_service(a_port()) as service:
            service.agent.silent = True
            with socket.create_connection(("127.0.0.1", service.port), 5, (ONE, 0)) as guest:
                guest.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                while not service.agent.asked:
                    await deferLater(reactor, 0.01, lambda: None)
                service.clock.now += waited
    finally:
        globalLogPublisher.removeObserver(watch)
    assert lines == ([told] if told else [])


@pytest.mark.parametrize("broken", [TimedOut("slow"), CloudError(Code.INTERNAL, "no")])
async def test_an_agent_that_does_not_answer_makes_us_unavailable(broken):
    async with metadata_service(a_port()) as service:
        service.agent.broken = broken
        answer = await service.get("/latest/meta-data/")
        assert (answer.status, answer.body) == (503, b"503 Service Unavailable\n")


@pytest.mark.logs_failures(1)
async def test_what_breaks_inside_is_not_shown():
    async with metadata_service(a_port()) as service:
        service.agent.broken = RuntimeError("secret detail")
        assert b"secret" not in (await service.get("/latest/meta-data/")).body


async def test_bodies_are_bounded():
    async with metadata_service(a_port()) as service:
        asked = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        assert (await service.ask("PUT", "/latest/api/token", asked, body=b"x" * BODY)).status == 200
        long = f"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY + 1}\r\n\r\n".encode()
        assert (await service.raw(long)).startswith(b"HTTP/1.1 413")
        chunked = b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await service.raw(chunked + (b"800\r\n" + b"x" * 2048 + b"\r\n") * 4)
        assert b"413" in answer
        assert b" 200 " not in answer


async def test_one_guest_cannot_take_every_connection():
    async with metadata_service(a_port(ONE), a_port(TWO)) as service:
        held = [service.connection() for _ in range(CONNECTIONS)]
        for connection in held:
            assert (await deferToThread(exchange, connection, "GET", "/latest/meta-data/mac")).status == 200
        assert await service.raw(b"GET / HTTP/1.0\r\n\r\n") == b""
        assert (await service.get("/latest/meta-data/mac", by=TWO)).status == 200
        for connection in held:
            connection.close()
        assert (await service.get("/latest/meta-data/mac")).status == 200


def crawl(connection, version: str, headers: dict[str, str]) -> dict[str, str]:
    """As cloud-init reads meta-data: names with a slash are directories, `0=name` means `0/openssh-key`."""
    found = {}

    def read(path: str) -> str:
        answer = exchange(connection, "GET", path, headers)
        assert answer.status == 200, path
        return answer.text

    def walk(base: str) -> None:
        for name in read(base).splitlines():
            if base.endswith("/public-keys/"):
                name = name.partition("=")[0] + "/openssh-key"
                found[base + name] = read(base + name)
            elif name.endswith("/"):
                walk(base + name)
            else:
                found[base + name] = read(base + name)

    walk(f"/{version}/meta-data/")
    return found


async def test_the_order_in_which_cloud_init_asks():
    async with metadata_service(a_port(ONE, b"#cloud-config\n", Options(tokens="required"))) as service:
        connection = service.connection()

        def boot() -> None:
            asked = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            headers = {TOKEN: exchange(connection, "PUT", "/latest/api/token", asked).text}
            for version in ("2021-03-23", "2018-09-24", "2016-09-02"):
                if exchange(connection, "GET", f"/{version}/meta-data/instance-id", headers).status == 200:
                    break
            assert version == "2021-03-23"
            assert exchange(connection, "GET", f"/{version}/user-data", headers).body == b"#cloud-config\n"
            found = crawl(connection, version, headers)
            assert found[f"/{version}/meta-data/public-keys/0/openssh-key"] == "ssh-ed25519 AAAA mine\n"
            assert found[f"/{version}/meta-data/local-ipv4"] == ONE
            assert len(found) > 30
            identity = f"/{version}/dynamic/instance-identity"
            for leaf in exchange(connection, "GET", identity, headers).text.splitlines():
                document = json.loads(exchange(connection, "GET", f"{identity}/{leaf}", headers).body)
            assert document["region"] == "core"

        await deferToThread(boot)
        connection.close()


async def test_an_older_cloud_init_asks_without_a_token():
    async with metadata_service(a_port(ONE)) as service:
        connection = service.connection()
        found = await deferToThread(crawl, connection, "2009-04-04", {})
        assert found["/2009-04-04/meta-data/instance-id"] == "i-00000000000000001"
        connection.close()
