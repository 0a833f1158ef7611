"""A host for something new: the scheduler proposes, a transaction claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cloudcore.conductor.means import Means
from cloudcore.conductor.subjects import again
from cloudcore.rpc.scheduler import Needs
from cloudcore.store.books import Books
from cloudcore.store.operations import Step

ROUNDS = 3  # questions to the scheduler whose every proposal was lost to somebody else
Claim = Callable[[Books, Step, tuple[str, ...]], "Step | None"]


class NoRoom(Exception):
    """Says why, for people."""


async def choose(means: Means, name: str, step: Step, needs: Needs, claim: Claim) -> Step | None:
    """`claim(books, step, hosts)` takes the first of these hosts that has room and returns the next step, or None when
    all are full by now. None: asked again later. Raises NoRoom."""
    tried: tuple[str, ...] = ()
    for _ in range(ROUNDS):
        selection = await means.select(replace(needs, not_hosts=tried))
        hosts = tuple(proposal.host for proposal in selection.proposals)
        if not hosts and selection.retry > 0:
            await means.transact(name, again, step, selection.retry)
            return None
        if not hosts:
            raise NoRoom(". ".join(selection.explanation))
        claimed = await means.transact(name, claim, step, hosts)
        if claimed is not None:
            return claimed
        tried += hosts
    raise NoRoom(f"{len(tried)} hosts were chosen, and others took their room first: {', '.join(tried)}")
