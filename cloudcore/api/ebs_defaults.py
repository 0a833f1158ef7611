"""How volumes are encrypted where nobody says: not at all. Terraform and many scripts ask before they make one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.registry import Action, Nothing

KMS_KEY = "alias/aws/ebs"  # what EC2 answers an account that never chose a key of its own


async def get_encryption_by_default(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    call.rehearsed()
    return {"EbsEncryptionByDefault": False}


async def get_default_kms_key(call: Call, asked: Nothing) -> Mapping[str, Any] | None:
    call.rehearsed()
    return {"KmsKeyId": KMS_KEY}


ACTIONS = {
    "GetEbsEncryptionByDefault": Action(get_encryption_by_default, Nothing),
    "GetEbsDefaultKmsKeyId": Action(get_default_kms_key, Nothing),
}
