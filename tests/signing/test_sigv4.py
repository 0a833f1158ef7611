"""What botocore signs we verify; what anybody changed, we refuse. botocore is the independent oracle."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.signing.heads import EMPTY_BODY, UNSIGNED_PAYLOAD, DuplicateHeader, Head, body_hash, encoded
from cloudcore.signing.signer import Signer, encoded_path, presign, sign
from cloudcore.signing.sigv4 import NOBODY, BadSignature, Expected, Kind, read_claim, verify

KEY, SECRET, REGION = "CCIAEXAMPLE", "wJalrXUtnFEMI", "us-east-2"
NOW = datetime.now(UTC).timestamp()
S3 = Signer(KEY, SECRET, REGION, "s3")


def expected(service: str = "s3", now: float = NOW) -> Expected:
    return Expected(now, (REGION, "us-east-1"), service)


def refusal(head: Head, secret: str | None = SECRET, service: str = "s3", now: float = NOW,
            payload: str = EMPTY_BODY) -> Kind | str | None:
    """Why the request is refused; None when it is accepted."""
    try:
        claim = read_claim(head)
        if claim is None:
            return "no credentials"
        known = secret if claim.access_key == KEY else None
        verify(claim, head, known, expected(service, now), payload)
    except BadSignature as bad:
        return bad.kind
    return None


def its_now() -> float:
    """botocore signs with the machine's clock; NOW is of when this file was read, which may be long ago."""
    return datetime.now(UTC).timestamp()


def by_botocore(auth: type, service: str, method: str, url: str, headers: dict[str, str] | None = None,
                body: bytes = b"", **more: object) -> Head:
    request = AWSRequest(method, url, headers=dict(headers or {}), data=body)
    auth(Credentials(KEY, SECRET), service, REGION, **more).add_auth(request)
    parts = urlsplit(request.url)
    sent = [(name.encode(), [str(value).encode()]) for name, value in request.headers.items()]
    target = parts.path + ("?" + parts.query if parts.query else "")
    return Head.read(method.encode(), target.encode(), [*sent, (b"Host", [parts.netloc.encode()])])


def a_signed_get(now: float = NOW, **headers: str) -> Head:
    head = Head("GET", "/bucket/key", "prefix=a%20b", {"host": "localhost:3333", **headers})
    return replace(head, headers=sign(head, S3, now))


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(key=text, query=st.lists(st.tuples(text, text), max_size=3), meta=st.text("abc XYZ09", max_size=9))
def test_what_botocore_signs_for_s3_is_verified(key: str, query: list[tuple[str, str]], meta: str) -> None:
    pairs = "&".join(f"{encoded(name)}={encoded(value)}" for name, value in query if not name.startswith("X-Amz"))
    url = f"http://127.0.0.1:3333{encoded_path('bucket', key)}?{pairs}"
    head = by_botocore(S3SigV4Auth, "s3", "PUT", url, {"x-amz-meta-a": meta}, b"body")
    assert refusal(head, now=its_now(), payload=head.headers["x-amz-content-sha256"]) is None
    presigned = by_botocore(S3SigV4QueryAuth, "s3", "GET", url, expires=60)
    assert refusal(presigned, now=its_now(), payload=UNSIGNED_PAYLOAD) is None


@given(body=st.binary(max_size=64))
def test_what_botocore_signs_for_ec2_is_verified_by_the_body(body: bytes) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    head = by_botocore(SigV4Auth, "ec2", "POST", "http://127.0.0.1:8773/", kind, body)
    assert refusal(head, service="ec2", now=its_now(), payload=body_hash(body)) is None
    assert refusal(head, service="ec2", now=its_now(), payload=body_hash(body + b"x")) is Kind.WRONG
    url = "http://127.0.0.1:8773/?Action=GetCallerIdentity&Version=2011-06-15"
    presigned = by_botocore(SigV4QueryAuth, "sts", "GET", url, expires=60)
    assert refusal(presigned, service="sts", now=its_now()) is None


def test_plus_and_percent_twenty_are_one_space_in_the_canonical_query() -> None:
    assert refusal(replace(a_signed_get(), query="prefix=a+b")) is None


@given(key=text, now=st.integers(946_684_800, 4_000_000_000))
def test_what_we_sign_and_presign_we_verify(key: str, now: int) -> None:
    head = Head("GET", encoded_path("bucket", key), "a=1&b=%2F", {"host": "h", "content-type": "text/plain"})
    assert refusal(replace(head, headers=sign(head, S3, now)), now=now) is None
    path, _, query = presign(replace(head, headers={"host": "h"}), S3, now, 60).partition("?")
    presigned = Head("GET", path, query, {"host": "h"})
    assert refusal(presigned, now=now, payload=UNSIGNED_PAYLOAD) is None
    assert refusal(presigned, now=now + 61, payload=UNSIGNED_PAYLOAD) is Kind.EXPIRED


