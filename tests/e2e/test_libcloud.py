"""apache-libcloud's EC2 driver, unchanged, on a simulated cloud: no list is empty where there is something, no success
reads as False. It sends every request as a GET, matches the exact namespace, numbers its lists from 0 or not at all,
and in its old regions signs by Version 2."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from libcloud.common.types import InvalidCredsError
from libcloud.compute.drivers.ec2 import EC2NodeDriver

from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    old_clients_too = {"CLOUDCORE_API__SIGV2": "true"}
    made = Cloud(tmp_path_factory.mktemp("libcloud") / "state", environment(6) | old_clients_too)
    made.up("simulated")
    made.run("image", "build-tiny")
    yield made
    made.remove()


def driver_of(cloud: Cloud, version: str = "4", secret: str | None = None) -> Any:
    place, exports = urlsplit(cloud.exports["AWS_ENDPOINT_URL_EC2"]), cloud.exports
    return EC2NodeDriver(
        exports["AWS_ACCESS_KEY_ID"], secret or exports["AWS_SECRET_ACCESS_KEY"], secure=False, host=place.hostname,
        port=place.port, region=exports["AWS_DEFAULT_REGION"], signature_version=version)  # fmt: skip


@pytest.fixture
def driver(cloud: Cloud) -> Any:
    return driver_of(cloud)


def size(driver: Any, name: str) -> Any:
    return next(one for one in driver.list_sizes() if one.id == name)


def arrives(driver: Any, node: Any, state: str) -> Any:
    def there() -> Any:
        return next((one for one in driver.list_nodes(ex_node_ids=[node.id]) if one.state == state), None)

    return until(there, f"{node.id} is {state}")


@pytest.mark.parametrize("version", ["2", "4"])
def test_what_a_cloud_has_from_its_first_day(cloud: Cloud, version: str) -> None:
    driver = driver_of(cloud, version)
    region = cloud.exports["AWS_DEFAULT_REGION"]
    assert [one.name for one in driver.list_images()] == ["tiny"]
    assert [one.name for one in driver.list_images(ex_owner="self")] == ["tiny"]
    assert [one.availability_zone.region_name for one in driver.list_locations()] == [region]
    assert driver.ex_list_security_groups() == ["default"]
    assert "default" in [one.name for one in driver.list_key_pairs()]
    [network] = driver.ex_list_networks()
    [subnet] = driver.ex_list_subnets()
    assert subnet.extra["vpc_id"] == network.id
    assert driver.ex_list_internet_gateways() and driver.ex_list_route_tables()
    assert driver.ex_get_limits()["resource"]["max-instances"] > 0


@pytest.mark.parametrize("version", ["2", "4"])
def test_a_wrong_secret_is_refused(cloud: Cloud, version: str) -> None:
    with pytest.raises(InvalidCredsError):
        driver_of(cloud, version, "x" * 40).list_images()


def test_key_pairs(driver: Any, tmp_path: Path) -> None:
    made = driver.create_key_pair("made")
    assert "PRIVATE KEY" in made.private_key
    assert driver.get_key_pair("made").fingerprint == made.fingerprint
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    brought = driver.import_key_pair_from_file("brought", str(tmp_path / "key.pub"))
    assert {"made", "brought"} <= {one.name for one in driver.list_key_pairs()}
    assert driver.get_key_pair("brought").fingerprint == brought.fingerprint
    assert driver.delete_key_pair(made) is True
    assert driver.delete_key_pair(brought) is True
    assert not {"made", "brought"} & {one.name for one in driver.list_key_pairs()}


def test_security_groups(driver: Any) -> None:
    id = driver.ex_create_security_group("web", "web servers")["group_id"]
    assert driver.ex_authorize_security_group("web", "22", "22", "0.0.0.0/0") is True
    assert driver.ex_authorize_security_group("web", "22", "22", "0.0.0.0/0") is None  # a duplicate it knows as one
    assert driver.ex_authorize_security_group_ingress(id, 80, 81, cidr_ips=["10.0.0.0/8"]) is True
    assert driver.ex_authorize_security_group_ingress(id, 82, 82, group_pairs=[{"group_id": id}]) is True
    assert driver.ex_authorize_security_group_egress(id, 53, 53, cidr_ips=["10.0.0.0/8"], protocol="udp") is True
    [group] = driver.ex_get_security_groups(group_names=["web"])
    opened = {(rule["from_port"], tuple(rule["cidr_ips"])) for rule in group.ingress_rules}
    assert opened == {("22", ("0.0.0.0/0",)), ("80", ("10.0.0.0/8",)), ("82", ())}
    assert [pair["group_id"] for rule in group.ingress_rules for pair in rule["group_pairs"]] == [id]
    assert driver.ex_revoke_security_group_ingress(id, 80, 81, cidr_ips=["10.0.0.0/8"]) is True
    assert driver.ex_revoke_security_group_egress(id, 53, 53, cidr_ips=["10.0.0.0/8"], protocol="udp") is True
    assert driver.ex_delete_security_group_by_id(id) is True
    assert driver.ex_list_security_groups() == ["default"]
    driver.ex_create_security_group("web", "web servers")
    assert driver.ex_delete_security_group("web") is True


def test_the_life_of_a_node(driver: Any) -> None:
    [image], [subnet] = driver.list_images(), driver.ex_list_subnets()
    group = driver.ex_create_security_group("life", "of a node")["group_id"]
    asked = {"name": "first", "image": image, "size": size(driver, "t3.nano"), "ex_keyname": "default",
             "ex_securitygroup": ["life"], "ex_userdata": "#!/bin/sh\n", "ex_metadata": {"role": "web"},
             "ex_clienttoken": "once", "location": driver.list_locations()[0]}  # fmt: skip
    node = driver.create_node(**asked)
    assert driver.create_node(**asked).id == node.id
    other = driver.create_node(name="second", image=image, size=size(driver, "t3.nano"), ex_subnet=subnet,
                               ex_security_group_ids=[group])  # fmt: skip
    [(running, addresses)] = driver.wait_until_running([node], wait_period=0.2, ssh_interface="private_ips")
    assert (running.state, running.name, running.private_ips) == ("running", "first", addresses)
    assert running.extra["key_name"] == "default"
    assert [one["group_name"] for one in running.extra["groups"]] == ["life"]
    assert {one.name for one in driver.list_nodes()} == {"first", "second"}
    assert [one.id for one in driver.list_nodes(ex_filters={"tag:role": "web"})] == [node.id]
    assert len(driver.ex_list_network_interfaces()) == 2
    assert driver.ex_get_console_output(node)["instance_id"] == node.id

    assert driver.reboot_node(node) is True
    assert driver.stop_node(node) is True
    arrives(driver, node, "stopped")
    assert driver.ex_change_node_size(running, size(driver, "t3.micro")) is True
    assert driver.start_node(node) is True
    assert arrives(driver, node, "running").extra["instance_type"] == "t3.micro"

    assert driver.destroy_node(node) is True
    assert driver.destroy_node(other) is True
    arrives(driver, node, "terminated")
    arrives(driver, other, "terminated")
    assert driver.ex_delete_security_group_by_id(group) is True


def test_tags(driver: Any) -> None:
    [image] = driver.list_images()
    assert driver.ex_create_tags(image, {"role": "base", "empty": ""}) is True
    assert driver.ex_describe_tags(image) == {"role": "base", "empty": ""}
    assert driver.list_images()[0].extra["tags"]["role"] == "base"
    assert driver.ex_delete_tags(image, {"role": "base", "empty": None}) is True
    assert driver.ex_describe_tags(image) == {}
