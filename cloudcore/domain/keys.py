"""The public half of a key pair, which is all that is ever kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyPair:
    id: str
    project: str
    name: str
    type: str  # rsa | ed25519
    fingerprint: str
    public_key: str  # OpenSSH, one line
    created: float  # seconds since the epoch
