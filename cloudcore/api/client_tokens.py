"""Client tokens as requests bring them: one token, one result (store/requests.py)."""

from __future__ import annotations

import re

from cloudcore.api.calls import Call
from cloudcore.errors import CloudError, Code
from cloudcore.store.requests import Token

FORM = re.compile(r"[\x20-\x7e]{1,64}")


def token(call: Call, text: str | None) -> Token | None:
    """Raises BAD_VALUE."""
    if text is None:
        return None
    if not FORM.fullmatch(text):
        raise CloudError(Code.BAD_VALUE, "ClientToken has at most 64 ASCII characters")
    return Token(call.project, call.action, text, call.parameter_hash())
