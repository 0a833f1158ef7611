import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.errors import CloudError, Code
from cloudcore.metadata.tokens import LONGEST, kept_secret, seconds_asked, seconds_left, token

NOW = 1_800_000_000.0
secrets = st.binary(min_size=32, max_size=32)


@given(secrets, st.text(max_size=30), st.integers(1, LONGEST), st.floats(0, LONGEST))
def test_a_token_is_good_until_its_time_is_over(secret, instance, lifetime, later):
    made = token(secret, instance, lifetime, NOW)
    left = seconds_left(secret, instance, made, NOW + later)
    assert (left > 0) == (later < lifetime) or abs(later - lifetime) < 0.01
    assert left <= lifetime


@given(secrets, secrets, st.text(max_size=9), st.text(max_size=9))
def test_a_token_is_bound_to_secret_and_instance(one, other, instance, neighbour):
    made = token(one, instance, 60, NOW)
    assert (seconds_left(other, instance, made, NOW) > 0) == (one == other)
    assert (seconds_left(one, neighbour, made, NOW) > 0) == (instance == neighbour)


@given(st.text(max_size=80))
def test_nonsense_is_no_token(text):
    assert seconds_left(b"s" * 32, "i-1", text, NOW) == 0


@given(st.text(max_size=8) | st.none())
def test_a_lifetime_is_a_plain_number(header):
    asked = seconds_asked(header)
    assert asked is None or (str(asked) == header.lstrip("0") and 1 <= asked <= LONGEST)


def test_the_secret_is_made_once_and_kept_to_ourselves(tmp_path):
    path = tmp_path / "state" / "token-secret"
    made = kept_secret(path, os.urandom)
    assert kept_secret(path, os.urandom) == made
    assert len(made) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o644), lambda path: path.write_bytes(b"short")])
def test_a_secret_that_is_none_is_refused(tmp_path, spoil):
    path = tmp_path / "token-secret"
    kept_secret(path, os.urandom)
    spoil(path)
    with pytest.raises(CloudError) as caught:
        kept_secret(path, os.urandom)
    assert caught.value.code is Code.STATE_DIRECTORY
