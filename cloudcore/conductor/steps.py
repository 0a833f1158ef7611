"""Which function performs which step: the only place that joins the names of domain/operations.py with code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudcore.conductor.ending import destroy, forget, halt, unplug
from cloudcore.conductor.launching import boot, place, plug
from cloudcore.conductor.leading import grant, withdraw
from cloudcore.conductor.means import Means
from cloudcore.conductor.replugging import replug
from cloudcore.conductor.spreading import spread
from cloudcore.store.operations import Step

StepFunction = Callable[[Means, Step], Awaitable["Step | None"]]

STEP_FUNCTIONS: dict[str, StepFunction] = {
    "place": place,
    "plug": plug,
    "boot": boot,
    "halt": halt,
    "destroy": destroy,
    "unplug": unplug,
    "forget": forget,
    "spread": spread,
    "replug": replug,
    "withdraw": withdraw,
    "grant": grant,
}
