"""What the documents say can be typed, and the reference is made from today's tables."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from cloudcore.api import empties
from cloudcore.api.catalogue import ACTIONS
from cloudcore.cli.commands import COMMANDS
from cloudcore.cli.entry import parser

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def program(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def generator() -> ModuleType:
    return program("docs/reference.py")


def test_the_reference_is_current(generator: ModuleType) -> None:
    written = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert written == generator.reference(), "run: .venv/bin/python docs/reference.py"
    for command in COMMANDS:
        assert f"`cloudcore {command.words}" in written


def test_the_reference_hides_what_is_not_for_people(generator: ModuleType) -> None:
    assert "in-background" not in generator.reference()


def test_the_list_of_actions_is_current_and_whole() -> None:
    ec2 = program("docs/ec2.py")
    written = (ROOT / "docs" / "ec2.md").read_text("utf-8")
    assert written == ec2.document(), "run: .venv/bin/python docs/ec2.py"
    offered = [name for actions in ACTIONS.values() for name in actions]
    assert sorted(re.findall(r"^(?:\| |\* )`([A-Z]\w+)`(?= \||$)", written, re.MULTILINE)) == sorted(offered)
    assert set(ec2.REMARKS) <= set(offered)


def test_the_readme_counts_the_actions() -> None:
    whole, none = len(ACTIONS["ec2"]), len(empties.ACTIONS)
    assert f"| EC2 API | {whole} actions, {none} of them describes of what cannot exist here |" in README


def test_every_dependency_has_its_reason() -> None:
    told = (ROOT / "docs" / "dependencies.md").read_text("utf-8").lower()
    ours = re.findall(r'"([A-Za-z][\w-]+)(?:\[\w+\])?(?:[>=]=[^"]*)"', (ROOT / "setup.py").read_text("utf-8"))
    setup = program("setup/bootstrap.py")
    from_debian = (*setup.GUESTS, *setup.ALWAYS, *setup.TESTS)
    assert len(ours) > 15
    missing = [name for name in (*ours, *from_debian) if not re.search(rf"\b{re.escape(name.lower())}\b", told)]
    assert missing == ["libvirt-python"]  # Debian's python3-libvirt, by its other name


def test_commands_in_the_readme_can_be_typed() -> None:
    typed = re.findall(r"bin/cloudcore ([a-z][^\n`)#]*)", README)
    assert len(typed) > 5
    for line in typed:
        parser().parse_args(shlex.split(line))


def test_targets_in_the_readme_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_files_that_the_readme_names_are_there_and_it_is_short() -> None:
    missing = [name for name in re.findall(r"\]\(([^):#]+)\)", README) if not (ROOT / name).exists()]
    assert not missing
    assert len(README.splitlines()) < 250
