"""A role from inside a real guest: it reads its key from its metadata, the key opens EC2, STS and S3 as the role's
policy says, and the profile comes and goes under the running guest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.e2e import main_job
from tests.e2e.clouds import Cloud, environment, until

pytestmark = pytest.mark.timeout(900)

READ = "wget -q -O - http://169.254.169.254/latest/meta-data/iam"
AT_BOOT = f"#!/bin/sh\necho roles: $({READ}/security-credentials/) info: $({READ}/info)\n"
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]}  # fmt: skip
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["ec2:Describe*", "s3:*"], "Resource": "*"}]}  # fmt: skip


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("roles") / "state", environment(8))
    try:
        made.up("libvirt")
        yield made
    finally:  # a start that fails may leave something, too
        made.remove()


def acting(cloud: Cloud, service: str, key: str, secret: str, token: str | None = None) -> Any:
    endpoint = cloud.exports["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL_EC2"]
    session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token,
                                    region_name=cloud.exports["AWS_DEFAULT_REGION"])  # fmt: skip
    config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=60)
    return session.client(service, endpoint_url=endpoint, config=config)


def administrator(cloud: Cloud) -> Any:
    lines = cloud.run("env", "--user", "admin").stdout
    mine = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", lines, re.MULTILINE))
    return acting(cloud, "iam", mine["AWS_ACCESS_KEY_ID"], mine["AWS_SECRET_ACCESS_KEY"])


def make_profile(iam: Any) -> str:
    iam.create_role(RoleName="server", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName="server", PolicyName="p", PolicyDocument=json.dumps(POLICY))
    made = iam.create_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="server")
    iam.get_waiter("instance_profile_exists").wait(InstanceProfileName="web", WaiterConfig={"MaxAttempts": 1})
    return str(made["Arn"])


def refused(ask: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        ask(**parameters)
    return str(caught.value.response["Error"]["Code"])


def dead(client: Any) -> bool:
    try:
        client.describe_regions()
    except ClientError as problem:
        return bool(problem.response["Error"]["Code"] == "AuthFailure")
    return False


def test_a_guest_acts_as_its_role(cloud: Cloud, tmp_path: Path) -> None:
    cloud.run("image", "build-tiny", "--output", str(tmp_path))
    iam, ec2 = administrator(cloud), cloud.client("ec2")
    arn = make_profile(iam)
    image = main_job.register_tiny(cloud, next(tmp_path.rglob("tiny.raw")), "roles")
    login = main_job.make_key(cloud, "roles", tmp_path)
    group = ec2.create_security_group(GroupName="roles", Description="roles")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
    made = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, KeyName="roles",
                             SecurityGroupIds=[group], UserData=AT_BOOT,
                             IamInstanceProfile={"Name": "web"})  # fmt: skip
    instance = made["Instances"][0]["InstanceId"]
    main_job.wait_running(ec2, [instance])
    text = main_job.wait_for_words(ec2, instance, " login")
    assert "roles: server info: {" in text and arn in text, "it had its role when it booted"
    address = main_job.describe(ec2, instance)["PrivateIpAddress"]

    def inside(path: str) -> str:
        return main_job.ssh(address, login, f"{READ}/{path} 2>&1 || true")

    until(lambda: main_job.reaches(address, 22), "ssh", 20)
    held = json.loads(inside("security-credentials/server"))
    assert (held["Code"], held["Type"]) == ("Success", "AWS-HMAC")
    key = held["AccessKeyId"], held["SecretAccessKey"], held["Token"]
    seen = acting(cloud, "sts", *key).get_caller_identity()["Arn"]
    assert seen.endswith(f":assumed-role/server/{instance}")
    mine, store = acting(cloud, "ec2", *key), acting(cloud, "s3", *key)
    assert main_job.describe(mine, instance)["IamInstanceProfile"]["Arn"] == arn
    assert refused(mine.stop_instances, InstanceIds=[instance]) == "UnauthorizedOperation"
    store.put_object(Bucket="roles", Key="from-the-role", Body=b"data")
    assert cloud.client("s3").get_object(Bucket="roles", Key="from-the-role")["Body"].read() == b"data"
    assert held["SecretAccessKey"] not in cloud.log() and held["Token"] not in cloud.log()

    (association,) = ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [instance]}])["IamInstanceProfileAssociations"]
    assert association["State"] == "associated"
    ec2.disassociate_iam_instance_profile(AssociationId=association["AssociationId"])
    until(lambda: dead(mine), "the key is dead", 6)
    unknown = refused(store.get_object, Bucket="roles", Key="from-the-role")
    assert unknown == "SignatureDoesNotMatch", "as every key that is not there"
    until(lambda: "404" in inside("security-credentials/"), "the guest is told of no role", 15)

    again = ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Arn": arn})
    assert again["IamInstanceProfileAssociation"]["AssociationId"] != association["AssociationId"]
    until(lambda: inside("security-credentials/") == "server", "the guest is told of its role", 15)
    fresh = json.loads(inside("security-credentials/server"))
    assert fresh["AccessKeyId"] != held["AccessKeyId"]
    last = acting(cloud, "ec2", fresh["AccessKeyId"], fresh["SecretAccessKey"], fresh["Token"])
    assert not dead(last)

    ec2.terminate_instances(InstanceIds=[instance])
    until(lambda: dead(last), "the key is dead", 6)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="server")
    iam.delete_role_policy(RoleName="server", PolicyName="p")
    iam.delete_role(RoleName="server")
    iam.delete_instance_profile(InstanceProfileName="web")
