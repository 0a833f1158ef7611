from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudcore.cli import machine
from cloudcore.cli.printing import Refusal
from cloudcore.config.model import Api, Config, ObjectStore
from cloudcore.errors import Code


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_names_who_has_it_and_the_way_out(taken: int) -> None:
    config = replace(Config(), api=Api(port=taken), objectstore=ObjectStore(port=0))
    with pytest.raises(Refusal) as refusal:
        machine.check_ports(config)
    assert refusal.value.code is Code.PORT_TAKEN
    assert f"port {taken} is used by" in refusal.value.text
    assert f"(pid {os.getpid()})" in refusal.value.text
    assert f"CLOUDCORE_API__PORT={taken + 1}" in refusal.value.hint


def test_all_taken_ports_are_named_at_once(taken: int) -> None:
    with pytest.raises(Refusal) as refusal:
        machine.check_ports(replace(Config(), api=Api(port=taken), objectstore=ObjectStore(port=taken)))
    assert refusal.value.text.count(f"port {taken}") == 2


def test_free_ports_and_port_zero_are_fine() -> None:
    machine.check_ports(replace(Config(), api=Api(port=0), objectstore=ObjectStore(port=0)))


def test_a_listener_accepts_and_a_closed_port_does_not(taken: int) -> None:
    assert machine.accepts("127.0.0.1", taken)
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert not machine.accepts("127.0.0.1", free, 0.2)


def test_a_state_keeps_the_driver_that_made_it(tmp_path: Path) -> None:
    assert machine.with_driver(Config(), tmp_path, "simulated").compute.driver == "simulated"
    machine.record(tmp_path, "simulated")
    assert machine.with_driver(Config(), tmp_path, "auto").compute.driver == "simulated"
    assert machine.with_driver(Config(), tmp_path, None).compute.driver == "simulated"
    with pytest.raises(Refusal) as refusal:
        machine.with_driver(Config(), tmp_path, "libvirt")
    assert refusal.value.code is Code.BAD_COMBINATION


def test_without_programs_the_error_names_them_and_the_simulated_driver(tmp_path: Path) -> None:
    assert machine.absent(str(tmp_path)) == list(machine.PROGRAMS)
    with pytest.raises(Refusal) as refusal:
        machine.check_hypervisor(machine.absent(str(tmp_path)), True)
    assert refusal.value.code is Code.NO_HYPERVISOR
    assert "qemu-system-x86_64" in refusal.value.text
    assert "--driver simulated" in refusal.value.hint


def test_without_root_the_error_names_sudo_and_the_simulated_driver() -> None:
    machine.check_hypervisor([], True)
    with pytest.raises(Refusal) as refusal:
        machine.check_hypervisor([], False)
    assert refusal.value.code is Code.NOT_PERMITTED
    assert "sudo" in refusal.value.hint
    assert "--driver simulated" in refusal.value.hint
