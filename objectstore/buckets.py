"""Operations on buckets and on what S3 hangs below them. What is not offered but can be asked for has the answer that
is true: the default, or S3's own word for "not set" (Ansible and Terraform read a dozen of them)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from objectstore.documents import DECLARATION, NAMESPACE, document, escape, group, parse_xml, tag
from objectstore.headers import refuse_lost
from objectstore.index.model import Bucket
from objectstore.listing import iso
from objectstore.names import valid_bucket
from objectstore.refusals import Refused
from objectstore.requests import XML, Answer, Request, Store


def require(bucket: Bucket | None) -> Bucket:
    """The chain looks the bucket up wherever the table says that one is needed."""
    if bucket is None:
        raise LookupError("the route of this operation needs no bucket")
    return bucket


async def list_buckets(store: Store, request: Request) -> Answer:
    limit = request.number("max-buckets", 10_000, 10_000)
    prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
    mine = [bucket for bucket in await store.index.buckets.of_project(request.caller.project_id)
            if bucket.name.startswith(prefix) and bucket.name > after]
    shown = mine[:limit]
    lines = [group("Bucket", tag("Name", bucket.name), tag("CreationDate", iso(bucket.created)),
                   tag("BucketRegion", store.regions[0])) for bucket in shown]
    more = tag("ContinuationToken", shown[-1].name) if shown and len(mine) > len(shown) else ""
    return Answer(200, (XML,), document(
        "ListAllMyBucketsResult", owner(request.caller.project_id, request.caller.project_name),
        group("Buckets", *lines), more, tag("Prefix", prefix or None)))


async def create_bucket(store: Store, request: Request) -> Answer:
    name = request.bucket_name
    if not valid_bucket(name):
        raise Refused("InvalidBucketName", f"The bucket name '{name}' is not valid")
    if not store.access.may_name(request.caller, name):
        raise Refused("BucketAlreadyExists", f"The bucket name '{name}' is taken")
    refuse_lost(request.headers)
    if request.headers.get("x-amz-bucket-object-lock-enabled", "false").lower() != "false":
        raise Refused("NotImplemented", "Object lock is not offered")
    if request.headers.get("x-amz-object-ownership", "BucketOwnerEnforced") != "BucketOwnerEnforced":
        raise Refused("NotImplemented", "Only the ownership BucketOwnerEnforced is offered")
    if request.body.strip():
        where = parse_xml(request.body, "CreateBucketConfiguration").get("LocationConstraint")
        if where and where not in store.regions:
            raise Refused("IllegalLocationConstraintException", f"The location '{where}' is not served here")
    await store.index.buckets.create(Bucket(name, request.caller.project_id, int(store.seconds())))
    return Answer(200, (("Location", f"/{name}"),))


async def head_bucket(store: Store, request: Request) -> Answer:
    return Answer(200, (("x-amz-bucket-region", store.regions[0]), ("Content-Type", "application/xml")))


async def delete_bucket(store: Store, request: Request) -> Answer:
    await store.index.buckets.delete(request.bucket_name)
    return Answer(204)


async def get_bucket_location(store: Store, request: Request) -> Answer:
    """Empty for us-east-1, as S3 has it."""
    region = store.regions[0]
    return Answer(200, (XML,), document("LocationConstraint", "" if region == "us-east-1" else escape(region)))


async def get_bucket_versioning(store: Store, request: Request) -> Answer:
    """Never enabled."""
    return Answer(200, (XML,), document("VersioningConfiguration"))


async def get_request_payment(store: Store, request: Request) -> Answer:
    return Answer(200, (XML,), document("RequestPaymentConfiguration", tag("Payer", "BucketOwner")))


async def get_bucket_logging(store: Store, request: Request) -> Answer:
    return Answer(200, (XML,), document("BucketLoggingStatus"))


async def get_bucket_notification(store: Store, request: Request) -> Answer:
    return Answer(200, (XML,), document("NotificationConfiguration"))


async def get_bucket_accelerate(store: Store, request: Request) -> Answer:
    return Answer(200, (XML,), document("AccelerateConfiguration"))


async def get_acl(store: Store, request: Request) -> Answer:
    """Of a bucket and of its objects: the owning project may do everything, as under BucketOwnerEnforced."""
    project = require(request.bucket).project
    who = tag("ID", project)
    grantee = f'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">{who}</Grantee>'
    grants = group("AccessControlList", group("Grant", grantee, tag("Permission", "FULL_CONTROL")))
    body = f'{DECLARATION}<AccessControlPolicy xmlns="{NAMESPACE}">{group("Owner", who)}{grants}</AccessControlPolicy>'
    return Answer(200, (XML,), body.encode())


def unset(code: str) -> Callable[[Store, Request], Awaitable[Answer]]:
    """For a configuration that no bucket can have yet."""

    async def refuse(store: Store, request: Request) -> Answer:
        raise Refused(code, f"The bucket '{request.bucket_name}' has no such configuration")

    return refuse


def owner(project_id: str, name: str) -> str:
    return group("Owner", tag("ID", project_id), tag("DisplayName", name))
