from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from cloudcore.cli.printing import FAILED, REFUSED, TIMED_OUT, Console, Refusal, called, word
from cloudcore.cli.progress import Step, size
from cloudcore.errors import CloudError, Code


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ROWS = [{"name": "a", "free": 12, "on": True}, {"name": "longer", "free": None, "on": False}]


def printed(terminal: bool, as_json: bool) -> str:
    out = Terminal() if terminal else io.StringIO()
    Console(out, io.StringIO()).table(ROWS, ("name", "free", "on"), as_json)
    return out.getvalue()


def test_a_table_on_a_terminal_has_a_head_and_columns() -> None:
    assert printed(True, False) == "NAME    FREE  ON\na       12    yes\nlonger  -     no\n"


def test_a_table_in_a_pipe_is_tab_separated_without_a_head() -> None:
    assert printed(False, False) == "a\t12\tyes\nlonger\t-\tno\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_json_is_the_same_data_everywhere(terminal: bool) -> None:
    assert json.loads(printed(terminal, True)) == ROWS


@pytest.mark.parametrize(("value", "cell"), [
    (None, "-"), ("", "-"), (True, "yes"), ([], "-"), (["a", "b"], "a,b"), (1.50, "1.5"),
    ("two\tlines\nhere", "two lines here"),
])  # fmt: skip
def test_a_cell_never_breaks_its_row(value: object, cell: str) -> None:
    assert word(value) == cell


@pytest.mark.parametrize(("problem", "status", "lines"), [
    (CloudError(Code.USER_UNKNOWN, "no bob"), REFUSED, ["error: no bob", f"try:   {called()} user list"]),
    (CloudError(Code.PORT_TAKEN, "taken"), FAILED, ["error: taken"]),
    (Refusal(Code.CAPACITY, "no room", "host list", why="too small\nfor it", status=TIMED_OUT), TIMED_OUT,
     ["error: no room", "why:   too small", "       for it", "try:   host list"]),
])  # fmt: skip
def test_an_error_says_what_why_and_what_to_try(problem: CloudError, status: int, lines: list[str]) -> None:
    err = io.StringIO()
    assert Console(io.StringIO(), err).error(problem) == status
    assert err.getvalue().splitlines() == lines


def test_commands_in_a_hint_are_as_they_are_typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "cloudcore up    or: cloudcore db migrate, with the cloudcore that made /x/cloudcore up"
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.chdir(tmp_path)
    said = []
    for _ in range(2):
        err = io.StringIO()
        Console(io.StringIO(), err).error(Refusal(Code.CAPACITY, "x", hint))
        said.append(err.getvalue().splitlines()[1])
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "cloudcore").touch()
    assert said[0] == f"try:   {hint}"
    assert said[1] == ("try:   bin/cloudcore up    or: bin/cloudcore db migrate, with the cloudcore that made "
                       "/x/cloudcore up")


def test_a_step_in_a_pipe_is_one_line() -> None:
    err = io.StringIO()
    step = Step("image", err)
    for done in range(0, 101, 10):
        step.at(done, 100)
    step.result = "tiny ami-1"
    step.end()
    assert err.getvalue().rstrip() == "  image          tiny ami-1"


def test_a_step_on_a_terminal_draws_over_itself() -> None:
    err = Terminal()
    step = Step("image", err)
    step.at(50, 100)
    step.end()
    assert "━" * 12 + " " in err.getvalue()
    assert err.getvalue().count("\n") == 1


def test_sizes_are_readable() -> None:
    assert [size(count) for count in (0, 1023, 2048, 5 << 20, 3 << 30)] == [
        "0 B", "1023 B", "2 KiB", "5 MiB", "3.0 GiB"]
