"""Where a test may kill the conductor: before and after every transaction and every message that it sends.

`failpoint(name)` is a constructor argument. In a cloud in earnest it does nothing; under test it may end the process or
raise CancelledError, which nothing here takes for an error of the step.
"""

from __future__ import annotations

from collections.abc import Callable

FAILPOINTS = (
    "conductor.take.before", "conductor.take.after",  # leases on due steps
    "conductor.select.before", "conductor.select.after",  # the question to the scheduler
    "conductor.place.before", "conductor.place.after",  # the claim
    "conductor.refuse.before", "conductor.refuse.after",  # a launch that fails
    "conductor.minted.before", "conductor.minted.after",  # a key for the role of an instance
    "conductor.plug.before", "conductor.plug.after",  # network.ensure
    "conductor.plugged.before", "conductor.plugged.after",
    "conductor.boot.before", "conductor.boot.after",  # compute.ensure, running
    "conductor.booting.before", "conductor.booting.after",
    "conductor.halt.before", "conductor.halt.after",  # compute.ensure, stopped
    "conductor.halting.before", "conductor.halting.after",
    "conductor.destroy.before", "conductor.destroy.after",  # compute.ensure, absent
    "conductor.destroying.before", "conductor.destroying.after",
    "conductor.unplug.before", "conductor.unplug.after",  # network.release
    "conductor.unplugged.before", "conductor.unplugged.after",
    "conductor.forget.before", "conductor.forget.after",  # everything is given back
    "conductor.spread.before", "conductor.spread.after",  # network.ensure with groups
    "conductor.regrouped.before", "conductor.regrouped.after",
    "conductor.replug.before", "conductor.replug.after",  # network.ensure with the port of a running instance
    "conductor.confirmed.before", "conductor.confirmed.after",
    "conductor.withdraw.before", "conductor.withdraw.after",  # network.ensure: an elastic address leads nowhere
    "conductor.withdrawn.before", "conductor.withdrawn.after",
    "conductor.granting.before", "conductor.granting.after",
    "conductor.grant.before", "conductor.grant.after",  # network.ensure: an elastic address leads to a guest
    "conductor.granted.before", "conductor.granted.after",
    "conductor.retry.before", "conductor.retry.after",  # a step that met an error
    "conductor.facts.before", "conductor.facts.after",  # what hosts report
    "conductor.heard.before", "conductor.heard.after",  # heartbeats
)  # fmt: skip

# Of volumes, snapshots and images. Apart, because a sweep over real processes takes seconds for each; what lies between
# them is rows and messages alone, which tests/conductor/ proves with hosts in memory.
VOLUME_FAILPOINTS = (
    "conductor.lodge.before", "conductor.lodge.after",  # the claim of a volume
    "conductor.furnish.before", "conductor.furnish.after",  # volume.ensure, present
    "conductor.furnished.before", "conductor.furnished.after",
    "conductor.unfurnished.before", "conductor.unfurnished.after",  # a volume that cannot be made
    "conductor.erase.before", "conductor.erase.after",  # volume.ensure, absent
    "conductor.erased.before", "conductor.erased.after",
    "conductor.sized.before", "conductor.sized.after",  # the claim of a larger volume
    "conductor.grow.before", "conductor.grow.after",  # volume.ensure or compute.disks
    "conductor.grown.before", "conductor.grown.after",
    "conductor.serving.before", "conductor.serving.after",
    "conductor.export.before", "conductor.export.after",  # volume.export, to a guest or to nobody
    "conductor.served.before", "conductor.served.after",
    "conductor.unserved.before", "conductor.unserved.after",
    "conductor.redisk.before", "conductor.redisk.after",  # compute.disks
    "conductor.redisked.before", "conductor.redisked.after",
    "conductor.withholding.before", "conductor.withholding.after",
    "conductor.withheld.before", "conductor.withheld.after",
    "conductor.copying.before", "conductor.copying.after",
    "conductor.copy.before", "conductor.copy.after",  # compute.copy or volume.copy
    "conductor.copied.before", "conductor.copied.after",
    "conductor.disowned.before", "conductor.disowned.after",  # the row of a content goes
    "conductor.discard.before", "conductor.discard.after",  # images.discard
    "conductor.discarded.before", "conductor.discarded.after",
    "conductor.adopt.before", "conductor.adopt.after",  # images.adopt
    "conductor.adopted.before", "conductor.adopted.after",
)  # fmt: skip

Failpoint = Callable[[str], None]


def none(name: str) -> None:
    """The failpoint of a cloud in earnest."""
