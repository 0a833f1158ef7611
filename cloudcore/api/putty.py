"""Private keys as PuTTY keeps them: its file of version 2, without a passphrase, which every PuTTY and WinSCP reads.

The format is in appendix C of PuTTY's manual.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

MAC_KEY = hashlib.sha1(b"putty-private-key-file-mac-key", usedforsecurity=False).digest()  # no passphrase follows
WIDTH = 64


def ppk(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, comment: str) -> str:
    """The file's text. `comment` is one line."""
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()
    algorithm, public, private = line[0], base64.b64decode(line[1]), _private(key)
    signed = b"".join(map(_string, (algorithm, b"none", comment.encode(), public, private)))
    mac = hmac.new(MAC_KEY, signed, "sha1").hexdigest()
    return "\n".join([
        f"PuTTY-User-Key-File-2: {algorithm.decode()}", "Encryption: none", f"Comment: {comment}",
        *_lines("Public", public), *_lines("Private", private), f"Private-MAC: {mac}", ""])  # fmt: skip


def _private(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _string(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    numbers = key.private_numbers()
    return b"".join(map(_number, (numbers.d, numbers.p, numbers.q, numbers.iqmp)))


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _number(value: int) -> bytes:
    """SSH's mpint: a zero byte goes before a first bit that is set."""
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _lines(name: str, blob: bytes) -> list[str]:
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]
    return [f"{name}-Lines: {len(lines)}", *lines]
