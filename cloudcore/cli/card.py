"""What is on the screen once the cloud runs: endpoints, key, lines to copy. Never a secret: screens scroll back."""

from __future__ import annotations

import getpass
import shlex
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Card:
    """`address` is the first instance's, if it has one."""

    urls: Mapping[str, str]
    region: str
    access_key: str
    command: str  # how this command line is called
    state: Path
    log: Path
    private_key: Path
    address: str = ""
    clients: str = ""  # how to get aws and boto3, where they are not

    def text(self, seconds: float) -> str:
        here = self.state == Path("var").absolute()
        call = f"{self.command} env" if here else f"{self.command} env --state {shlex.quote(str(self.state))}"
        lines = [
            f"cloudcore is running.{'':<29}{seconds:.1f} s, log: {short(self.log)}",
            "",
            f"  EC2 STS IAM  {self.urls['ec2']:<37} region {self.region}",
            f"  S3           {self.urls['s3']}",
            f"  Access key   {self.access_key:<37} secret: {call}",
            "",
            f'  Try it       eval "$({call})"',
            "               aws ec2 describe-instances",
            "               aws s3 mb s3://hello && aws s3 cp README.md s3://hello/",
            "               python3 -c 'import boto3; print(boto3.client(\"ec2\").describe_images()[\"Images\"])'",
        ]
        if self.clients:
            lines.insert(-3, f"               {self.clients}")
        if self.address:
            lines.append(f"               ssh -i {shlex.quote(short(self.private_key))} root@{self.address}")
        ports = [str(urlsplit(self.urls[name]).port) for name in ("ec2", "s3")]
        tunnels = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
        lines.append(f"  From afar    ssh {tunnels} {getpass.getuser()}@{socket.gethostname()}")
        return "\n".join(lines)


def short(path: Path) -> str:
    """Relative to here where that is shorter."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def missing_clients() -> str:
    """A line to copy for who has no AWS client yet. They are not part of cloudcore, and any recent one will do."""
    if shutil.which("aws"):
        return ""
    return "python3 -m venv ~/aws && ~/aws/bin/pip install awscli boto3 && PATH=~/aws/bin:$PATH"
