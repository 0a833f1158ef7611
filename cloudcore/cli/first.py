"""The first instance: key pair, image, a group that lets this machine in, launch, and following it until it answers.

All by signed requests, as any client would; each part looks first whether it is there, so a start that was cut off goes
on where it stopped, and a later start changes nothing.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloudcore.auth.model import AccessKey
from cloudcore.cli.client import Client, Refused
from cloudcore.cli.images import IMAGES, bucket_of, named, register, tiny
from cloudcore.cli.machine import accepts
from cloudcore.cli.printing import FAILED, TIMED_OUT, Console, Refusal
from cloudcore.cli.progress import Step, step
from cloudcore.config.model import Config
from cloudcore.config.places import built, private_key_file
from cloudcore.errors import Code

KEY_PAIR, GROUP, NAME, KIND = "default", "from-this-machine", "first", "t3.nano"
SIMULATED = "simulated"  # the name of the image of simulated clouds
PORTS = (22, 80)
PATIENCE = 300.0  # seconds: an emulated guest on a loaded machine takes up to 180
EVERY = 0.5
T = TypeVar("T")
READY = re.compile(r"^TINY \S+ login\b", re.MULTILINE)
LOST = frozenset({"shutting-down", "terminated", "stopping", "stopped"})


@dataclass(frozen=True, slots=True)
class Setting:
    """Who launches where. `config` has its driver."""

    clock: Any
    config: Config
    state: Path
    client: Client
    key: AccessKey


@dataclass(frozen=True, slots=True)
class Launched:
    instance: str
    address: str
    new: bool


def key_pair(setting: Setting) -> Path:
    """The private key's file, made when missing. A key pair of that name that is there already is left alone."""
    file = private_key_file(setting.state)
    if not file.exists():
        private = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        aside = file.with_suffix(".new")
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(private)
        aside.rename(file)
    loaded = serialization.load_ssh_private_key(file.read_bytes(), None)
    public = loaded.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    try:
        setting.client.action("ImportKeyPair", KeyName=KEY_PAIR,
                              PublicKeyMaterial=base64.b64encode(public + b" default").decode())
    except Refused as problem:
        if problem.name != "InvalidKeyPair.Duplicate":
            raise
    return file


def launch(setting: Setting, console: Console) -> Launched:
    """The first instance of this state, launched when there never was one."""
    mark = setting.state / "first-instance"
    if mark.exists():
        instance = mark.read_text().strip()
        return Launched(instance, described(setting.client, instance)[1], False)
    image = an_image(setting, console)
    group(setting)
    with step("instance", console.err) as shown:
        made = setting.client.action(
            "RunInstances", ImageId=image, InstanceType=KIND, MinCount=1, MaxCount=1, KeyName=KEY_PAIR,
            SecurityGroup_1=GROUP, ClientToken="cloudcore-first-instance",
            TagSpecification_1_ResourceType="instance", TagSpecification_1_Tag_1_Key="Name",
            TagSpecification_1_Tag_1_Value=NAME)
        instance = made.findtext(".//instanceId") or ""
        mark.write_text(instance + "\n")
        address = follow(setting, instance, shown)
        shown.result = f"{instance} {address}"
    return Launched(instance, address, True)


def an_image(setting: Setting, console: Console) -> str:
    """The tiny guest; for simulated guests, which boot nothing, a disk of one MiB with an empty boot sector."""
    if setting.config.compute.driver != "simulated":
        return tiny(setting.clock, setting.client, setting.key, setting.state, console)
    found = named(setting.client, SIMULATED)
    if found is not None:
        return found
    file = built(setting.state) / "simulated.raw"
    file.write_bytes(bytes(510) + b"\x55\xaa" + bytes((1 << 20) - 512))
    with step("image", console.err) as shown:
        return register(setting.client, file, SIMULATED, bucket_of(IMAGES, setting.key), shown)


def group(setting: Setting) -> None:
    """SSH and HTTP from the bridge's own address, which is this machine, and from nowhere else."""
    gateway = f"{IPv4Network(setting.config.network.cidr)[1]}/32"
    made: tuple[Callable[[], object], ...] = (
        lambda: setting.client.action("CreateSecurityGroup", GroupName=GROUP,
                                      GroupDescription="SSH and HTTP from the machine that cloudcore runs on"),
        *(lambda port=port: setting.client.action(
            "AuthorizeSecurityGroupIngress", GroupName=GROUP, IpPermissions_1_IpProtocol="tcp",
            IpPermissions_1_FromPort=port, IpPermissions_1_ToPort=port, IpPermissions_1_IpRanges_1_CidrIp=gateway)
          for port in PORTS),
    )
    for make in made:
        try:
            make()
        except Refused as problem:
            if problem.name not in ("InvalidGroup.Duplicate", "InvalidPermission.Duplicate"):
                raise


def follow(setting: Setting, instance: str, shown: Step) -> str:
    """Waits until it runs, has booted, and answers on its address; returns that. Raises with the stored reason."""
    deadline = time.monotonic() + PATIENCE
    shown.says(f"{instance} pending")
    address = until(deadline, f"{instance} runs", lambda: running(setting.client, instance))
    if setting.config.compute.driver != "simulated":
        shown.says(f"{instance} running, boots")
        until(deadline, f"{instance} has booted and fetched its metadata",
              lambda: READY.search(console_of(setting.client, instance)))
        shown.says(f"{instance} booted, {address} answers?")
        until(deadline, f"{address} answers on port {PORTS[0]}", lambda: accepts(address, PORTS[0]))
    return address


def until(deadline: float, what: str, true: Callable[[], T]) -> T:
    while not (answer := true()):
        if time.monotonic() > deadline:
            raise Refusal(Code.UNAVAILABLE, f"not within {PATIENCE:.0f} s: {what}",
                          "cloudcore logs    and: aws ec2 get-console-output --instance-id …", status=TIMED_OUT)
        time.sleep(EVERY)
    return answer


def running(client: Client, instance: str) -> str:
    """The address once it runs, else an empty text."""
    state, address, reason = described(client, instance)
    if state in LOST:
        raise Refusal(Code.CAPACITY, f"{instance} is {state}", "cloudcore host list", why=reason, status=FAILED)
    return address if state == "running" else ""


def described(client: Client, instance: str) -> tuple[str, str, str]:
    """State, private address, reason."""
    try:
        item = client.action("DescribeInstances", InstanceId_1=instance).find(".//instancesSet/item")
    except Refused as problem:
        if problem.name != "InvalidInstanceID.NotFound":
            raise
        item = None
    if item is None:
        return "terminated", "", ""
    return (item.findtext("instanceState/name") or "", item.findtext("privateIpAddress") or "",
            item.findtext("stateReason/message") or "")


def console_of(client: Client, instance: str) -> str:
    found = client.action("GetConsoleOutput", InstanceId=instance, Latest="true").findtext("output") or ""
    return base64.b64decode(found).decode("utf-8", "replace").replace("\r", "")
