"""What a step works with: transactions, messages, and the points where a test may kill it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cloudcore.auth.instances import Keyring
from cloudcore.conductor.failpoints import Failpoint, none
from cloudcore.conductor.silence import Silence
from cloudcore.rpc.compute import COMPUTE, Compute, RemoteDisk
from cloudcore.rpc.contract import Bus, client
from cloudcore.rpc.faults import TimedOut
from cloudcore.rpc.images import IMAGES, Images
from cloudcore.rpc.network import NETWORK, Network
from cloudcore.rpc.scheduler import SCHEDULER, Needs, Scheduler, Selection
from cloudcore.rpc.volume import VOLUME, Volumes
from cloudcore.store.database import Store

T = TypeVar("T")


@dataclass(frozen=True)
class Means:
    """`owner` names this conductor in leases: the same again after a restart, another for each copy. `region` is what
    guests read in their metadata. Without a `keyring` no instance gets keys for its role. `remotes` is how volumes were
    last reached from other hosts: {volume: (instance, revision, where)}."""

    store: Store
    bus: Bus
    silence: Silence
    owner: str
    region: str
    failpoint: Failpoint = none
    keyring: Keyring | None = None
    clients: dict[str, Any] = field(default_factory=dict)
    remotes: dict[str, tuple[str, int, RemoteDisk]] = field(default_factory=dict, repr=False)

    async def transact(self, name: str, work: Callable[..., T], *args: Any) -> T:
        return await self.guarded(name, lambda: self.store.transact(work, *args))

    async def look(self, work: Callable[..., T], *args: Any) -> T:
        return await self.store.glance(work, *args)

    async def guarded(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        """The effect between its two failpoints."""
        self.failpoint(f"conductor.{name}.before")
        result = await effect()
        self.failpoint(f"conductor.{name}.after")
        return result

    async def tell(self, name: str, host: str, message: Callable[[], Awaitable[T]]) -> T:
        """A message to an agent of this host, between its two failpoints. Raises BusFault, CloudError. Services that
        may be away while the host's agents answer are silent under a name of their own."""
        return await self.guarded(name, lambda: self.answered(host, message))

    async def answered(self, host: str, message: Callable[[], Awaitable[T]]) -> T:
        self.silence.admit(host)
        try:
            answer = await message()
        except TimedOut:
            self.silence.begin(host)
            raise
        self.silence.end(host)
        return answer

    def compute(self, host: str) -> Compute:
        return self._client(f"compute.{host}", COMPUTE)

    def network(self, host: str) -> Network:
        return self._client(f"network.{host}", NETWORK)

    def volumes(self, host: str) -> Volumes:
        return self._client(f"{VOLUME.name}.{host}", VOLUME)

    def images(self) -> Images:
        return self._client(IMAGES.name, IMAGES)

    async def select(self, needs: Needs) -> Selection:
        scheduler: Scheduler = self._client(SCHEDULER.name, SCHEDULER)
        return await self.guarded("select", lambda: scheduler.select(needs))

    def _client(self, topic: str, contract: Any) -> Any:
        if topic not in self.clients:
            self.clients[topic] = client(contract, self.bus, topic)
        return self.clients[topic]
