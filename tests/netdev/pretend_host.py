"""A pretend host and pretend guests: network namespaces, with veth pairs for taps. Everything has a name of its own and
goes when the block ends. Needs root."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from cloudcore.domain.security_groups import Group, Rule
from cloudcore.netdev.driver import NetworkShape, WantedPort
from cloudcore.netdev.linux import LinuxNetwork

NUMBERS = count()
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")
OPEN = Rule("sgr-e", "-1", -1, -1, "0.0.0.0/0", egress=True)


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, until the block ends. A socket stays where it was made."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        assert LIBC.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), CLONE_NEWNET) == 0


def off_the_reactor(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return deferToThread(function, *arguments)


class Guest:
    """Behaves or not, as the test wants."""

    def __init__(self, host: PretendHost, port: WantedPort) -> None:
        self.host, self.port, self.namespace = host, port, f"{host.name}-{port.tap[-3:]}"
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", port.tap, "netns", host.name, "type", "veth", "peer", "name", "eth0",
            "netns", self.namespace)  # fmt: skip
        run("ip", "-n", host.name, "link", "set", port.tap, "master", host.shape.bridge, "up")
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.namespace, "link", "set", "eth0", "address", port.mac, "up")

    def configured(self) -> Guest:
        """As its lease would do it."""
        run("ip", "-n", self.namespace, "addr", "add", f"{self.port.address}/24", "dev", "eth0")
        run("ip", "-n", self.namespace, "route", "add", "default", "via", self.host.shape.gateway)
        return self

    def unplugged(self) -> None:
        run("ip", "-n", self.host.name, "link", "del", self.port.tap)

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.namespace, *arguments)


class PretendHost:
    def __init__(self, metadata_port: int = 8775, name: str = "", octet: int = 0) -> None:
        number = next(NUMBERS)
        self.own_namespace = not name
        self.name = name or f"cc{os.getpid()}-{number}"
        octet = octet or 91
        self.shape = NetworkShape(f"cct{number}", f"cctest{number}", f"10.{octet}.0.0/24", f"10.{octet}.0.1", 1450,
                                  metadata_port, elastic=f"10.{octet + 50}.0.0/24")  # fmt: skip
        self.guests: list[Guest] = []
        self._sockets: list[socket.socket] = []
        self.runtime = Path(f"/run/cctest-{self.name}-{number}/files")  # not below pytest's, which is closed to others
        if self.own_namespace:
            run("ip", "netns", "add", self.name)

    def driver(self) -> LinuxNetwork:
        return LinuxNetwork(reactor, self.shape, self.runtime, prefix=("ip", "netns", "exec", self.name))

    def port(self, number: int, *groups: str) -> WantedPort:
        address = self.shape.gateway.rpartition(".")[0] + f".{10 + number}"
        return WantedPort(f"i-{number:017x}", f"06:00:00:00:00:{number:02x}", address, f"t{number:014x}",
                          "ip-" + address.replace(".", "-"), groups)  # fmt: skip

    def guest(self, port: WantedPort) -> Guest:
        self.guests.append(Guest(self, port))
        return self.guests[-1]

    def socket(self, namespace: str, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0):
        with inside(namespace):
            made = socket.socket(family, kind, protocol)
        made.settimeout(1.0)
        self._sockets.append(made)
        return made

    def listening(self, namespace: str, port: int, address: str = "0.0.0.0") -> socket.socket:
        listener = self.socket(namespace)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(16)
        return listener

    def reaches(self, namespace: str, address: str, port: int) -> bool:
        """Whether a connection is made (the listener need not accept it)."""
        with inside(namespace):
            caller = socket.socket()
        with caller:
            caller.settimeout(0.4)
            try:
                caller.connect((address, port))
            except OSError:
                return False
            return True

    def pings(self, namespace: str, address: str, *options: str) -> bool:
        command = ["ip", "netns", "exec", namespace, "ping", "-c1", "-W1", *options, address]
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0

    def nft(self, *arguments: str) -> str:
        return run("ip", "netns", "exec", self.name, "nft", *arguments)

    def close(self) -> None:
        for one in self._sockets:
            one.close()
        for guest in self.guests:
            run("ip", "netns", "del", guest.namespace)
        if self.own_namespace:
            for pid in run("ip", "netns", "pids", self.name).split():
                os.kill(int(pid), 9)
            run("ip", "netns", "del", self.name)
        shutil.rmtree(self.runtime.parent, ignore_errors=True)


def group(name: str, *rules: Rule, members: tuple[str, ...] = (), revision: int = 1) -> Group:
    return Group(name, revision, (*rules, OPEN), members)


def allow(protocol: str, low: int, high: int | None = None, cidr: str = "0.0.0.0/0", source: str | None = None) -> Rule:
    peer = (None, source) if source else (cidr, None)
    return Rule(f"sgr-{protocol}{low}", protocol, low, low if high is None else high, *peer)
