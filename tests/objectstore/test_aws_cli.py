"""`aws s3` as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.objectstore.wire import keys

AWS = Path(sys.executable).parent / "aws"


@pytest.mark.skipif(not AWS.exists(), reason="the aws command line is not installed")
def test_the_command_line_copies_lists_presigns_and_removes(running: Any, tmp_path: Path) -> None:
    access_key, secret = keys("alice")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": "us-east-2", "AWS_ENDPOINT_URL_S3": running.url()}

    def aws(*arguments: str) -> str:
        done = subprocess.run([str(AWS), *arguments], env=environment, capture_output=True, text=True,  # noqa: S603
                              timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    big, back = tmp_path / "big file.img", tmp_path / "back.img"
    big.write_bytes(os.urandom(17 << 20))
    aws("s3", "mb", "s3://by-hand")
    aws("s3", "cp", str(big), "s3://by-hand/images/", "--quiet")
    aws("s3", "cp", "s3://by-hand/images/big file.img", "s3://by-hand/copy", "--quiet")
    assert "PRE images/" in aws("s3", "ls", "s3://by-hand")
    aws("s3", "cp", "s3://by-hand/copy", str(back), "--quiet")
    assert back.read_bytes() == big.read_bytes()
    aws("s3", "rb", "--force", "s3://by-hand")
