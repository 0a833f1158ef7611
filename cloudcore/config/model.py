"""What can be configured. A key is a field: its type, its default, what it may be and what it is for stand together,
and the reference in the documentation is made from here. A daemon gets its own sections only, never the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from cloudcore.domain.instance_types import InstanceType, matching


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a value must be, in words (`says`) and as a test."""

    says: str
    holds: Callable[[Any], bool]


PORT = Bounds("must be an integer 0–65535 (0 picks a free port)", lambda value: 0 <= value <= 65535)
AT_LEAST_ONE = Bounds("must be at least 1", lambda value: value >= 1)
NOT_NEGATIVE = Bounds("must not be negative", lambda value: value >= 0)
POSITIVE = Bounds("must be greater than 0", lambda value: value > 0)
NAME = Bounds("must be letters, digits and -", lambda value: bool(value) and value.replace("-", "").isalnum())


def one_of(*choices: str) -> Bounds:
    return Bounds("must be " + ", ".join(f'"{choice}"' for choice in choices[:-1]) + f' or "{choices[-1]}"',
                  lambda value: value in choices)


def is_bridge(value: str) -> bool:
    return value.startswith("cc") and len(value.encode()) <= 15 and value.isascii() and value.isalnum()


def is_network(value: str) -> bool:
    try:
        network = IPv4Network(value)
    except ValueError:
        return False
    return network.prefixlen <= 29


def is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def is_url(*schemes: str) -> Callable[[str], bool]:
    return lambda value: value == "" or urlsplit(value).scheme in schemes


def key(default: Any, says: str, bounds: Bounds | None = None) -> Any:
    return field(default=default, metadata={"says": says, "bounds": bounds})


@dataclass(frozen=True, slots=True)
class Api:
    listen: str = key("127.0.0.1", "address of the EC2, STS and IAM endpoint")
    port: int = key(8773, "port of the EC2, STS and IAM endpoint", PORT)
    sigv2: bool = key(False, "whether old clients may sign for EC2 and STS by Signature Version 2")


@dataclass(frozen=True, slots=True)
class ObjectStore:
    listen: str = key("127.0.0.1", "address of the S3 endpoint")
    port: int = key(3333, "port of the S3 endpoint", PORT)


@dataclass(frozen=True, slots=True)
class Metadata:
    listen: str = key("", "address of the metadata service; empty: the bridge's")
    port: int = key(8775, "port that 169.254.169.254:80 is led to", PORT)


@dataclass(frozen=True, slots=True)
class Dashboard:
    listen: str = key("127.0.0.1", "address of the dashboard, once there is one")
    port: int = key(8080, "port of the dashboard, once there is one", PORT)


@dataclass(frozen=True, slots=True)
class Cloud:
    region: str = key("us-east-2", "region name that clients sign for", NAME)
    zone: str = key("us-east-2a", "availability zone of this cell", NAME)
    cell: str = key("cell1", "name of this cell", NAME)


DATABASE = Bounds("must begin with sqlite:// or postgresql://",
                  is_url("sqlite", "postgresql", "postgres", "postgresql+psycopg"))
BUS = Bounds("must begin with amqp:// or amqps://", is_url("amqp", "amqps"))


@dataclass(frozen=True, slots=True)
class Database:
    url: str = key("", "SQLAlchemy URL; empty: SQLite in the state directory", DATABASE)


@dataclass(frozen=True, slots=True)
class Bus:
    url: str = key("", "broker; empty: within the process", BUS)


@dataclass(frozen=True, slots=True)
class Auth:
    master_key_file: str = key("", "seals secret keys in the database; empty: keys/master.key in the state directory")
    cache_seconds: float = key(5.0, "how long a good credential is remembered",
                               Bounds("must be 0–5", lambda value: 0 <= value <= 5))


@dataclass(frozen=True, slots=True)
class Network:
    bridge: str = key("ccbr0", "bridge of the guests", Bounds('must begin with "cc" and have at most 15 letters and '
                                                              "digits", is_bridge))
    table: str = key("cloudcore", "name of our nftables tables", Bounds(
        "must be letters, digits and _", lambda value: value.isascii() and value.replace("_", "a").isalnum()))
    cidr: str = key("10.90.0.0/16", "addresses of the guests; the bridge has the first",
                    Bounds("must be an IPv4 network of /29 or larger, such as 10.90.0.0/16", is_network))
    elastic_cidr: str = key("10.91.0.0/24", "elastic addresses, routed to this machine by others; empty: none",
                            Bounds("must be empty or an IPv4 network of /29 or larger, such as 10.91.0.0/24",
                                   lambda value: value == "" or is_network(value)))
    mtu: int = key(1450, "of the bridge and the guests", Bounds("must be 576–9000", lambda value: 576 <= value <= 9000))


