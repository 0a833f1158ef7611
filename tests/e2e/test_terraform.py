"""Terraform (or OpenTofu) with the AWS provider, where its program and a mirror of the provider are there: neither
comes from Debian or PyPI. Apply, an empty plan straight after, destroy, and nothing is left."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.conftest import Simulated

PROGRAM = shutil.which("terraform") or shutil.which("tofu")
MIRRORS = (Path("/usr/share/terraform/plugins"), Path("/usr/local/share/terraform/plugins"),
           Path.home() / ".terraform.d" / "plugins")  # fmt: skip
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


def test_apply_plan_without_drift_destroy(simulated: Simulated, tmp_path: Path) -> None:
    mark = f"t{uuid4().hex[:8]}"
    (tmp_path / "main.tf").write_text(CONFIGURATION % {"mark": mark, "image": simulated.image})
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
    assert simulated.client("ec2").describe_instances(Filters=named)["Reservations"] == []
