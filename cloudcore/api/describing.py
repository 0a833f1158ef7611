"""The describe engine: one table per kind of resource answers all its describes.

Order of work: ids (well-formed, then known to this account; the first bad one fails the call), filters that an index
can serve, the remaining filters on the wire form of the answer, one page, the place where the next begins. Tags and
tag filters come with the engine. Foreign equals absent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cloudcore.api import pages
from cloudcore.api.calls import Call
from cloudcore.api.wire_answers import wire_form
from cloudcore.domain.filters import LONGEST, MOST_VALUES, Matcher, any_of, is_exact
from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Cursor, Wanted

T = TypeVar("T")
MOST = 1000  # per page, also where none was asked for
View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    Name: str | None = None
    Values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    created: float
    id: str
    value: T


@dataclass(frozen=True)
class Kind(Generic[T]):
    """`fetch` yields rows by (created, id); `view` is one item of the answer, with its tags in the form of the answer.

    `filters` maps a filter's name to the path of member names whose values it compares; `columns` maps those that an
    index serves to their column. `page` bounds MaxResults; None: the action cannot page. `tags` is the kind of the
    tags, None for what bears none; `stored` says that a table is behind `fetch`, which can select by tags. `unknown`
    and `malformed` are None for what has no ids, or ids without a form.
    """

    fetch: Callable[[Books, Call, Wanted], Sequence[Row[T]]]
    view: Callable[[Call, T, list[dict[str, str]]], View]
    filters: Mapping[str, str]
    noun: str = "ID"
    tags: str | None = None
    unknown: Code | None = None
    malformed: Code | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    page: tuple[int, int] | None = (5, MOST)
    stored: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """What every describe asks."""

    ids: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    most: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    items: list[View]
    token: str | None


def describe(books: Books, call: Call, kind: Kind[Any], asked: Asked) -> Found:
    """Raises the kind's `malformed` and `unknown`, BAD_VALUE, BAD_COMBINATION, BAD_PAGE_TOKEN."""
    ids = tuple(dict.fromkeys(asked.ids))
    for id in ids:
        if kind.malformed and kind.tags and not well_formed(kind.tags, id):
            raise CloudError(kind.malformed, f"Invalid {kind.noun}: '{id}'")
    wanted, tests = _plan(call, kind, asked, ids)
    size = MOST if asked.most is None else asked.most
    limit = size if kind.page else None
    items: list[View] = []
    place: Cursor | None = None
    for row, view in _views(books, call, kind, wanted, limit if not tests else None):
        if not all(test(values_at(view, path)) for path, test in tests):
            continue
        if limit is not None and len(items) == limit and place is not None:
            return Found(items, pages.seal(call.cloud.page_secret, _purpose(call), place))
        items.append(view)
        place = (row.created, row.id)
    return Found(items, None)


def _purpose(call: Call) -> str:
    return f"{call.project} {call.service}:{call.action}"


def _views(books: Books, call: Call, kind: Kind[Any], wanted: Wanted,
           limit: int | None) -> Iterator[tuple[Row[Any], View]]:  # fmt: skip
    """All that `wanted` selects, fetched in chunks. `limit` is how many the caller takes at most, when it is known."""
    chunk, after, missing = MOST if limit is None else limit + 1, wanted.after, list(wanted.ids or ())
    while True:
        rows = kind.fetch(books, call, Wanted(wanted.ids, after, max(chunk, len(missing)), wanted.equal, wanted.tagged))
        if missing:
            _check_known(kind, missing, rows)
        tags = books.tags.of(call.project, [row.id for row in rows]) if kind.tags and rows else {}
        for row in rows:
            own = tags.get(row.id)
            yield row, kind.view(call, row.value, [{"Key": key, "Value": own[key]} for key in own] if own else [])
        if len(rows) < chunk or missing:
            return
        after = (rows[-1].created, rows[-1].id)


