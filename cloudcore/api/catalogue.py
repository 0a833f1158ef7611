"""Every action that we offer, by service and wire name. What is not here is unsupported, or no action at all."""

from __future__ import annotations

from collections.abc import Mapping

from cloudcore.api import (
    address_actions,
    attributes,
    group_actions,
    identity,
    image_actions,
    instance_describes,
    key_actions,
    launching,
    lifecycle,
    places,
    tagging,
)
from cloudcore.api.registry import Action

ACTIONS: Mapping[str, Mapping[str, Action]] = {
    "ec2": {
        **launching.ACTIONS,
        **lifecycle.ACTIONS,
        **instance_describes.ACTIONS,
        **attributes.ACTIONS,
        **image_actions.ACTIONS,
        **key_actions.ACTIONS,
        **group_actions.ACTIONS,
        **address_actions.ACTIONS,
        **tagging.ACTIONS,
        **places.ACTIONS,
    },
    "sts": identity.STS,
    "iam": identity.IAM,
}
