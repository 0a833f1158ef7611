"""botocore's own provider of instance credentials against our metadata service."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.credentials import InstanceMetadataProvider
from botocore.utils import InstanceMetadataFetcher
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from cloudcore.domain.instance_profiles import UNTRUSTED, InstanceRole
from cloudcore.domain.metadata_tree import Options
from tests.metadata.imds import Service, a_port, metadata_service

ARN = "arn:aws:iam::123456789012:instance-profile/web"
STRICT = Options(tokens="required")
SELF = "127.0.0.1"  # botocore binds no address of its own


def held(seconds: float = 21_600, **changes: Any) -> InstanceRole:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    made = InstanceRole("AIPA1", ARN, "2026-01-02T03:04:05Z", role="server", access_key="CCITKEY",
                        secret="s3cret", token="t0ken", expires=until.strftime("%Y-%m-%dT%H:%M:%SZ"))  # noqa: S106
    return replace(made, **changes)


def loaded(service: Service) -> Deferred[Any]:
    def load() -> Any:
        fetcher = InstanceMetadataFetcher(timeout=2, num_attempts=1, base_url=f"http://127.0.0.1:{service.port}/")
        try:
            found = InstanceMetadataProvider(fetcher).load()
            return found and found.get_frozen_credentials()  # asks again when the end is near, hence in this thread
        finally:
            fetcher._session.close()

    return deferToThread(load)


async def test_botocore_finds_the_role_its_key_and_its_token() -> None:
    async with metadata_service(replace(a_port(SELF, options=STRICT), role=held())) as service:
        found = await loaded(service)
        assert (found.access_key, found.secret_key, found.token) == ("CCITKEY", "s3cret", "t0ken")


async def test_botocore_takes_the_successor_when_it_is_there() -> None:
    async with metadata_service(replace(a_port(SELF), role=held(seconds=60))) as service:
        assert (await loaded(service)).access_key == "CCITKEY"
        service.agent.ports[SELF] = replace(a_port(SELF), role=held(access_key="CCITNEXT"))
        service.clock.now += 5
        assert (await loaded(service)).access_key == "CCITNEXT"


async def test_without_a_role_botocore_finds_nothing() -> None:
    async with metadata_service(a_port(SELF)) as service:
        assert await loaded(service) is None
        answer = await service.get("/latest/meta-data/iam/security-credentials/", by=SELF)
        assert answer.status == 404
        assert "iam" not in (await service.get("/latest/meta-data/", by=SELF)).text


async def test_a_role_that_instances_may_not_have_gives_botocore_nothing() -> None:
    refused = InstanceRole("AIPA1", ARN, "2026-01-02T03:04:05Z", UNTRUSTED, "server")
    async with metadata_service(replace(a_port(SELF), role=refused)) as service:
        assert await loaded(service) is None


async def test_what_the_guest_reads_follows_within_seconds() -> None:
    async with metadata_service(replace(a_port(), role=held())) as service:
        path = "/latest/meta-data/iam/security-credentials/server"
        assert (await service.get(path)).status == 200
        service.agent.ports["127.0.1.1"] = a_port()
        service.clock.now += 2
        assert (await service.get(path)).status == 404
