"""Making key pairs, and the fingerprints by which clients compare them.

An imported RSA key is known by the MD5 of its public key in DER, a created one by the SHA-1 of its private key in
PKCS #8 DER, both as colon hex; an ED25519 key by the base64 SHA-256 of its public key, as OpenSSH has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_ssh_public_key,
)

from cloudcore.api.putty import ppk
from cloudcore.errors import CloudError, Code

BITS = (1024, 16384)  # what an imported RSA key may have
LONGEST = 16384  # bytes of imported material
NAMES = {b"ssh-rsa", b"ssh-ed25519"}


@dataclass(frozen=True, slots=True)
class Material:
    """`public` in one OpenSSH line; `private` in PEM or PuTTY's form, for one answer and no other place."""

    type: str  # rsa | ed25519
    fingerprint: str
    public: str
    private: str = field(default="", repr=False)


def generate(type: str, name: str, form: str = "pem") -> Material:
    """`form` is pem or ppk. RSA of 2048 bits takes a tenth of a second: call it off the reactor."""
    if type == "ed25519":
        young = ed25519.Ed25519PrivateKey.generate()
        pem = young.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = _line(young.public_key(), name)
        private = ppk(young, name) if form == "ppk" else pem.decode()
        return Material(type, _openssh_fingerprint(public), public, private)
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    private = ppk(key, name) if form == "ppk" else pem.decode()
    secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    fingerprint = _colons(hashlib.sha1(secret, usedforsecurity=False).hexdigest())
    return Material(type, fingerprint, _line(key.public_key(), name), private)


def imported(material: bytes) -> Material:
    """One OpenSSH line, or base64 of DER, as EC2 takes both; of several lines all but the first
    would be lost. Raises KEY_FORMAT."""
    refusal = CloudError(Code.KEY_FORMAT, "Key is not in valid OpenSSH public key format (ssh-rsa or ssh-ed25519)")
    if len(material) > LONGEST:
        raise refusal
    words = material.split(None, 2)
    key: object
    try:
        if words and words[0] in NAMES:
            if len(material.strip().splitlines()) > 1:
                raise refusal
            key = load_ssh_public_key(b" ".join(words[:2]))
        else:
            key = load_der_public_key(base64.b64decode(b"".join(words), validate=True))
    except (ValueError, UnsupportedAlgorithm, binascii.Error):
        raise refusal from None
    comment = words[2].strip().decode("utf-8", "replace") if len(words) == 3 and words[0] in NAMES else ""
    comment = "".join(one for one in comment if one.isprintable())[:128]
    if isinstance(key, ed25519.Ed25519PublicKey):
        public = _line(key, comment)
        return Material("ed25519", _openssh_fingerprint(public), public)
    if not isinstance(key, rsa.RSAPublicKey) or not BITS[0] <= key.key_size <= BITS[1]:
        raise refusal
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Material("rsa", _colons(hashlib.md5(der, usedforsecurity=False).hexdigest()), _line(key, comment))


def _line(key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey, comment: str) -> str:
    return f"{key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}".rstrip()


def _openssh_fingerprint(line: str) -> str:
    return base64.b64encode(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).decode()


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
