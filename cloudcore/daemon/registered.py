"""Every failpoint of every service: what the crash proof must visit."""

from __future__ import annotations

from cloudcore.api.failpoints import FAILPOINTS as API
from cloudcore.compute.failpoints import FAILPOINTS as COMPUTE
from cloudcore.conductor.failpoints import FAILPOINTS as CONDUCTOR
from cloudcore.network.agent import FAILPOINTS as NETWORK

FAILPOINTS: tuple[str, ...] = (*API, *CONDUCTOR, *NETWORK, *COMPUTE)
