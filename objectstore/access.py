"""Who may: one step for every operation, and deny by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloudcore.domain.callers import Caller
from objectstore.refusals import Refused

# Outside of `s3:*`, which ordinary users have: only who may do everything reaches another project's buckets.
ANY_PROJECT = "objectstore:AnyProject"
OWN_BUCKETS = "objectstore:OwnBuckets"  # buckets of the cloud itself, whose names nobody else may take
RESERVED = ("cloudcore-snapshots",)


class Access:
    """`permits(caller, action)` is the policy (cloudcore.domain.policy.permits)."""

    def __init__(self, permits: Callable[[Caller, str], bool]) -> None:
        self._permits = permits

    def allowed(self, caller: Caller, action: str, bucket_owner: str | None) -> bool:
        """`bucket_owner` is the id of the project that owns the bucket; None when the action is about no bucket."""
        if bucket_owner in (None, caller.project_id):
            return self._permits(caller, action)
        far = replace(caller, roles=caller.everywhere)  # a role held in one project is none in another
        return self._permits(far, action) and self._permits(far, ANY_PROJECT)

    def authorise(self, caller: Caller, action: str, bucket_owner: str | None) -> None:
        if not self.allowed(caller, action, bucket_owner):
            raise Refused("AccessDenied", f"The user '{caller.user_name}' may not do {action} here")

    def may_name(self, caller: Caller, bucket: str) -> bool:
        return bucket not in RESERVED or self._permits(caller, OWN_BUCKETS)

    def expect(self, expected: str | None, bucket_owner: str | None) -> None:
        """x-amz-expected-bucket-owner, and x-amz-source-expected-bucket-owner for the source of a copy: the caller
        would rather fail than touch somebody else's bucket. The image worker, which may read every bucket, binds itself
        by it to the project that asked."""
        if expected is not None and bucket_owner is not None and expected != bucket_owner:
            raise Refused("AccessDenied", "The bucket does not belong to the expected account")
