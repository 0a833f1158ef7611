"""The command table: every row can be typed, and names a function that is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from cloudcore.cli.commands import COMMANDS, NOUNS, Command
from cloudcore.cli.entry import function_of, main, parser
from cloudcore.cli.printing import FAILED, USAGE

PROMISED = """up down status doctor env logs
user list|user create|user delete|user show|project list|project create|project delete|project show|key list|key create|
key delete|key show|image list|image show|image import|image build-tiny|image delete|network list|network show|
host list|host show|db migrate|config check|config show"""


def test_what_other_tools_build_on_is_there() -> None:
    first, _, rest = PROMISED.partition("\n")
    promised = {*first.split(), *rest.replace("\n", "").split("|")}
    assert promised <= {command.words for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_has_its_function(command: Command) -> None:
    assert callable(function_of(command))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_takes_a_state_and_says_what_it_is_for(command: Command) -> None:
    needed = [flag for argument in command.arguments for flag in argument.flags
              if not flag.startswith("-") or argument.options.get("required")]
    words = [word for flag in needed for word in ((flag, "x") if flag.startswith("-") else ("x",))]
    options = parser().parse_args([*command.words.split(), *words, "--state", "/somewhere"])
    assert options.state == "/somewhere"
    assert options.command is command
    assert command.says


def test_every_noun_is_explained_and_no_command_stands_twice() -> None:
    nouns = {command.words.split()[0] for command in COMMANDS if " " in command.words}
    assert nouns == set(NOUNS)
    assert len({command.words for command in COMMANDS}) == len(COMMANDS)


def test_commands_that_speak_json_say_so_alike() -> None:
    silent = {"up", "down", "env"}
    for command in COMMANDS:
        flags = {flag for argument in command.arguments for flag in argument.flags}
        assert "--json" in flags or command.words in silent, command.words


def test_verbs_that_destroy_can_be_told_yes() -> None:
    for command in COMMANDS:
        if command.words.endswith(" delete"):
            assert any("--yes" in argument.flags for argument in command.arguments), command.words


@pytest.mark.parametrize("words", [[], ["fly"], ["user"], ["user", "fly"], ["up", "--driver", "xen"], ["user", "show"]])
def test_what_is_no_command_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == USAGE
    assert "usage: cloudcore" in capsys.readouterr().err


def stumble(options: object, console: object) -> int:
    raise KeyError("x")


@pytest.mark.parametrize("log", [True, False])
def test_a_mistake_of_ours_is_one_line_and_its_traceback_goes_to_a_file(
        log: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if log:
        (tmp_path / "log").mkdir()
    assert main(["status", "--state", str(tmp_path)], {"status": stumble}) == FAILED
    said = capsys.readouterr().err
    assert "error: this is a mistake in cloudcore: KeyError: 'x'" in said
    assert "--debug" in said
    assert "Traceback" not in said
    file = tmp_path / "log" / "cli.log"
    assert (str(file) in said) is log
    if log:
        assert 'raise KeyError("x")' in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--debug", "--state", str(tmp_path)], {"status": stumble}) == FAILED
    assert 'raise KeyError("x")' in capsys.readouterr().err


def test_the_table_is_read_without_loading_the_cloud() -> None:
    """`cloudcore --help` and completion stay quick: no command's module is imported for the table."""
    source = Path(importlib.util.find_spec("cloudcore.cli.commands").origin or "").read_text()  # type: ignore[union-attr]
    assert "import cloudcore" not in source
    assert "from cloudcore" not in source
