"""Every failpoint of every service: what the crash proof must visit."""

from __future__ import annotations

from cloudcore.compute.failpoints import FAILPOINTS as COMPUTE
from cloudcore.conductor.failpoints import FAILPOINTS as CONDUCTOR
from cloudcore.network.agent import FAILPOINTS as NETWORK

FAILPOINTS: tuple[str, ...] = (*CONDUCTOR, *NETWORK, *COMPUTE)
