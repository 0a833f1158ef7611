"""Every command, its arguments and the function that does it, as one table.

A function takes the parsed options and the Console, and returns an exit code. It is named by text and imported only
when its command runs: `cloudcore env` must not pay for the hypervisor. A test imports them all.
"""

from __future__ import annotations

from argparse import SUPPRESS
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Argument:
    """`flags` and `options` as argparse's add_argument takes them."""

    flags: tuple[str, ...]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    words: str  # `up`, or noun and verb: `user create`
    run: str  # module:function, below cloudcore.cli
    says: str
    arguments: tuple[Argument, ...] = ()


def option(*flags: str, **options: Any) -> Argument:
    return Argument(flags, options)


STATE = option("--state", metavar="DIR", help="state directory (default: $CLOUDCORE_STATE, else ./var)")
CONFIG = option("--config", metavar="FILE", help="configuration (default: DIR/cloudcore.toml)")
JSON = option("--json", action="store_true", help="machine-readable output")
DEBUG = option("--debug", action="store_true", help="show the traceback of what goes wrong")
YES = option("--yes", action="store_true", help="do not ask")
DRIVER = option("--driver", choices=("auto", "libvirt", "simulated"), help="hypervisor (default: as configured)")
NAME = option("name", metavar="NAME")
USER = option("--user", metavar="NAME", default="user", help="whose keys (default: user)")

NOUNS = {
    "user": "users and their roles",
    "project": "projects (accounts)",
    "key": "access keys",
    "image": "images",
    "network": "networks",
    "host": "hosts",
    "db": "the database",
    "config": "the configuration",
}

