"""`cloudcore env`: what AWS clients need, as export lines. The one command that prints a secret.

boto3 reads AWS_DEFAULT_REGION, newer SDKs AWS_REGION; a plain AWS_ENDPOINT_URL would lead every service to one port, so
the lines unset it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudcore.auth import rules
from cloudcore.auth.model import AccessKey, AuthManager
from cloudcore.cli import state
from cloudcore.cli.database import Open, with_database
from cloudcore.cli.printing import DONE, Console, Refusal
from cloudcore.config.model import Config
from cloudcore.errors import Code

UNSET = ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN")


def run(options: Any, console: Console) -> int:
    async def work(opened: Open) -> tuple[Config, AccessKey]:
        return opened.config, await key_of(opened.auth, options.user, options.access_key)

    config, key = with_database(options, work)
    shown = variables(config, key, urls(config, options.state))
    if options.json:
        console.json(shown)
        return DONE
    for name, value in shown.items():
        console.line(f"export {name}={shlex.quote(value)}")
    console.line(f"unset {' '.join(UNSET)}")
    return DONE


async def key_of(auth: AuthManager, user: str, access_key: str | None = None) -> AccessKey:
    """The key named, or the user's newest that is enabled."""
    keys = [key for key in await auth.access_keys(user) if key.enabled]
    if access_key is not None:
        keys = [key for key in keys if key.id == access_key]
        if not keys:
            raise rules.key_unknown(access_key)
    if not keys:
        raise Refusal(Code.ACCESS_KEY_UNKNOWN, f"the user '{user}' has no access key",
                      f"cloudcore key create --user {user}")
    return keys[-1]


def urls(config: Config, directory: Path) -> dict[str, str]:
    """ec2 and s3: as the running cloud wrote them down, else as configured. Refuses to guess a free port."""
    written = state.endpoints(directory)
    found = {}
    for name, section in (("ec2", config.api), ("s3", config.objectstore)):
        if name in written:
            found[name] = str(written[name])
        elif section.port == 0:
            raise Refusal(Code.UNAVAILABLE, "the cloud is not running, and its ports are only known while it runs",
                          "cloudcore up")
        else:
            found[name] = f"http://{reachable(section.listen)}:{section.port}"
    return found


def reachable(listen: str) -> str:
    """The address a client on this machine uses."""
    if listen in ("", "0.0.0.0", "::"):  # noqa: S104  # what it listens on is not our choice here
        return "127.0.0.1"
    return f"[{listen}]" if ":" in listen else listen


def variables(config: Config, key: AccessKey, found: Mapping[str, str]) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret.reveal(),
        "AWS_DEFAULT_REGION": config.cloud.region,
        "AWS_REGION": config.cloud.region,
        "AWS_ENDPOINT_URL_EC2": found["ec2"],
        "AWS_ENDPOINT_URL_STS": found["ec2"],
        "AWS_ENDPOINT_URL_IAM": found["ec2"],
        "AWS_ENDPOINT_URL_S3": found["s3"],
    }
