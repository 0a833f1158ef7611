"""The console's log: bounded, and its end is always to be had."""

import os

from cloudcore.virt.libvirt_driver import read_console, trim_console


def test_no_log_is_an_empty_console(tmp_path):
    trim_console(tmp_path)
    assert read_console(tmp_path) == b""


def test_only_the_end_is_given(tmp_path):
    (tmp_path / "console.log").write_bytes(b"a" * 100 + b"end")
    assert read_console(tmp_path, limit=10) == b"a" * 7 + b"end"


def test_a_long_log_is_emptied_in_place_and_goes_on(tmp_path):
    log = tmp_path / "console.log"
    guest = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(guest, b"x" * 5000 + b"before|")
    trim_console(tmp_path, limit=4000, keep=100)
    assert log.stat().st_size == 0
    os.write(guest, b"after")
    os.close(guest)
    assert log.read_bytes() == b"after"
    assert read_console(tmp_path, limit=20).endswith(b"before|after")
    assert len(read_console(tmp_path)) == 105


def test_a_link_in_the_logs_place_leads_nowhere(tmp_path):
    (tmp_path / "console.log").symlink_to("/etc/passwd")
    assert read_console(tmp_path) == b""
