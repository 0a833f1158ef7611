"""Every action that we offer, by service and wire name. What is not here is unsupported, or no action at all."""

from __future__ import annotations

from collections.abc import Mapping

from cloudcore.api import (
    access_keys,
    address_actions,
    attribute_changes,
    attributes,
    default_network,
    ebs_defaults,
    empties,
    group_actions,
    identity,
    image_actions,
    instance_describes,
    instance_types,
    interfaces,
    key_actions,
    launching,
    lifecycle,
    metadata_options,
    monitoring,
    passwords,
    places,
    profile_actions,
    profile_associations,
    role_actions,
    rule_changes,
    screenshots,
    tagging,
    temporary_keys,
)
from cloudcore.api.registry import Action

ACTIONS: Mapping[str, Mapping[str, Action]] = {
    "ec2": {
        **launching.ACTIONS,
        **lifecycle.ACTIONS,
        **instance_describes.ACTIONS,
        **attributes.ACTIONS,
        **attribute_changes.ACTIONS,
        **metadata_options.ACTIONS,
        **monitoring.ACTIONS,
        **image_actions.ACTIONS,
        **key_actions.ACTIONS,
        **group_actions.ACTIONS,
        **address_actions.ACTIONS,
        **rule_changes.ACTIONS,
        **tagging.ACTIONS,
        **places.ACTIONS,
        **instance_types.ACTIONS,
        **default_network.ACTIONS,
        **interfaces.ACTIONS,
        **profile_associations.ACTIONS,
        **empties.ACTIONS,
        **ebs_defaults.ACTIONS,
        **passwords.ACTIONS,
        **screenshots.ACTIONS,
    },
    "sts": {**identity.STS, **temporary_keys.ACTIONS},
    "iam": {**identity.IAM, **access_keys.ACTIONS, **role_actions.ACTIONS, **profile_actions.ACTIONS},
}
