"""Theorems over the table of routes."""

from __future__ import annotations

import pytest

from cloudcore.domain.policy import permits, role_permits
from cloudcore.signing.heads import Head
from objectstore.access import ANY_PROJECT
from objectstore.intake import INLINE
from objectstore.refusals import STATUS, Refused
from objectstore.routes import ROUTES, SUBRESOURCES, Document, Route, Scope, find_route

PATHS = {Scope.SERVICE: "/", Scope.BUCKET: "/bucket", Scope.OBJECT: "/bucket/key"}


def head_for(route: Route) -> Head:
    query = "&".join(sorted(name for name in route.markers if not name.startswith("x-amz-")))
    headers = {name: "x" for name in route.markers if name.startswith("x-amz-")}
    return Head(route.method, PATHS[route.scope], query, {"host": "h", **headers})


def test_no_route_is_shadowed() -> None:
    for route in ROUTES:
        assert find_route(head_for(route)).route is route


def test_every_operation_stands_once_and_has_an_action_of_s3() -> None:
    names = [route.operation for route in ROUTES]
    assert len(set(names)) == len(names)
    assert all(route.action.startswith("s3:") and route.action != "s3:" for route in ROUTES)


def test_only_creating_and_listing_buckets_need_none() -> None:
    assert {route.operation for route in ROUTES if not route.needs_bucket} == {"CreateBucket", "ListBuckets"}


def test_a_user_of_a_project_may_do_everything_in_it_an_auditor_reads_and_only_an_administrator_leaves_it() -> None:
    for route in ROUTES:
        assert role_permits(frozenset({"user"}), route.action)
        assert not role_permits(frozenset(), route.action)
        if role_permits(frozenset({"auditor"}), route.action):
            assert route.method in ("GET", "HEAD")
    assert [role for role in ("admin", "operator", "user", "auditor")
            if role_permits(frozenset({role}), ANY_PROJECT)] == ["admin"]
    assert permits


def test_every_sub_resource_that_is_not_offered_is_501_and_never_another_operation() -> None:
    for scope, path in PATHS.items():
        for method in ("GET", "PUT", "POST", "DELETE"):
            offered = {route.markers for route in ROUTES
                       if route.scope is scope and route.method == method}
            for name in (*SUBRESOURCES, "abac", "what-comes-next"):
                head = Head(method, path, name, {"host": "h"})
                if frozenset({name}) in offered:
                    assert name in find_route(head).route.markers
                else:
                    with pytest.raises(Refused, match="NotImplemented"):
                        find_route(head)


def test_documents_have_limits_and_small_objects_fit_into_a_row() -> None:
    assert all(route.body.limit <= 4 << 20 for route in ROUTES if isinstance(route.body, Document))
    assert INLINE <= 64 << 10
    assert all(400 <= status < 600 or status == 304 for status in STATUS.values())