@given(st.data())
def test_a_mutated_request_is_refused(data: st.DataObject) -> None:
    head = a_signed_get()
    place = data.draw(st.sampled_from(["method", "path", "query", "host", "x-amz-date", "authorization"]))
    old = getattr(head, place) if hasattr(head, place) else head.headers[place]
    at = data.draw(st.integers(0, len(old) - 1))
    letter = data.draw(st.sampled_from("abcXYZ0189/%=,; ").filter(lambda letter: letter != old[at]))
    new = old[:at] + letter + old[at + 1 :]
    changed = replace(head, **{place: new}) if hasattr(head, place) else replace(
        head, headers={**head.headers, place: new})
    if place == "authorization" and new.replace(" ", "") == old.replace(" ", ""):
        return
    assert refusal(changed) is not None


@pytest.mark.parametrize("name", ["x-amz-meta-a", "x-amz-acl", "x-amz-copy-source", "content-md5", "content-type",
                                  "x-amz-security-token"])
def test_s03_a_header_that_matters_must_be_signed(name: str) -> None:
    head = a_signed_get()
    assert refusal(replace(head, headers={**head.headers, name: "x"})) in (Kind.UNSIGNED, Kind.SESSION)


def test_a_session_token_is_part_of_what_is_signed() -> None:
    claim = read_claim(a_signed_get())
    assert claim is not None and claim.token is None
    asked = Head("GET", "/b/k", "", {"host": "h", "x-amz-security-token": "t"})
    head = replace(asked, headers=sign(asked, S3, NOW))
    claim = read_claim(head)
    assert claim is not None and claim.token == "t" and refusal(head) is None
    assert refusal(replace(head, headers={**head.headers, "x-amz-security-token": "u"})) is Kind.WRONG
    assert refusal(replace(head, query="X-Amz-Security-Token=t")) is Kind.MALFORMED


@pytest.mark.parametrize(("query", "headers"), [
    ("X-Amz-Security-Token=t&X-Amz-Security-Token=u", {}), ("x-amz-security-token=t", {}),
    ("X-Amz-Security-Token=t", {"x-amz-security-token": "t"}), ("", {"x-amz-security-token": "t"})])  # fmt: skip
def test_a_presigned_url_has_its_token_once_and_in_its_query(query: str, headers: dict[str, str]) -> None:
    path, _, query = presign(Head("GET", "/b/k", query, {"host": "h"}), S3, NOW, 60).partition("?")
    assert refusal(Head("GET", path, query, {"host": "h", **headers}), payload=UNSIGNED_PAYLOAD) is Kind.MALFORMED


def test_the_sdks_own_unsigned_headers_are_tolerated() -> None:
    head = a_signed_get()
    more = {"amz-sdk-invocation-id": "1", "amz-sdk-request": "attempt=1", "user-agent": "x", "accept-encoding": "gzip"}
    assert refusal(replace(head, headers={**head.headers, **more})) is None


def test_a_presigned_put_may_carry_a_content_type_but_no_unsigned_amz_header() -> None:
    path, _, query = presign(Head("PUT", "/b/k", "", {"host": "h"}), S3, NOW, 60).partition("?")
    assert refusal(Head("PUT", path, query, {"host": "h", "content-type": "a/b"}), payload=UNSIGNED_PAYLOAD) is None
    head = Head("PUT", path, query, {"host": "h", "x-amz-acl": "public-read"})
    assert refusal(head, payload=UNSIGNED_PAYLOAD) is Kind.UNSIGNED


def test_host_must_be_signed() -> None:
    head = a_signed_get()
    bare = head.headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=")
    assert refusal(replace(head, headers={**head.headers, "authorization": bare})) is Kind.UNSIGNED


@pytest.mark.parametrize(("minutes", "kind"), [(-16, Kind.SKEWED), (-15, None), (0, None), (15, None),
                                               (16, Kind.SKEWED)])
def test_s10_the_window_is_fifteen_minutes_either_way(minutes: int, kind: Kind | None) -> None:
    noon = 1_700_000_000 // 86400 * 86400 + 43200
    assert refusal(a_signed_get(noon + 60 * minutes), now=noon) is kind


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "x", "", "1.5", "٣"])
def test_s10_a_presigned_url_lives_one_second_to_seven_days(expires: str) -> None:
    path, _, query = presign(Head("GET", "/b", "", {"host": "h"}), S3, NOW, 60).partition("?")
    head = Head("GET", path, query.replace("X-Amz-Expires=60", f"X-Amz-Expires={expires}"), {"host": "h"})
    assert refusal(head, payload=UNSIGNED_PAYLOAD) is Kind.MALFORMED