def _check_known(kind: Kind[Any], ids: Sequence[str], rows: Sequence[Row[Any]]) -> None:
    found = {row.id for row in rows}
    unknown = [id for id in ids if id not in found]
    if unknown and kind.unknown:
        plural = "s" if len(unknown) > 1 else ""
        raise CloudError(kind.unknown, f"The {kind.noun}{plural} '{', '.join(unknown)}' do"
                                       f"{'' if plural else 'es'} not exist")  # fmt: skip


def _plan(call: Call, kind: Kind[Any], asked: Asked,
          ids: tuple[str, ...]) -> tuple[Wanted, list[tuple[tuple[str, ...], Matcher]]]:  # fmt: skip
    """What the database serves, and the tests that remain."""
    _check_page(kind, asked)
    equal: dict[str, Collection[str]] = {}
    tagged: dict[str, Collection[str] | None] = {}
    tests: list[tuple[tuple[str, ...], Matcher]] = []
    for name, values in _filters(kind, asked.filters):
        exact, indexed = all(map(is_exact, values)), not ids  # with ids, an unknown one must show
        if name.startswith("tag:"):
            if exact and indexed and kind.stored and name[4:] not in tagged:
                tagged[name[4:]] = values
            else:
                tests.append((("Tags", f"={name[4:]}"), any_of(values)))
        elif name in kind.columns and exact and indexed and kind.columns[name] not in equal:
            equal[kind.columns[name]] = values
        else:
            tests.append((tuple(kind.filters[name].split(".")), any_of(values)))
    after = None
    if asked.token is not None:
        created, id = pages.unseal(call.cloud.page_secret, _purpose(call), asked.token)
        after = float(created), id
    return Wanted(ids or None, after, MOST, equal, tagged), tests


def _check_page(kind: Kind[Any], asked: Asked) -> None:
    if asked.ids and (asked.most is not None or asked.token is not None):
        raise CloudError(Code.BAD_COMBINATION, "MaxResults and NextToken cannot be used together with ids")
    if asked.most is not None and kind.page and not kind.page[0] <= asked.most <= kind.page[1]:
        least, most = kind.page
        text = f"Value ( {asked.most} ) for parameter maxResults is invalid. Expecting a value from {least} to {most}."
        raise CloudError(Code.BAD_VALUE, text)


def _filters(kind: Kind[Any], filters: Sequence[Filter]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for one in filters:
        name = kind.aliases.get(one.Name or "", one.Name or "")
        if not (name in kind.filters or (kind.tags and len(name) > 4 and name.startswith("tag:"))):
            raise CloudError(Code.BAD_VALUE, f"The filter '{one.Name}' is invalid")
        if not one.Values:
            raise CloudError(Code.BAD_VALUE, f"The filter '{one.Name}' needs values")
        if len(one.Values) > MOST_VALUES:
            text = f"The filter '{one.Name}' has {len(one.Values)} values; the maximum is {MOST_VALUES}"
            raise CloudError(Code.BAD_VALUE, text)
        if any(len(value) > LONGEST for value in one.Values):
            raise CloudError(Code.BAD_VALUE, f"A value of the filter '{one.Name}' is longer than {LONGEST} characters")
        yield name, one.Values


def values_at(view: Any, path: Sequence[str]) -> Iterator[str]:
    """The values at a path of member names, in their wire form; lists on the way are entered. `=key` takes the value of
    the tag with that key."""
    if isinstance(view, (list, tuple)):
        for item in view:
            yield from values_at(item, path)
    elif view is None:
        return
    elif not path:
        yield wire_form(view)
    elif path[0].startswith("="):
        if view["Key"] == path[0][1:]:
            yield view["Value"]
    else:
        yield from values_at(view.get(path[0]), path[1:])


TAG_FILTERS = {"tag-key": "Tags.Key", "tag-value": "Tags.Value"}


def listed(rows: Sequence[Row[T]], wanted: Wanted) -> list[Row[T]]:
    """A page of what is not in the database; all rows are `created` at 0."""
    after = wanted.after[1] if wanted.after else ""
    chosen = [row for row in rows if row.id > after and (wanted.ids is None or row.id in wanted.ids)]
    return sorted(chosen, key=lambda row: row.id)[: wanted.limit]
