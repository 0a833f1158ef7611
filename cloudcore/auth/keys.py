"""Random names and secrets. The source of randomness (like os.urandom) is an argument everywhere."""

from __future__ import annotations

import base64

from cloudcore.domain.ids import RandomBytes

LETTERS_AND_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
BASE62 = LETTERS_AND_DIGITS + "abcdefghijklmnopqrstuvwxyz"


def new_access_key(random: RandomBytes) -> str:
    """CCIA and 16 of A-Z2-7: 80 bits, because an access key must not be guessed either (S48)."""
    return "CCIA" + base64.b32encode(random(10)).decode()


def new_temporary_key(random: RandomBytes) -> str:
    return "CCIT" + base64.b32encode(random(10)).decode()


def new_token(random: RandomBytes) -> str:
    """96 letters and digits, 571 bits: shorter than any header limit, and nothing can be read from it."""
    return digits(int.from_bytes(random(80)), BASE62, 96)


def new_role_id(random: RandomBytes) -> str:
    return "AROA" + digits(int.from_bytes(random(16)), LETTERS_AND_DIGITS, 17)


def new_profile_id(random: RandomBytes) -> str:
    return "AIPA" + digits(int.from_bytes(random(16)), LETTERS_AND_DIGITS, 17)


def new_secret(random: RandomBytes) -> str:
    """40 letters and digits, 238 bits: no sign that a shell, a URL or an INI file reads as more than itself."""
    return digits(int.from_bytes(random(32)), BASE62, 40)


def new_user_id(random: RandomBytes) -> str:
    return "AIDA" + digits(int.from_bytes(random(16)), LETTERS_AND_DIGITS, 17)


def new_project_id(random: RandomBytes) -> str:
    """Twelve digits, the first not 0: spreadsheets and shells eat leading zeros."""
    return str(10**11 + int.from_bytes(random(16)) % (9 * 10**11))


def digits(number: int, alphabet: str, count: int) -> str:
    """The last `count` digits of `number` in the base that `alphabet` spells."""
    found = []
    for _ in range(count):
        number, rest = divmod(number, len(alphabet))
        found.append(alphabet[rest])
    return "".join(found)
