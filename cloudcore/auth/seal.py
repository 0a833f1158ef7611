"""Secret keys at rest. SigV4 needs the secret itself, so it cannot be hashed; it is sealed under a master key that
lives in a file beside the database and not in it: a stolen database or backup alone opens nothing.

AES-256-GCM, 96 random bits of nonce for each secret, the access key as associated data: a sealed secret moved to
another row does not open. 2^32 secrets per master key are safe with random nonces, far beyond any cloud of ours.
"""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloudcore.domain.ids import RandomBytes
from cloudcore.errors import CloudError, Code

KEY_BYTES, NONCE_BYTES = 32, 12
FORM = "v1"


class Sealer(Protocol):
    def seal(self, access_key: str, secret: str) -> str: ...

    def unseal(self, access_key: str, sealed: str) -> str:
        """Raises CloudError(CONFIGURATION) when this master key did not seal it."""


class Envelope:
    """The Sealer under one master key of 32 bytes."""

    def __init__(self, master_key: bytes, random: RandomBytes) -> None:
        self._cipher, self._random = AESGCM(master_key), random

    def seal(self, access_key: str, secret: str) -> str:
        nonce = self._random(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode(), access_key.encode())
        return f"{FORM}:" + base64.b64encode(nonce + sealed).decode()

    def unseal(self, access_key: str, sealed: str) -> str:
        form, _, text = sealed.rpartition(":")
        try:
            raw = base64.b64decode(text if form == FORM else "", validate=True)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], access_key.encode()).decode()
        except (ValueError, InvalidTag):
            raise CloudError(Code.CONFIGURATION, f"The secret of {access_key} was not sealed by this master key: is "
                                                 f"the key file the one this database was made with?") from None


def make_master_key(path: Path, random: RandomBytes) -> None:
    """Writes a new key, 0400, unless there is one: replacing a key would lock every account out."""
    if path.exists():
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        os.write(handle, random(KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(aside, path)  # unlike rename, refuses to replace the key of somebody quicker
    except FileExistsError:
        pass
    finally:
        aside.unlink()


def read_sealer(path: Path, random: RandomBytes) -> Envelope:
    """Refuses a key that others may read (S51) or that is not 32 bytes: CloudError(CONFIGURATION)."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as fault:
        raise CloudError(Code.CONFIGURATION, f"The master key {path} cannot be read: {fault.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise CloudError(Code.CONFIGURATION, f"The master key {path} is open to others (mode {mode:04o}): "
                                                 f"chmod 0400 {path}")
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise CloudError(Code.CONFIGURATION, f"The master key {path} must have {KEY_BYTES} bytes, and has another size")
    return Envelope(key, random)