def test_another_region_service_or_day_is_refused_and_an_alias_accepted() -> None:
    head = a_signed_get()
    assert refusal(head, service="ec2") is Kind.SCOPE
    for region, kind in (("us-east-1", None), ("eu-west-1", Kind.SCOPE), ("", Kind.SCOPE)):
        other = Head("GET", "/", "", {"host": "h"})
        signed = replace(other, headers=sign(other, replace(S3, region=region), NOW))
        assert refusal(signed) is kind
    today = head.headers["x-amz-date"][:8]
    moved = head.headers["authorization"].replace(f"/{today}/", "/20010101/")
    assert refusal(replace(head, headers={**head.headers, "authorization": moved})) is Kind.SCOPE


def test_an_unknown_key_looks_like_a_wrong_secret() -> None:
    texts = set()
    for secret in (None, "other"):
        claim = read_claim(head := a_signed_get())
        assert claim is not None
        with pytest.raises(BadSignature) as raised:
            verify(claim, head, secret, expected(), EMPTY_BODY)
        texts.add((raised.value.kind, raised.value.text))
    assert len(texts) == 1
    assert texts.pop()[0] is Kind.WRONG


def test_even_who_guesses_the_secret_of_unknown_keys_is_refused() -> None:
    head = Head("GET", "/", "", {"host": "h"})
    assert refusal(replace(head, headers=sign(head, replace(S3, secret=NOBODY), NOW)), secret=None) is Kind.WRONG


def test_an_announced_hash_that_is_not_the_body_is_refused() -> None:
    assert refusal(a_signed_get(), payload=body_hash(b"another body")) is Kind.WRONG


def test_a_request_without_credentials_makes_no_claim() -> None:
    assert read_claim(Head("GET", "/", "prefix=a", {"host": "h"})) is None


@pytest.mark.parametrize(("authorization", "kind"), [
    ("AWS AK:signature", Kind.UNSUPPORTED), ("Basic dTpw", Kind.UNSUPPORTED), ("", Kind.UNSUPPORTED),
    ("AWS4-HMAC-SHA256", Kind.MALFORMED), ("AWS4-HMAC-SHA256 Credential=x", Kind.MALFORMED),
    ("AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0", Kind.MALFORMED),
    ("AWS4-HMAC-SHA256 Credential=" + "a" * 200 + "/20200101/r/s3/aws4_request, SignedHeaders=host, Signature="
     + "0" * 64, Kind.MALFORMED)])
def test_what_cannot_be_read_is_told_apart(authorization: str, kind: Kind) -> None:
    head = Head("GET", "/", "", {"host": "h", "authorization": authorization, "x-amz-date": "20200101T000000Z"})
    assert refusal(head) is kind


def test_both_forms_at_once_and_signature_version_2_are_refused() -> None:
    head = a_signed_get()
    assert refusal(replace(head, query="X-Amz-Signature=0")) is Kind.MALFORMED
    assert refusal(Head("GET", "/", "AWSAccessKeyId=a&Signature=b&Expires=1", {"host": "h"})) is Kind.UNSUPPORTED
    assert refusal(Head("GET", "/", "X-Amz-Signature=0", {"host": "h"})) is Kind.MALFORMED


def test_a_signed_header_that_was_removed_is_refused() -> None:
    head = a_signed_get(**{"x-amz-meta-a": "1"})
    kept = {name: value for name, value in head.headers.items() if name != "x-amz-meta-a"}
    assert refusal(replace(head, headers=kept)) is Kind.MALFORMED


def test_a_date_header_serves_when_there_is_no_amz_date() -> None:
    head = a_signed_get()
    claim = read_claim(replace(head, headers={
        "host": "h", "date": "Tue, 14 Nov 2023 22:13:20 GMT",
        "authorization": head.headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=date;host;")}))
    assert claim is not None
    assert claim.stamp == "20231114T221320Z"


def test_a_header_may_not_come_twice_unless_it_is_harmless() -> None:
    for name in (b"X-Amz-Date", b"Host", b"Authorization", b"Content-Type", b"Range"):
        with pytest.raises(DuplicateHeader):
            Head.read(b"GET", b"/", [(name, [b"a", b"b"])])
    assert Head.read(b"GET", b"/", [(b"Accept", [b"a", b"b"])]).headers["accept"] == "a,b"


@given(st.binary(max_size=80), st.text(max_size=200), st.binary(max_size=80))
def test_no_request_whatever_crashes_the_reader(target: bytes, authorization: str, value: bytes) -> None:
    head = Head.read(b"GET", b"/" + target, [
        (b"Host", [value]), (b"Authorization", [b"AWS4-HMAC-SHA256 " + authorization.encode("utf-8", "replace")]),
        (b"X-Amz-Date", [value])])
    assert refusal(head) is not None
    assert refusal(replace(head, headers={"host": "h"}, query=authorization + "&X-Amz-Signature=")) is not None


def test_a_signer_keeps_its_secret_out_of_its_repr() -> None:
    assert SECRET not in repr(S3)