COMMANDS: tuple[Command, ...] = (
    # -- the cloud as a whole
    Command("up", "starting:up", "start the whole cloud on this machine", (
        DRIVER,
        option("--detach", action="store_true", help="return once all endpoints answer"),
        option("--no-first-instance", action="store_true", help="neither build an image nor launch an instance"),
        option("--timeout", type=float, default=120.0, metavar="SECONDS", help="how long --detach waits (default 120)"),
        option("--in-background", action="store_true", help=SUPPRESS),
    )),
    Command("down", "stopping:down", "stop the cloud; guests keep running unless told otherwise", (
        option("--instances", choices=("stop", "keep"), default="keep", help="power guests off too (default: keep)"),
        option("--purge", action="store_true", help="stop everything and delete all it ever made"),
        option("--confirm", metavar="MACHINE", help="the machine's name, for --purge without a terminal"),
        YES,
    )),
    Command("status", "status:run", "what runs, and whether it is well (exit 0 healthy, 1 degraded, 2 down)", (JSON,)),
    Command("doctor", "doctor:run", "check this machine: OK, WARN or FAIL, and the fix", (JSON,)),
    Command("logs", "logs:run", "the daemons' log", (
        option("-f", "--follow", action="store_true", help="go on as the log grows"),
        option("-n", "--lines", type=int, default=50, metavar="N", help="how many of the last lines (default 50)"),
        option("--request", metavar="ID", help="only one request"),
        option("--instance", metavar="ID", help="only one instance"),
        JSON,
    )),
    Command("env", "environment:run", 'shell lines for AWS clients: eval "$(cloudcore env)"', (
        USER,
        option("--access-key", metavar="ID", help="this key (default: the user's newest)"),
        JSON,
    )),
    # -- accounts
    Command("user list", "accounts:user_list", "all users", (JSON,)),
    Command("user show", "accounts:user_show", "one user with roles and keys", (NAME, JSON)),
    Command("user create", "accounts:user_create", "a new user with an access key", (
        NAME,
        option("--project", metavar="P", default="main", help="where the user acts (default: main)"),
        option("--role", metavar="R", default="user", help="role in that project (default: user)"),
        option("--email", metavar="E", default="", help="mail address"),
        option("--access-key", metavar="K", help="instead of a random one"),
        option("--secret-key", metavar="S", help="instead of a random one"),
        JSON,
    )),
    Command("user delete", "accounts:user_delete", "remove a user with all keys", (NAME, YES, JSON)),
    Command("user enable", "accounts:user_enable", "let a user in again", (NAME, JSON)),
    Command("user disable", "accounts:user_disable", "lock a user out, keeping keys and roles", (NAME, JSON)),
    Command("user grant", "accounts:user_grant", "give a role", (
        NAME, option("role", metavar="ROLE"), option("--project", metavar="P", help="only there (default: everywhere)"),
        JSON)),
    Command("user revoke", "accounts:user_revoke", "take a role away", (
        NAME, option("role", metavar="ROLE"), option("--project", metavar="P", help="only there (default: everywhere)"),
        JSON)),
    Command("project list", "accounts:project_list", "all projects", (JSON,)),
    Command("project show", "accounts:project_show", "one project", (NAME, JSON)),
    Command("project create", "accounts:project_create", "a new project", (
        NAME, option("--id", metavar="ID", help="twelve digits (default: random)"), JSON)),
    Command("project delete", "accounts:project_delete", "remove an empty project", (NAME, YES, JSON)),
    Command("key list", "accounts:key_list", "access keys of one user, without secrets", (USER, JSON)),
    Command("key show", "accounts:key_show", "one access key, without its secret", (NAME, JSON)),
    Command("key create", "accounts:key_create", "another access key", (
        USER,
        option("--project", metavar="P", default="main", help="where it acts (default: main)"),
        option("--access-key", metavar="K", help="instead of a random one"),
        option("--secret-key", metavar="S", help="instead of a random one"),
        JSON,
    )),
    Command("key delete", "accounts:key_delete", "remove an access key", (NAME, YES, JSON)),
    # -- what the cloud has
    Command("image list", "images:image_list", "images that a user sees", (USER, JSON)),
    Command("image show", "images:image_show", "one image", (option("image", metavar="AMI"), USER, JSON)),
    Command("image import", "images:image_import", "upload a disk image and register it", (
        option("source", metavar="FILE|URL"),
        option("--name", metavar="NAME", help="default: the file's name"),
        option("--bucket", metavar="BUCKET", default="images", help="where it is kept (default: images)"),
        option("--public", action="store_true", help="for all projects"),
        USER,
        JSON,
    )),
    Command("image build-tiny", "images:image_build_tiny", "build the tiny test guest and register it", (
        option("--output", metavar="DIR", help="only build, into DIR"), USER, JSON)),
    Command("image delete", "images:image_delete", "deregister an image", (
        option("image", metavar="AMI"), USER, YES, JSON)),
    Command("network list", "places:network_list", "networks and how full they are", (JSON,)),
    Command("network show", "places:network_show", "one network", (NAME, JSON)),
    Command("network create", "places:network_create", "another range of addresses to claim from", (
        NAME, option("--cidr", required=True, metavar="CIDR", help="such as 10.90.0.0/16"), JSON)),
    Command("network delete", "places:network_delete", "remove a network that no instance uses", (NAME, YES, JSON)),
    Command("host list", "places:host_list", "hosts and what they have left", (JSON,)),
    Command("host show", "places:host_show", "one host", (NAME, JSON)),
    Command("host enable", "places:host_enable", "let the scheduler use a host", (NAME, JSON)),
    Command("host disable", "places:host_disable", "no new instances on a host", (NAME, JSON)),
    Command("host delete", "places:host_delete", "forget a host that holds nothing", (NAME, YES, JSON)),
    # -- below
    Command("db migrate", "database:migrate", "bring the database to this version's schema", (JSON,)),
    Command("db seed", "seeding:run", "first accounts and network, where daemons run on their own", (JSON,)),
    Command("config check", "configuration:check", "all mistakes at once", (JSON,)),
    Command("config show", "configuration:show", "every key as it counts, without secrets", (JSON,)),
)  # fmt: skip
EVERYWHERE = (STATE, CONFIG, DEBUG)
