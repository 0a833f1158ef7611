"""Who may come in: signatures, clocks, scopes; and what an answer never tells."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from cloudcore.api.failpoints import FAILPOINTS, none
from cloudcore.api.wire_answers import ec2_error
from cloudcore.domain.instances import Event
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.faults import NobodyListens, TimedOut
from cloudcore.signing.heads import EMPTY_BODY, Head, body_hash
from cloudcore.signing.signer import Signer, presign, sign
from cloudcore.store.instances import LostRace

DESCRIBE = b"Action=DescribeInstances&Version=2016-11-15"
IDENTITY = b"Action=GetCallerIdentity&Version=2011-06-15"
FORM = {"host": "cloud:8773", "content-type": "application/x-www-form-urlencoded"}


def signed(house: Any, body: bytes = DESCRIBE, late: float = 0, secret: str | None = None, service: str = "ec2",
           region: str = "us-east-2", key: str | None = None, **headers: str) -> dict[str, str]:  # fmt: skip
    own_key, own_secret = house.keys["alice"]
    head = Head("POST", "/", "", {**FORM, **headers})
    signer = Signer(key or own_key, secret or own_secret, region, service)
    return sign(head, signer, house.clock.seconds() - late, body_hash(body))


def outcome(house: Any, headers: dict[str, str], body: bytes = DESCRIBE) -> tuple[int, str]:
    reply = house.respond(b"POST", b"/", headers, body)
    code = reply.document.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()
    return reply.status, code


@pytest.mark.parametrize("late", [-14 * 60, 0, 14 * 60])
def test_s10_a_date_within_fifteen_minutes_is_good(house: Any, late: float) -> None:
    house.clock.advance(3600 * 12)  # away from midnight, where the scope's day would change
    assert outcome(house, signed(house, late=late)) == (200, "")


@pytest.mark.parametrize("late", [-16 * 60, 16 * 60])
def test_s10_another_date_has_expired(house: Any, late: float) -> None:
    house.clock.advance(3600 * 12)
    assert outcome(house, signed(house, late=late)) == (400, "RequestExpired")
    headers = signed(house, IDENTITY, late=late, service="sts")
    assert outcome(house, headers, IDENTITY) == (403, "SignatureDoesNotMatch")


def test_s04_only_the_right_signature_opens(house: Any) -> None:
    refused = (401, "AuthFailure")
    assert outcome(house, FORM) == refused
    assert outcome(house, signed(house, secret="wrong")) == refused  # noqa: S106
    assert outcome(house, signed(house, key="CCIA0000000000000000")) == refused
    assert outcome(house, signed(house), DESCRIBE + b"&MaxResults=5") == refused
    assert outcome(house, signed(house, region="mars-1")) == refused
    assert outcome(house, signed(house, region="home")) == (200, "")  # an alias
    assert outcome(house, {**signed(house), "host": "elsewhere"}) == refused
    assert outcome(house, {**signed(house), "authorization": "Basic YWxpY2U6eA=="}) == refused
    assert outcome(house, {**signed(house), "authorization": "AWS4-HMAC-SHA256 nonsense"}) == refused


def test_an_unknown_key_and_a_wrong_secret_look_alike(house: Any) -> None:
    answers = []
    for changes in ({"secret": "wrong"}, {"key": "CCIA0000000000000000"}):
        reply = house.respond(b"POST", b"/", signed(house, **changes), DESCRIBE)
        answers.append(reply.document.replace(reply.request_id.encode(), b""))
    assert answers[0] == answers[1]


def test_s03_what_could_change_the_meaning_must_be_signed(house: Any) -> None:
    for header in ("x-amz-security", "content-md5", "x-amz-target"):
        assert outcome(house, {**signed(house), header: "x"})[0] == 401
    assert outcome(house, {**signed(house), "amz-sdk-request": "attempt=1"}) == (200, "")


def test_iam_may_be_signed_for_the_global_region(house: Any) -> None:
    body = b"Action=GetUser&Version=2010-05-08"
    assert outcome(house, signed(house, body, service="iam", region="us-east-1"), body) == (200, "")
    assert outcome(house, signed(house, IDENTITY, service="sts", region="us-east-1"), IDENTITY)[0] == 403


def test_a_presigned_get_works_until_it_expires(house: Any) -> None:
    key, secret = house.keys["alice"]
    house.clock.advance(3600 * 12)
    head = Head("GET", "/", IDENTITY.decode(), {"host": "cloud:8773"})
    target = presign(head, Signer(key, secret, "us-east-2", "sts"), house.clock.seconds(), 60, EMPTY_BODY)
    assert house.respond(b"GET", target.encode(), {"host": "cloud:8773"}).status == 200
    house.clock.advance(61)
    assert house.respond(b"GET", target.encode(), {"host": "cloud:8773"}).status == 403


def test_a_request_for_a_service_that_is_not_here_is_a_400_in_its_own_form(house: Any) -> None:
    headers = {**FORM, "x-amz-target": "AmazonSSM.GetParameter"}
    key, secret = house.keys["alice"]
    whole = sign(Head("POST", "/", "", headers), Signer(key, secret, "us-east-2", "ssm"), house.clock.seconds())
    reply = house.respond(b"POST", b"/", whole)
    assert (reply.status, reply.content_type) == (400, b"application/x-amz-json-1.1")


def test_a_header_that_comes_twice_is_refused(house: Any) -> None:
    raw = [(name.encode(), [value.encode()]) for name, value in signed(house).items()]
    raw.append((b"X-Amz-Date", [b"20260101T000000Z"]))
    got: list[Any] = []
    Deferred.fromCoroutine(house.api.respond(b"POST", b"/", raw, DESCRIBE)).addCallback(got.append)
    assert got[0].status == 400


def test_s31_limits(house: Any) -> None:
    many = b"&".join(b"InstanceId.%d=i-01234567" % n for n in range(999)) + b"&"
    assert house.send(DESCRIBE + b"&" + many[: many.rindex(b"&", 0, -1)]).status == 400  # none of them exists
    over = b"&".join(b"InstanceId.%d=i-01234567" % n for n in range(1000))
    assert b"InvalidRequest" in house.send(DESCRIBE + b"&" + over).document
    assert b"InvalidRequest" in house.send(DESCRIBE + b"&" + b"x" * 256 + b"=1").document


def run(house: Any, data: bytes) -> Any:
    text = base64.b64encode(data).decode()
    return house.ask("RunInstances", ImageId="ami-00000000000000001", MinCount=1, MaxCount=1, UserData=text)


def test_s31_user_data_has_16_kib(house: Any) -> None:
    assert run(house, b"x" * 16384).status == 200
    assert run(house, b"x" * 16385).code == "InvalidParameterValue"


@pytest.mark.logs_failures(1)
def test_s46_a_bug_answers_500_with_an_id_and_nothing_else(house: Any) -> None:
    house.beyond.refusal = RuntimeError("canary: /etc/shadow")
    answer = house.ask("RegisterImage", ImageLocation="b/k", Name="abc")
    assert (answer.status, answer.code) == (500, "InternalError")
    assert b"canary" not in answer.reply.document
    assert answer.reply.request_id in answer.text(".//RequestID")


def test_s46_what_the_database_says_stays_inside(house: Any) -> None:
    object.__setattr__(house.cloud, "database", Unavailable())
    answer = house.ask("DescribeInstances")
    assert (answer.status, answer.code) == (503, "Unavailable")
    assert b"canary" not in answer.reply.document


class Unavailable:
    def look(self, work: Any, *args: Any) -> Any:
        return fail(CloudError(Code.UNAVAILABLE, "canary: db.internal:5432"))

    glance = look


def test_a_host_that_does_not_answer_is_unavailable(house: Any) -> None:
    (id,) = house.run()
    house.moved(id, Event.GUEST_STARTED, "h1", "10.0.0.9")
    house.beyond.refusal = TimedOut("compute.h1")
    assert house.ask("GetConsoleOutput", InstanceId=id).code == "Unavailable"
    assert house.ask("RebootInstances", InstanceId__1=id).code == "Unavailable"
    house.beyond.refusal = NobodyListens("images")
    assert house.ask("RegisterImage", ImageLocation="b/k", Name="abc").code == "Unavailable"


@pytest.mark.parametrize(("code", "wire"), [
    (Code.IMAGE_INVALID, "InvalidParameterValue"), (Code.IMAGE_MANIFEST, "InvalidManifest"),
    (Code.RESOURCE_UNKNOWN, "InvalidParameterValue"), (Code.NOT_AUTHORISED, "UnauthorizedOperation")])  # fmt: skip
def test_what_the_image_worker_refuses(house: Any, code: Code, wire: str) -> None:
    house.beyond.refusal = CloudError(code, "the image 'b/k' names a backing file")
    answer = house.ask("RegisterImage", ImageLocation="b/k", Name="abc")
    assert (answer.code, "backing file" in answer.text(".//Message")) == (wire, True)


def test_s28_nothing_of_the_caller_reaches_the_answer_unescaped() -> None:
    document = ec2_error("Code", "<script>&\x00\ud800\r", "id")
    assert b"<script>" not in document
    assert b"&lt;script&gt;&amp;" in document
    assert b"&#13;" in document


def test_s45_secrets_and_user_data_stay_out_of_the_audit_record(house: Any) -> None:
    house.ask("RunInstances", ImageId="ami-00000000000000001", MinCount=1, MaxCount=1, UserData="Y2FuYXJ5",
              ClientToken="canary-token")  # fmt: skip
    house.ask("CreateKeyPair", KeyName="k", KeyType="ed25519")
    records = house.works(lambda books: books.audit.entries("111111111111"))
    assert [one.action for one in records] == ["ec2:CreateKeyPair", "ec2:RunInstances"]
    assert "canary" not in repr(records)
    assert "Y2FuYXJ5" not in repr(records)
    assert "PRIVATE KEY" not in repr(records)


def test_i18_one_record_per_mutation_none_for_rehearsals_repetitions_and_refusals(house: Any) -> None:
    given = {"ImageId": "ami-00000000000000001", "MinCount": 1, "MaxCount": 1}
    house.ask("RunInstances", **given, ClientToken="a")
    house.ask("RunInstances", **given, ClientToken="a")
    house.ask("RunInstances", **given, DryRun="true")
    house.ask("RunInstances", **{**given, "ImageId": "ami-0123456789abcdef0"})
    house.ask("DescribeInstances")
    assert len(house.works(lambda books: books.audit.entries("111111111111"))) == 1


def test_s53_what_is_refused_leaves_no_trace(house: Any) -> None:
    house.ask("CreateSecurityGroup", who="eve", GroupName="web", GroupDescription="d")
    house.ask("RunInstances", who="eve", ImageId="ami-00000000000000001", MinCount=1, MaxCount=1)
    assert house.works(lambda books: books.audit.entries("111111111111")) == []
    assert house.works(lambda books: books.quotas.usage("111111111111")) == {}
    assert house.beyond.hints == []


class Racing:
    """A database in which the first transactions lose."""

    def __init__(self, real: Any, losses: int) -> None:
        self._real, self._losses = real, losses

    def transact(self, work: Any, *args: Any) -> Any:
        if self._losses:
            self._losses -= 1
            return fail(LostRace("i-1"))
        return self._real.transact(work, *args)


@pytest.mark.parametrize(("losses", "status"), [(3, 200), (4, 503)])
def test_a_lost_race_is_run_again_a_few_times(house: Any, losses: int, status: int) -> None:
    object.__setattr__(house.cloud, "database", Racing(house.database, losses))
    assert house.ask("CreateSecurityGroup", GroupName="web", GroupDescription="d").status == status


@pytest.mark.parametrize(("point", "made"), list(zip(FAILPOINTS, (0, 1, 1), strict=True)))
def test_a_kill_before_the_commit_leaves_nothing_and_after_it_the_token_finds_everything(
    house: Any, point: str, made: int
) -> None:
    def kill(name: str) -> None:
        if name == point:
            raise CancelledError

    body = DESCRIBE.replace(b"DescribeInstances", b"RunInstances") + (
        b"&ImageId=ami-00000000000000001&MinCount=1&MaxCount=1&ClientToken=once")  # fmt: skip
    raw = [(name.encode(), [value.encode()]) for name, value in signed(house, body).items()]
    object.__setattr__(house.cloud, "failpoint", kill)
    ended: list[Failure] = []
    Deferred.fromCoroutine(house.api.respond(b"POST", b"/", raw, body)).addErrback(ended.append)
    assert ended[0].check(CancelledError)
    object.__setattr__(house.cloud, "failpoint", none)
    assert len(house.ask("DescribeInstances").texts(".//instanceId")) == made
    assert outcome(house, signed(house, body), body) == (200, "")
    assert len(house.ask("DescribeInstances").texts(".//instanceId")) == 1
