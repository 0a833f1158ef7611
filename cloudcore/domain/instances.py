"""The life cycle of an instance, as one table.

TRANSITIONS[state][event] is the next state. An absent pair is IncorrectInstanceState for a request and a dropped stale
fact for a fact. Effects belong to states (a Moore machine): AWAITS[state] names the operation that an unsettled state
waits for, so recovery is one loop that issues it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


class Event(Enum):
    # requests
    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    TERMINATE = "terminate"
    # facts
    GUEST_STARTED = "guest-started"
    GUEST_STOPPED = "guest-stopped"
    GUEST_GONE = "guest-gone"
    LAUNCH_FAILED = "launch-failed"


REQUESTS = frozenset({Event.START, Event.STOP, Event.REBOOT, Event.TERMINATE})

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.PENDING: {
        Event.GUEST_STARTED: State.RUNNING,
        Event.GUEST_STOPPED: State.STOPPED,
        Event.LAUNCH_FAILED: State.SHUTTING_DOWN,
        Event.STOP: State.STOPPING,
        Event.TERMINATE: State.SHUTTING_DOWN,
    },
    State.STARTING: {
        Event.GUEST_STARTED: State.RUNNING,
        Event.GUEST_STOPPED: State.STOPPED,
        Event.LAUNCH_FAILED: State.STOPPED,
        Event.START: State.STARTING,
        Event.STOP: State.STOPPING,
        Event.TERMINATE: State.SHUTTING_DOWN,
    },
    State.RUNNING: {
        Event.GUEST_STOPPED: State.STOPPED,
        Event.START: State.RUNNING,
        Event.STOP: State.STOPPING,
        Event.REBOOT: State.RUNNING,
        Event.TERMINATE: State.SHUTTING_DOWN,
    },
    State.STOPPING: {
        Event.GUEST_STOPPED: State.STOPPED,
        Event.STOP: State.STOPPING,
        Event.TERMINATE: State.SHUTTING_DOWN,
    },
    State.STOPPED: {
        Event.START: State.STARTING,
        Event.STOP: State.STOPPED,
        Event.TERMINATE: State.SHUTTING_DOWN,
    },
    State.SHUTTING_DOWN: {
        Event.GUEST_GONE: State.TERMINATED,
        Event.TERMINATE: State.SHUTTING_DOWN,
    },
    State.TERMINATED: {
        Event.TERMINATE: State.TERMINATED,
    },
}

AWAITS: dict[State, str] = {  # operation kinds of the conductor
    State.PENDING: "launch",
    State.STARTING: "start",
    State.STOPPING: "stop",
    State.SHUTTING_DOWN: "terminate",
}

ALIVE = frozenset(State) - {State.TERMINATED}

EC2_CODE: dict[State, tuple[int, str]] = {
    State.PENDING: (0, "pending"),
    State.STARTING: (0, "pending"),
    State.RUNNING: (16, "running"),
    State.STOPPING: (64, "stopping"),
    State.STOPPED: (80, "stopped"),
    State.SHUTTING_DOWN: (32, "shutting-down"),
    State.TERMINATED: (48, "terminated"),
}


def after(state: State, event: Event) -> State | None:
    """The next state, or None where the table has no such pair."""
    return TRANSITIONS[state].get(event)


@dataclass(frozen=True, slots=True)
class Instance:
    """One row. `generation` grows by one with every change of what is wanted, never with what is observed.

    `host`, `address` are None until placed. Times are seconds since the epoch. `reason_code` and `reason` are EC2's
    stateReason (Server.InsufficientInstanceCapacity, Client.UserInitiatedShutdown ...) and a sentence for people.
    """

    id: str
    project: str
    reservation: str
    launch_index: int
    cell: str
    image: str
    instance_type: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    zone: str | None
    key_name: str | None
    state: State
    generation: int
    created: float
    mac: str
    host: str | None = None
    address: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    shutdown_behaviour: str = "stop"  # or terminate
    protected: bool = False  # DisableApiTermination
    changed: float = 0.0
    user_data: bytes | None = None
    key_id: str | None = None
    requester: str = ""
    stop_protected: bool = False  # DisableApiStop
    monitored: bool = False  # as asked; there is one resolution of measurement
    metadata_tokens: str = "optional"  # or required
    metadata_endpoint: str = "enabled"  # or disabled
    metadata_hops: int = 1  # 1 to 64
    metadata_tags: bool = False  # whether the guest may read its tags
    port_revision: int = 0  # grows with each change of what its port says, within a generation too
    port_applied: int = 0  # the revision that the host has confirmed
    profile: str | None = None  # the id of its instance profile
    disk_revision: int = 0  # grows with each change of which volumes it has
    client_token: str = ""  # of the request that launched it
    source_dest_check: bool = True  # False: it may pass on what others send
