"""GetConsoleScreenshot: what a running instance shows, straight from its host."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import owned
from cloudcore.api.calls import Call
from cloudcore.api.lifecycle import answered
from cloudcore.api.registry import Action
from cloudcore.domain.instances import State
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import WantedScreenshot


@dataclass(frozen=True, slots=True)
class GetConsoleScreenshot:
    InstanceId: str
    WakeUp: bool = False


async def get_console_screenshot(call: Call, asked: GetConsoleScreenshot) -> Mapping[str, Any] | None:
    instance = await call.look(owned.one, call, asked.InstanceId)
    if instance.state is not State.RUNNING or instance.host is None:
        text = f"The instance '{instance.id}' is {instance.state.value}; only a running one shows anything"
        raise CloudError(Code.INSTANCE_STATE, text)
    host = call.cloud.compute_of(instance.host)
    shown = await answered(host.screenshot(WantedScreenshot(instance.id, asked.WakeUp)), instance.id)
    return {"InstanceId": instance.id, "ImageData": base64.b64encode(shown.image).decode()}


ACTIONS = {"GetConsoleScreenshot": Action(get_console_screenshot, GetConsoleScreenshot)}
