"""Where the daemons of one state directory keep what is theirs. What the command line shares: config/places.py."""

from __future__ import annotations

from pathlib import Path


def objects(state: Path) -> Path:
    return state / "objects"


def compute_journal(state: Path) -> Path:
    return state / "compute" / "journal"


def network_journal(state: Path) -> Path:
    return state / "network" / "journal"


def image_cache(state: Path) -> Path:
    """On the file system of `instances`: images are hard-linked into the directories of their guests."""
    return state / "images"


def instances(state: Path) -> Path:
    return state / "instances"


def volumes(state: Path) -> Path:
    """On the file system of the image cache, likewise."""
    return state / "volumes"


def remotes(state: Path) -> Path:
    """Sockets of the servers behind which volumes of other hosts are: short, and QEMU sees them."""
    return state / "remotes"


def exports(state: Path) -> Path:
    """Keys, logs and pid files of the servers of volumes that guests of other hosts have."""
    return state / "exports"


def volume_journal(state: Path) -> Path:
    return state / "volume" / "journal"


def volume_scratch(state: Path) -> Path:
    """Copies of volumes on their way into the object store. Of the volume service alone: it is swept at its start."""
    return state / "volume" / "copies"


def scratch(state: Path) -> Path:
    return state / "tmp"


def metadata_secret(state: Path) -> Path:
    return state / "keys" / "metadata.key"


def simulated_guests(state: Path) -> Path:
    return state / "compute" / "simulated-guests"


def simulated_network(state: Path) -> Path:
    return state / "network" / "simulated"


def simulated_boot(state: Path) -> Path:
    """Holds a word that stands for one uninterrupted life of the simulated host."""
    return state / "compute" / "simulated-boot"
