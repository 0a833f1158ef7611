"""What a guest shows, for whoever asks the compute agent."""

from __future__ import annotations

from typing import Any

from cloudcore.compute.journal import Entry
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import Screenshot
from cloudcore.virt.screens import Screens


async def taken(screens: Screens | None, entry: Entry, wake: bool, clock: Any) -> Screenshot:
    """Raises CloudError: INSTANCE_STATE where it does not run, UNSUPPORTED where its hypervisor has no screens."""
    if screens is None:
        raise CloudError(Code.UNSUPPORTED, "guests of this host have no screen")
    instance = entry.wanted.instance
    if entry.outcome != "launched":
        raise CloudError(Code.INSTANCE_STATE, f"{instance} does not run")
    try:
        image = await screens.screenshot(instance, wake)
    except CloudError as problem:
        if problem.code is Code.PROGRAM_FAILED:  # it has just ended, or was defined before guests had screens
            raise CloudError(Code.INSTANCE_STATE, f"{instance} shows nothing: {problem.text}") from problem
        raise
    return Screenshot(image, clock.seconds())
