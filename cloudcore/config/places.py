"""Where things lie in a state directory: the one list that daemons, command line and clean-up share."""

from __future__ import annotations

from pathlib import Path

from cloudcore.config.model import Config

# Unix sockets below the state directory (console, libvirt) must fit into 107 bytes.
LONGEST_STATE = 60


def configuration_file(state: Path) -> Path:
    return state / "cloudcore.toml"


def database_url(config: Config, state: Path) -> str:
    return config.database.url or f"sqlite:///{state.absolute() / 'cloudcore.sqlite'}"


def database_file(config: Config, state: Path) -> Path | None:
    """None when the database is a server's."""
    url = database_url(config, state)
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def master_key_file(config: Config, state: Path) -> Path:
    return Path(config.auth.master_key_file) if config.auth.master_key_file else state / "keys" / "master.key"


def log_file(config: Config, state: Path) -> Path:
    return Path(config.log.file) if config.log.file else state / "log" / "cloudcore.jsonl"


def endpoints_file(state: Path) -> Path:
    """JSON: ec2, s3, metadata (URLs; what is not served is absent) and pid; written when all of them listen."""
    return state / "run" / "endpoints.json"


def lock_file(state: Path) -> Path:
    """Locked by the running all-in-one; JSON: its pid and start time."""
    return state / "run" / "lock"


def built(state: Path) -> Path:
    """Images that the command line makes, before they are uploaded; not the hosts' cache."""
    return state / "built"


def private_key_file(state: Path) -> Path:
    return state / "keys" / "default.pem"


def driver_file(state: Path) -> Path:
    """Names the driver that this state's guests were made with."""
    return state / "driver"
