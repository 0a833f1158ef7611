"""Ansible's amazon.aws modules, unchanged, on a simulated cloud: every task is done twice, and the second time nothing
is changed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e import ansible_home
from tests.e2e.conftest import Simulated

pytestmark = pytest.mark.timeout(600)
PLAYBOOKS = Path(__file__).parent / "ansible"
SAID = r"^(?P<said>ok|changed|fatal|failed|skipping): \[localhost\]"
TASK = re.compile(rf"^TASK \[(?P<name>[^\]]+)\]|{SAID}", re.MULTILINE)
INFORMS = ("instance info", "image info", "snapshot info")


def results(output: str) -> Iterator[tuple[str, str]]:
    """(task, ok | changed | fatal), in order."""
    name = ""
    for found in TASK.finditer(output):
        if found["name"]:
            name = found["name"]
        else:
            yield name, found["said"]


@pytest.mark.parametrize("playbook", ["computing", "storage"])
def test_the_second_time_nothing_is_changed(simulated: Simulated, tmp_path: Path, playbook: str) -> None:
    home = ansible_home.home()
    zone = simulated.client("ec2").describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    own = {
        "ANSIBLE_COLLECTIONS_PATH": str(home / "collections"), "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "true", "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_PYTHON_INTERPRETER": str(home / "bin" / "python"), "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_TASK_TIMEOUT": "100",
    }  # fmt: skip
    given = f"image={simulated.image} zone={zone} mark=a{uuid4().hex[:8]}"
    argv = [str(home / "bin" / "ansible-playbook"), str(PLAYBOOKS / f"{playbook}.yml"), "-e", given]
    done = subprocess.run(argv, env=simulated.cloud.environment | simulated.cloud.exports | own, capture_output=True,
                          text=True, timeout=500, stdin=subprocess.DEVNULL, cwd=tmp_path)  # fmt: skip
    shown = f"{done.stdout[-4000:]}\n{done.stderr[-3000:]}\n{simulated.cloud.log()}"
    assert done.returncode == 0, shown
    pairs = list(pairwise(results(done.stdout)))[::2]
    assert len(pairs) >= 10
    for (task, first), (again, second) in pairs:
        assert task == again, shown
        assert (first, second) == ("ok" if task in INFORMS else "changed", "ok"), (task, shown)
