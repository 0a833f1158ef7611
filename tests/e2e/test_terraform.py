"""Terraform (or OpenTofu) with the AWS provider, where its program and a mirror of the provider (TERRAFORM_MIRROR
names one elsewhere) are there: neither comes from Debian or PyPI. Apply, an empty plan straight after, destroy, and
nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.conftest import Simulated

PROGRAM = shutil.which("terraform") or shutil.which("tofu")
MIRRORS = (Path(os.environ.get("TERRAFORM_MIRROR", "/nowhere")), Path("/usr/share/terraform/plugins"),
           Path("/usr/local/share/terraform/plugins"), Path.home() / ".terraform.d" / "plugins")  # fmt: skip
MIRROR = next((place for place in MIRRORS if list(place.glob("*/hashicorp/aws"))), None)
pytestmark = [
    pytest.mark.timeout(600), pytest.mark.where_present,
    pytest.mark.skipif(not (PROGRAM and MIRROR), reason="no terraform or tofu with a mirror of hashicorp/aws"),
]  # fmt: skip

CONFIGURATION = """
terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}
provider "aws" {}
resource "aws_security_group" "web" {
  name = "%(mark)s"
  ingress {
    from_port = 22
    to_port = 22
    protocol = "tcp"
    cidr_blocks = ["10.0.0.0/8"]
  }
}
resource "aws_instance" "web" {
  ami = "%(image)s"
  instance_type = "t3.nano"
  vpc_security_group_ids = [aws_security_group.web.id]
  user_data = "#!/bin/sh\\n"
  tags = { Name = "%(mark)s" }
}
resource "aws_eip" "web" {
  instance = aws_instance.web.id
  domain = "vpc"
}
resource "aws_ebs_volume" "data" {
  availability_zone = aws_instance.web.availability_zone
  size = 1
  type = "gp3"
}
resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id = aws_ebs_volume.data.id
  instance_id = aws_instance.web.id
}
"""


STORAGE = """
terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}
provider "aws" {}
resource "aws_instance" "disks" {
  ami = "%(image)s"
  instance_type = "t3.nano"
  root_block_device {
    volume_size = 3
    volume_type = "gp3"
    tags = { Name = "%(mark)s" }
  }
  ebs_block_device {
    device_name = "/dev/sdh"
    snapshot_id = aws_ebs_snapshot.data.id
    volume_size = 8
    volume_type = "gp3"
    iops = 3000
    throughput = 150
  }
}
resource "aws_ebs_volume" "data" {
  availability_zone = "us-east-2a"
  size = 1
}
resource "aws_ebs_volume" "restored" {
  availability_zone = "us-east-2a"
  snapshot_id = aws_ebs_snapshot.data.id
}
resource "aws_ebs_snapshot" "data" {
  volume_id = aws_ebs_volume.data.id
  description = "of %(mark)s"
}
resource "aws_ebs_snapshot_copy" "data" {
  source_snapshot_id = aws_ebs_snapshot.data.id
  source_region = "us-east-2"
}
resource "aws_snapshot_create_volume_permission" "data" {
  snapshot_id = aws_ebs_snapshot.data.id
  account_id = "123456789012"
}
resource "aws_ami" "registered" {
  name = "%(mark)s"
  description = "%(mark)s"
  virtualization_type = "hvm"
  root_device_name = "/dev/xvda"
  ebs_block_device {
    device_name = "/dev/xvda"
    snapshot_id = aws_ebs_snapshot.data.id
    volume_size = 8
  }
  ebs_block_device {
    device_name = "/dev/xvdb"
    volume_size = 2
    volume_type = "gp3"
    iops = 3000
    throughput = 125
  }
  ephemeral_block_device {
    device_name = "/dev/sdb"
    virtual_name = "ephemeral0"
  }
}
resource "aws_ami_launch_permission" "registered" {
  image_id = aws_ami.registered.id
  account_id = "123456789012"
}
resource "aws_ami_copy" "copied" {
  name = "%(mark)s-copied"
  source_ami_id = aws_ami.registered.id
  source_ami_region = "us-east-2"
}
resource "aws_ami_from_instance" "made" {
  name = "%(mark)s-made"
  source_instance_id = aws_instance.disks.id
}
"""


@pytest.mark.parametrize("configuration", [CONFIGURATION, STORAGE], ids=["instance", "storage"])
def test_apply_plan_without_drift_destroy(simulated: Simulated, tmp_path: Path, configuration: str) -> None:
    mark = f"t{uuid4().hex[:8]}"
    (tmp_path / "main.tf").write_text(configuration % {"mark": mark, "image": simulated.image})
    (tmp_path / "cli.tfrc").write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{MIRROR}" }}\n}}\n')
    own = {"TF_CLI_CONFIG_FILE": str(tmp_path / "cli.tfrc"), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1",
           "AWS_REGION": simulated.cloud.exports["AWS_DEFAULT_REGION"]}  # fmt: skip

    def terraform(*words: str) -> None:
        done = subprocess.run([str(PROGRAM), *words], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                              env=simulated.cloud.environment | simulated.cloud.exports | own)  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    terraform("init", "-input=false")
    terraform("apply", "-auto-approve", "-input=false")
    terraform("plan", "-detailed-exitcode", "-input=false")
    terraform("destroy", "-auto-approve", "-input=false")
    named = [{"Name": "tag:Name", "Values": [mark]}, {"Name": "instance-state-name", "Values": ["running", "stopped"]}]
    ec2 = simulated.client("ec2")
    assert ec2.describe_instances(Filters=named)["Reservations"] == []
    assert ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [f"{mark}*"]}])["Images"] == []
