"""Changes of what an instance's port says: its groups, and how the metadata service answers it. They are durable with
the answer; the host hears of them by the operation `replug`, the other members of its groups by `regroup`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.domain.instances import ALIVE, Instance
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

READABLE = re.compile(r"[A-Za-z0-9+\-=._:,@]{1,128}", re.ASCII)  # keys that can be a name in the metadata tree


def reshaped(books: Books, call: Call, instance: Instance, **changes: Any) -> str:
    """Sets these attributes. Returns the operation that tells the host."""
    return _told(books, call, books.instances.reshape_port(instance, **changes))


def regrouped(books: Books, call: Call, instance: Instance, groups: Collection[str]) -> tuple[str, ...]:
    """Member of exactly these groups. Returns the operations.

    Who else must hear: hosts of groups whose rules name one that changed; and, where it leaves a group, its own host if
    a newcomer there is in that group, for the newcomer's port may have come without a group that was there already.
    """
    now = books.instances.reshape_port(instance)  # first: whoever places it at this moment waits, or was before
    before, after = set(books.instances.groups_of(now.id)), set(groups)
    books.instances.join(now.id, sorted(after))
    operations = [_told(books, call, now)]
    if now.host is not None:
        changed = before ^ after
        revisions = books.memberships.bump(changed)
        others = {*books.memberships.awaited(changed, now.id),
                  *books.memberships.shared(before - after, now.id, now.host, ALIVE)}  # fmt: skip
        operations += [books.operations.begin("regroup", group, revisions[group], call.project, call.request_id)
                       for group in sorted(others)]  # fmt: skip
    return tuple(operations)


def retagged(books: Books, call: Call, ids: Iterable[str]) -> tuple[str, ...]:
    """The tags of these resources have changed; instances that show theirs to the guest show the new ones."""
    found = books.instances.of_project(call.project, ids)
    showing = [one for one in found.values() if one.metadata_tags and one.state in ALIVE]
    tags = books.tags.of(call.project, [one.id for one in showing])
    for keys in tags.values():
        check_readable(keys)
    return tuple(reshaped(books, call, one) for one in showing)


def check_readable(keys: Iterable[str]) -> None:
    """A tag that the guest may read becomes a path. Raises BAD_VALUE."""
    for key in keys:
        if not READABLE.fullmatch(key) or key in (".", ".."):
            text = f"'{key}' is not a valid tag key for instance metadata: letters, digits and + - = . _ : , @ are"
            raise CloudError(Code.BAD_VALUE, text)


def _told(books: Books, call: Call, now: Instance) -> str:
    return books.operations.begin("replug", now.id, now.generation, call.project, call.request_id)
