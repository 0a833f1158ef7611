from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cloudcore.auth.keys import new_access_key, new_project_id, new_secret, new_user_id
from cloudcore.auth.model import Secret
from cloudcore.auth.seal import Envelope, make_master_key, read_sealer
from cloudcore.errors import CloudError, Code


def test_a_sealed_secret_opens_and_does_not_show() -> None:
    sealer = Envelope(b"k" * 32, os.urandom)
    sealed = sealer.seal("KEY1", "the secret")
    assert "secret" not in sealed and sealer.unseal("KEY1", sealed) == "the secret"
    assert sealer.seal("KEY1", "the secret") != sealed


@pytest.mark.parametrize("spoil", [
    lambda sealed: ("KEY2", sealed),  # moved to another row
    lambda sealed: ("KEY1", sealed[:-4] + "AAAA"),
    lambda sealed: ("KEY1", "the secret"),  # never sealed
    lambda sealed: ("KEY1", "v1:"),
    lambda sealed: ("KEY1", "v1:%%%"),
])  # fmt: skip
def test_what_was_not_sealed_so_does_not_open(spoil: object) -> None:
    sealer = Envelope(b"k" * 32, os.urandom)
    with pytest.raises(CloudError) as refusal:
        sealer.unseal(*spoil(sealer.seal("KEY1", "the secret")))  # type: ignore[operator]
    assert refusal.value.code is Code.CONFIGURATION and "the secret" not in refusal.value.text


def test_another_master_key_does_not_open() -> None:
    sealed = Envelope(b"k" * 32, os.urandom).seal("KEY1", "the secret")
    with pytest.raises(CloudError):
        Envelope(b"l" * 32, os.urandom).unseal("KEY1", sealed)


def test_a_master_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    make_master_key(path, os.urandom)
    before = path.read_bytes()
    make_master_key(path, os.urandom)
    assert path.read_bytes() == before and len(before) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o400 and list(tmp_path.iterdir()) == [path]
    sealer = read_sealer(path, os.urandom)
    assert sealer.unseal("KEY1", sealer.seal("KEY1", "x")) == "x"


def test_a_loose_short_or_missing_master_key_is_refused(tmp_path: Path) -> None:
    loose, short = tmp_path / "loose", tmp_path / "short"
    loose.write_bytes(bytes(32))
    loose.chmod(0o644)
    short.write_bytes(bytes(31))
    short.chmod(0o400)
    for path in (loose, short, tmp_path / "missing"):
        with pytest.raises(CloudError) as refusal:
            read_sealer(path, os.urandom)
        assert refusal.value.code is Code.CONFIGURATION and str(path) in refusal.value.text


def test_extreme_randomness_still_gives_well_formed_names() -> None:
    for random in (bytes, lambda count: b"\xff" * count):
        assert len(new_access_key(random)) == 20 and len(new_secret(random)) == 40
        assert len(new_user_id(random)) == 21 and len(new_project_id(random)) == 12


def test_a_secret_does_not_show_in_text() -> None:
    secret = Secret("canary")
    assert "canary" not in f"{secret!r} {secret} {[secret]}" and secret.reveal() == "canary"
