"""PuTTY's key files: the two in tests/data/ were written by puttygen 0.78 (1,024 bits of RSA, and ED25519)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from cloudcore.api.key_material import generate
from cloudcore.api.putty import ppk

DATA = Path(__file__).resolve().parents[1] / "data"


def blob(text: str, name: str) -> bytes:
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{name}-Lines: "))
    count = int(lines[at].partition(": ")[2])
    return base64.b64decode("".join(lines[at + 1 : at + 1 + count]))


def strings(value: bytes) -> Iterator[bytes]:
    while value:
        length = int.from_bytes(value[:4], "big")
        yield value[4 : 4 + length]
        value = value[4 + length :]


def key_in(text: str) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    public, private = list(strings(blob(text, "Public"))), list(strings(blob(text, "Private")))
    if public[0] == b"ssh-ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(private[0])
    e, n, d, p, q, inverse = (int.from_bytes(one, "big") for one in public[1:] + private)
    numbers = rsa.RSAPublicNumbers(e, n)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), inverse, numbers).private_key()


@pytest.mark.parametrize("name", ["rsa", "ed25519"])
def test_a_file_is_to_the_byte_what_puttygen_writes(name: str) -> None:
    text = (DATA / f"{name}.ppk").read_text()
    assert ppk(key_in(text), "bench") == text


@pytest.mark.parametrize("type", ["rsa", "ed25519"])
def test_a_made_key_is_the_one_that_the_cloud_remembers(type: str) -> None:
    made = generate(type, "my key", "ppk")
    assert "\nComment: my key\n" in made.private
    assert base64.b64encode(blob(made.private, "Public")).decode() == made.public.split()[1]
    assert ppk(key_in(made.private), "my key") == made.private
