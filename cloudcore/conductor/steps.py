"""Which function performs which step: the only place that joins the names of domain/operations.py with code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudcore.conductor import furnishing, importing, snapshotting
from cloudcore.conductor.attaching import redisk, serve, withhold
from cloudcore.conductor.discarding import discard
from cloudcore.conductor.ending import destroy, forget, halt, unplug
from cloudcore.conductor.furnishing import erase, furnish, lodge
from cloudcore.conductor.growing import grow
from cloudcore.conductor.importing import import_
from cloudcore.conductor.launching import boot, place, plug
from cloudcore.conductor.leading import grant, withdraw
from cloudcore.conductor.means import Means
from cloudcore.conductor.replugging import replug
from cloudcore.conductor.snapshotting import copy
from cloudcore.conductor.spreading import spread
from cloudcore.store.books import Books
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
    "lodge": lodge,
    "furnish": furnish,
    "erase": erase,
    "grow": grow,
    "serve": serve,
    "redisk": redisk,
    "withhold": withhold,
    "copy": copy,
    "discard": discard,
    "import": import_,
}

GAVE_UP: dict[str, Callable[[Books, Step], None]] = {  # operations whose subject is no instance
    "create-volume": furnishing.gave_up,
    "snapshot": snapshotting.gave_up,
    "import": importing.gave_up,
}
