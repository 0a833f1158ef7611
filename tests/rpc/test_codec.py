"""Dataclasses to JSON and back: by value, by property, and by what must be refused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, NewType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.rpc import codec
from cloudcore.rpc.codec import DEPTH, LIMIT, Undeclarable, coder, decode, dumps, encode, loads, pack, unpack
from cloudcore.rpc.faults import Malformed, TooLarge

InstanceId = NewType("InstanceId", str)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class State(Enum):
    PENDING = "pending"
    RUNNING = "running"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Nic:
    mac: str
    address: IPv4Address | None = None
    ports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    id: InstanceId
    state: State
    nics: tuple[Nic, ...]
    tags: dict[str, str]
    groups: frozenset[str]
    user_data: bytes | None
    weight: float
    protected: bool
    level: Level = Level.LOW
    size: int = 0
    kind: Literal["run", "stop"] = "run"
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    name: str
    below: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Loose:
    anything: Any


@dataclass(frozen=True)
class Texts:
    when: datetime
    network: IPv4Network


@dataclass(frozen=True)
class Picky:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("negative")


NICS = st.builds(Nic, TEXT, st.none() | st.ip_addresses(v=4), st.lists(st.tuples(INT64, INT64)).map(tuple))
GUESTS = st.builds(
    Guest, id=TEXT, state=st.sampled_from(State), nics=st.lists(NICS, max_size=3).map(tuple),
    tags=st.dictionaries(TEXT, TEXT), groups=st.frozensets(TEXT), user_data=st.none() | st.binary(),
    weight=st.floats(allow_nan=False, allow_infinity=False), protected=st.booleans(), level=st.sampled_from(Level),
    size=INT64, kind=st.sampled_from(["run", "stop"]), names=st.lists(TEXT),
)  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12,
)  # fmt: skip


@given(GUESTS)
def test_what_is_read_is_what_was_written(guest: Guest) -> None:
    assert decode(Guest, encode(guest)) == guest


@given(PLAIN)
def test_plain_json_comes_back_as_it_was(plain: Any) -> None:
    assert decode(Loose, encode(Loose(plain))).anything == plain


@given(PLAIN)
def test_any_json_is_read_or_refused_and_nothing_else(plain: Any) -> None:
    try:
        unpack(Guest, plain)
    except Malformed:
        return
    pytest.fail("no guest looks like that")


@given(GUESTS, st.data())
def test_a_damaged_value_is_read_or_refused_and_nothing_else(guest: Guest, data: st.DataObject) -> None:
    plain = pack(guest)
    name = data.draw(st.sampled_from(sorted(plain)))
    plain[name] = data.draw(PLAIN)
    try:
        read = unpack(Guest, plain)
    except Malformed as problem:
        refused = str(problem)
    else:
        assert type(read) is Guest
        return
    assert f"Guest.{name}" in refused


@given(st.binary(max_size=300) | st.text(alphabet='[]{}":,\\ 0an', max_size=300).map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(raw: bytes) -> None:
    for kind in (Guest, Loose, Tree):
        with suppress(Malformed):
            decode(kind, raw)


def test_the_wire_form_is_plain_to_read() -> None:
    guest = Guest("i-1", State.RUNNING, (Nic("02:00", IPv4Address("10.0.0.2"), ((22, 22),)),), {"Name": "ü"},
                  frozenset({"b", "a"}), b"#!", 1.5, False)  # fmt: skip
    assert pack(guest) == {
        "id": "i-1", "state": "running", "nics": [{"mac": "02:00", "address": "10.0.0.2", "ports": [[22, 22]]}],
        "tags": {"Name": "ü"}, "groups": ["a", "b"], "user_data": "IyE=", "weight": 1.5, "protected": False,
        "level": 1, "size": 0, "kind": "run", "names": [],
    }  # fmt: skip


def test_times_and_networks_travel_as_text() -> None:
    texts = Texts(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), IPv4Network("10.0.0.0/24"))
    assert pack(texts) == {"when": "2030-01-02T03:04:05+00:00", "network": "10.0.0.0/24"}
    assert unpack(Texts, pack(texts)) == texts


def test_a_class_may_contain_itself() -> None:
    tree = Tree("a", (Tree("b", (Tree("c"),)), Tree("d")))
    assert decode(Tree, encode(tree)) == tree


def test_fields_of_a_newer_writer_are_ignored() -> None:
    assert unpack(Nic, {"mac": "02:00", "speed": 10}) == Nic("02:00")


def test_fields_of_an_older_writer_take_their_defaults() -> None:
    assert unpack(Nic, {"mac": "02:00"}) == Nic("02:00", None, ())


def test_a_missing_field_without_default_is_named() -> None:
    with pytest.raises(Malformed, match=r"^Nic\.mac: missing$"):
        unpack(Nic, {})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"size": "1"}, "Guest.size: int wanted, not str"),
        ({"size": True}, "Guest.size: int wanted, not bool"),
        ({"size": 1.0}, "Guest.size: int wanted, not float"),
        ({"protected": 1}, "Guest.protected: bool wanted, not int"),
        ({"state": "flying"}, "Guest.state: not one of State"),
        ({"state": ["pending"]}, "Guest.state: not one of State"),
        ({"level": True}, "Guest.level: not one of Level"),
        ({"kind": "jump"}, "Guest.kind: not one of literal"),
        ({"user_data": "!"}, "Guest.user_data: not base64"),
        ({"nics": [{"mac": 7}]}, "Guest.nics[].mac: str wanted, not int"),
        ({"nics": [{"mac": "", "address": "10.0.0"}]}, "Guest.nics[].address: no IPv4Address"),
        ({"nics": [{"mac": "", "ports": [[1]]}]}, "Guest.nics[].ports[]: an array of 2 wanted"),
        ({"tags": {"Name": 1}}, "Guest.tags['Name']: str wanted, not int"),
        ({"groups": "a"}, "Guest.groups: an array wanted, not str"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(change: dict[str, Any], text: str) -> None:
    plain = pack(Guest("i", State.PENDING, (), {}, frozenset(), None, 0.0, False)) | change
    with pytest.raises(Malformed) as caught:
        unpack(Guest, plain)
    assert str(caught.value) == text


@pytest.mark.parametrize("bad", [Nic(7), Nic("", "10.0.0.1"), Nic("", None, ((1, 2, 3),)), Nic("", None, "ab")])
def test_the_writer_refuses_what_the_reader_would(bad: Nic) -> None:
    with pytest.raises(Malformed, match=r"^Nic\."):
        pack(bad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), object(), (1,), {1: 2}, b"x", {"a": {"b": float("nan")}}])
def test_what_json_would_bend_is_no_plain_value(bad: Any) -> None:
    with pytest.raises(Malformed):
        pack(Loose(bad))


@pytest.mark.parametrize("bad", [2**64, "\ud800"])
def test_what_json_cannot_say_is_refused(bad: Any) -> None:
    with pytest.raises(Malformed):
        encode(Loose(bad))


def test_a_string_enum_in_a_string_field_travels_as_its_value() -> None:
    class Word(str, Enum):  # noqa: UP042  (StrEnum would print as its value by itself)
        ONE = "one"

    assert encode(Nic(Word.ONE)) == b'{"mac":"one","address":null,"ports":[]}'


def test_what_a_class_refuses_is_malformed() -> None:
    with pytest.raises(Malformed, match=r"^Picky: ValueError$"):
        unpack(Picky, {"number": -1})


def test_the_limit_holds_in_both_directions() -> None:
    fits = dumps("x" * (LIMIT - 2))
    assert loads(fits) == "x" * (LIMIT - 2)
    with pytest.raises(TooLarge):
        dumps("x" * (LIMIT - 1))
    with pytest.raises(Malformed, match="the limit is"):
        loads(fits + b" ")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited_in_both_directions() -> None:
    assert loads(dumps(nested(DEPTH))) == nested(DEPTH)
    with pytest.raises(Malformed, match="nested"):
        dumps(nested(DEPTH + 1))
    for raw in (b"[" * 100_000, b"[" * 500 + b"]" * 500, b'{"a":' * 200 + b"1" + b"}" * 200):
        with pytest.raises(Malformed):
            loads(raw)


def test_brackets_inside_strings_do_not_count() -> None:
    text = '"[[[[{{{{\\' * 100
    assert loads(dumps([text, {text: text}])) == [text, {text: text}]


@pytest.mark.parametrize("raw", [b'"' * LIMIT, b'\\"' * (LIMIT // 2), b'["\\' * (LIMIT // 3), b"[" * LIMIT])
def test_hostile_text_is_refused_in_linear_time(raw: bytes) -> None:
    codec.depth(b"[" * DEPTH + b"{" + raw)
    with pytest.raises(Malformed):
        loads(raw)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Malformed, match="nested"):
        pack(Loose(loop))


@pytest.mark.parametrize("kind", [object, int | str, dict[int, str], set[int], complex, "Guest", tuple, type(nested)])
def test_what_cannot_travel_is_refused_when_it_is_declared(kind: Any) -> None:
    with pytest.raises(Undeclarable):
        coder(kind)


def test_orjson_reads_what_we_write() -> None:
    assert orjson.loads(encode(Nic("02:00"))) == {"mac": "02:00", "address": None, "ports": []}