@dataclass(frozen=True, slots=True)
class Compute:
    driver: str = key("auto", "auto: libvirt", one_of("auto", "libvirt", "simulated"))
    host: str = key("", "name of this host; empty: the machine's")
    vcpu_ratio: float = key(8.0, "vCPUs given out for each CPU thread", POSITIVE)
    reserved_memory_mib: int = key(512, "memory kept for the machine itself", NOT_NEGATIVE)
    simulated_boot_seconds: float = key(0.5, "how long a simulated guest boots", NOT_NEGATIVE)
    simulated_vcpus: int = key(64, "of a simulated host", AT_LEAST_ONE)
    simulated_memory_mib: int = key(65536, "of a simulated host", AT_LEAST_ONE)
    simulated_disk_gib: int = key(1000, "of a simulated host", AT_LEAST_ONE)


LVM_NAME = Bounds("must be letters, digits and +_.-", lambda value: value == "" or (
    value.isascii() and not value.startswith("-") and value.translate(str.maketrans("+_.-", "aaaa")).isalnum()))


@dataclass(frozen=True, slots=True)
class Images:
    endpoint: str = key("", "S3 endpoint that hosts fetch images from; empty: that of [objectstore]",
                        Bounds("must begin with http:// or https://", is_url("http", "https")))
    access_key: str = key("", "access key they fetch with; empty: that of the account image-fetcher")
    secret_file: str = key("", "file with its secret key, readable by its owner only")


@dataclass(frozen=True, slots=True)
class Volume:
    driver: str = key("auto", "where volumes of this host lie: files (qcow2 in the state directory) or lvm; auto: "
                              "files, or nowhere beside simulated guests", one_of("auto", "files", "lvm"))
    group: str = key("", "LVM volume group, for lvm", LVM_NAME)
    pool: str = key("", "thin pool in it; empty: volumes are allocated whole and zeroed", LVM_NAME)
    listen: str = key("127.0.0.1", "address of this host that guests of other hosts reach its volumes at", Bounds(
        "must be one address of this host", lambda value: is_address(value) and not ip_address(value).is_unspecified))
    first_port: int = key(10809, "volumes are served to other hosts from this port on",
                          Bounds("must be an integer 1024–61439", lambda value: 1024 <= value <= 61439))


@dataclass(frozen=True, slots=True)
class Quotas:
    instances: int = key(100, "of each project", NOT_NEGATIVE)
    vcpus: int = key(200, "of each project", NOT_NEGATIVE)
    security_groups: int = key(500, "of each project", NOT_NEGATIVE)
    elastic_addresses: int = key(20, "of each project", NOT_NEGATIVE)
    volumes: int = key(500, "of each project, root disks among them", NOT_NEGATIVE)
    volume_gigabytes: int = key(50_000, "GiB of all volumes of each project", NOT_NEGATIVE)
    snapshots: int = key(1000, "of each project", NOT_NEGATIVE)
    rules: int = key(120, "of each security group, both directions together", NOT_NEGATIVE)


WITHDRAWN = Bounds("must be names of built-in types, or patterns of them such as r5.*, with spaces between",
                   lambda value: all(map(matching, value.split())))


@dataclass(frozen=True, slots=True)
class InstanceTypes:
    """`own` has a table of its own in the file for each type; config/own_types.py reads them."""

    withdrawn: str = key("", "built-in types that are not offered; * is all of them", WITHDRAWN)
    own: tuple[InstanceType, ...] = ()


@dataclass(frozen=True, slots=True)
class Throttling:
    enabled: bool = key(True, "whether an account may call each action only so often")
    factor: float = key(1.0, "how much wider than usual the limits are", POSITIVE)


@dataclass(frozen=True, slots=True)
class Conductor:
    concurrency: int = key(32, "steps under way at once", AT_LEAST_ONE)
    sweep: float = key(5.0, "seconds between looks for due steps", POSITIVE)


@dataclass(frozen=True, slots=True)
class Log:
    level: str = key("info", "least level that is written", one_of("debug", "info", "warn", "error"))
    file: str = key("", "JSON lines; empty: log/cloudcore.jsonl in the state directory")


@dataclass(frozen=True, slots=True)
class Config:
    """Every section there is. `Config()` is what an empty file means."""

    api: Api = Api()
    objectstore: ObjectStore = ObjectStore()
    metadata: Metadata = Metadata()
    dashboard: Dashboard = Dashboard()
    cloud: Cloud = Cloud()
    database: Database = Database()
    bus: Bus = Bus()
    auth: Auth = Auth()
    network: Network = Network()
    compute: Compute = Compute()
    images: Images = Images()
    volume: Volume = Volume()
    quotas: Quotas = Quotas()
    instance_types: InstanceTypes = InstanceTypes()
    throttling: Throttling = Throttling()
    conductor: Conductor = Conductor()
    log: Log = Log()
