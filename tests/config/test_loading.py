"""Configuration mistakes as a table: what was written, and the line that is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudcore.config.lines import lines_of
from cloudcore.config.loading import SECTIONS, BadConfiguration, fields_of, load, parse
from cloudcore.config.model import Config
from cloudcore.domain.instance_types import BUILT_IN, InstanceType, table
from cloudcore.domain.quotas import ELASTIC, GIGABYTES, GROUPS, INSTANCES, LIMITS, RULES, SNAPSHOTS, VCPUS, VOLUMES
from cloudcore.errors import Code

MISTAKES = [
    # file                                     environment                          where, what, why
    ('[api]\nport = "eighty"', {}, 'line 2  [api] port = "eighty"   must be an integer 0–65535 (0 picks a free port)'),
    ("[api]\nport = 65536", {}, "line 2  [api] port = 65536   must be an integer 0–65535 (0 picks a free port)"),
    ("[api]\nport = -1", {}, "line 2  [api] port = -1   must be an integer 0–65535 (0 picks a free port)"),
    ("[api]\nport = true", {}, "line 2  [api] port = true   must be an integer 0–65535 (0 picks a free port)"),
    ("[api]\nport = 8773.5", {}, "line 2  [api] port = 8773.5   must be an integer 0–65535 (0 picks a free port)"),
    ('[api]\nlisen = "0.0.0.0"', {}, "line 2  [api] lisen = \"0.0.0.0\"   unknown key; did you mean 'listen'?"),
    ("[api]\nlisten = 1", {}, "line 2  [api] listen = 1   must be a text in quotes"),
    ("[ap]\nport = 1", {}, "line 1  [ap]   unknown section; did you mean 'api'?"),
    ("[zzzzzz]", {}, "line 1  [zzzzzz]   unknown section"),
    ("port = 1", {}, "line 1  port = 1   unknown section"),
    ("api = 1", {}, "line 1  api = 1   must be a section: [api]"),
    ("\napi.prt = 1", {}, "line 2  [api] prt = 1   unknown key; did you mean 'port'?"),
    ('[network]\nbridge = "br0"', {},
     'line 2  [network] bridge = "br0"   must begin with "cc" and have at most 15 letters and digits'),
    ('[network]\ncidr = "10.90.0.1/16"', {},
     'line 2  [network] cidr = "10.90.0.1/16"   must be an IPv4 network of /29 or larger, such as 10.90.0.0/16'),
    ('[compute]\ndriver = "kvm"', {},
     'line 2  [compute] driver = "kvm"   must be "auto", "libvirt" or "simulated"'),
    ("[compute]\nvcpu_ratio = 0", {}, "line 2  [compute] vcpu_ratio = 0   must be greater than 0"),
    ("[compute]\nvcpu_ratio = nan", {}, "line 2  [compute] vcpu_ratio = NaN   must be a number"),
    ('[bus]\nurl = "http://u:p@h"', {}, "line 2  [bus] url = …   must begin with amqp:// or amqps://"),
    ("", {"CLOUDCORE_API__PROT": "1"},
     "environment  CLOUDCORE_API__PROT   unknown variable; did you mean 'CLOUDCORE_API__PORT'?"),
    ("", {"CLOUDCORE_API__PORT": "many"},
     "environment  CLOUDCORE_API__PORT=many   must be an integer 0–65535 (0 picks a free port)"),
    ("", {"CLOUDCORE_BUS__URL": "http://u:secret@h"},
     "environment  CLOUDCORE_BUS__URL=…   must begin with amqp:// or amqps://"),
    ('[instance_types]\nwithdrawn = "r5.* x9.large"', {},
     'line 2  [instance_types] withdrawn = "r5.* x9.large"   must be names of built-in types, or patterns of them '
     "such as r5.*, with spaces between"),
    ('[instance_types]\nwithdrawn = "*"', {},
     'line 2  [instance_types] withdrawn = "*"   leaves no instance type at all'),
    ("", {"CLOUDCORE_INSTANCE_TYPES__WITHDRAWN": "*"},
     'environment  [instance_types] withdrawn = "*"   leaves no instance type at all'),
    ('[instance_types."m5.large"]\nvcpus = 2\nmemory_mib = 8192\ndisk_gib = 0', {},
     'line 4  [instance_types."m5.large"] disk_gib = 0   must be an integer 1–65536'),
    ('[instance_types."m5.large"]\nvcpus = true\nmemory_mib = 8192\ndisk_gib = 1', {},
     'line 2  [instance_types."m5.large"] vcpus = true   must be an integer 1–1024'),
    ('[instance_types."m5.large"]\nvcpus = 2', {},
     'line 1  [instance_types."m5.large"]   lacks memory_mib, disk_gib'),
    ('[instance_types]\n"m5.large" = { vcpus = 2, memory_mib = 64, disk_gib = 1, gpus = 1 }', {},
     'line 2  [instance_types."m5.large"] gpus = 1   unknown key; a type has vcpus, memory_mib, disk_gib'),
    ("[instance_types.m5.large]\nvcpus = 2", {},
     'line 1  [instance_types."m5"]   needs quotes: [instance_types."m5.large"]'),
    ('[instance_types."Big One"]\nvcpus = 2', {},
     'line 1  [instance_types."Big One"]   must be called FAMILY.SIZE, in small letters, digits and -, '
     "such as m5.large"),
    ("[instance_types]\nown = 1", {}, "line 2  [instance_types] own = 1   unknown key"),
    ("[api\n", {}, "file  is not TOML   Expected ']' at the end of a table declaration (at line 1, column 5)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "environ", "line"), MISTAKES, ids=[row[2] for row in MISTAKES])
def test_a_mistake_is_shown_with_its_place_and_reason(text: str, environ: dict[str, str], line: str) -> None:
    with pytest.raises(BadConfiguration) as refusal:
        parse(text, environ)
    assert refusal.value.code is Code.CONFIGURATION
    head, *lines = refusal.value.text.splitlines()
    assert head == "cloudcore.toml: 1 problem, nothing was started"
    assert lines == ["  " + line]


def test_all_mistakes_are_reported_at_once_in_order_and_in_columns() -> None:
    text = '# ours\n\n[api]\nport = "eighty"\nlisen = "0.0.0.0"\n'
    with pytest.raises(BadConfiguration) as refusal:
        parse(text, {"CLOUDCORE_LOG__LEVEL": "loud"})
    assert refusal.value.text.splitlines() == [
        "cloudcore.toml: 3 problems, nothing was started",
        '  line 4       [api] port = "eighty"       must be an integer 0–65535 (0 picks a free port)',
        "  line 5       [api] lisen = \"0.0.0.0\"     unknown key; did you mean 'listen'?",
        '  environment  CLOUDCORE_LOG__LEVEL=loud   must be "debug", "info", "warn" or "error"',
    ]


def test_an_empty_or_missing_file_means_the_defaults(tmp_path: Path) -> None:
    assert parse("", {}) == load(None, {}) == load(tmp_path / "missing.toml", {}) == Config()
    assert (Config().api.port, Config().objectstore.port, Config().metadata.port) == (8773, 3333, 8775)


def test_file_and_environment_join_and_the_environment_wins(tmp_path: Path) -> None:
    path = tmp_path / "cloudcore.toml"
    path.write_text('[api]\nport = 1\nlisten = "::"\n[compute]\nvcpu_ratio = 2\n')
    environ = {"CLOUDCORE_API__PORT": "0", "CLOUDCORE_QUOTAS__INSTANCES": "7", "HOME": "/", "CLOUDCORE_X": "y"}
    config = load(path, environ)
    assert (config.api.port, config.api.listen, config.quotas.instances) == (0, "::", 7)
    assert isinstance(config.compute.vcpu_ratio, float)


def test_instance_types_are_added_replaced_and_withdrawn() -> None:
    text = """[instance_types]
withdrawn = "r5.* t3.micro"
"tiny.one" = { vcpus = 1, memory_mib = 64, disk_gib = 1 }
[instance_types."m5.large"]
vcpus = 3
memory_mib = 8000
disk_gib = 20
"""
    types = parse(text, {}).instance_types
    assert types.own == (InstanceType("tiny.one", 1, 64, 1), InstanceType("m5.large", 3, 8000, 20))
    offered = table(types.own, types.withdrawn.split())
    assert offered["m5.large"].vcpus == 3
    assert set(offered) == {kind.name for kind in BUILT_IN if not kind.name.startswith("r5.")} - {"t3.micro"} | {
        "tiny.one"}  # fmt: skip


def test_a_cloud_may_have_types_of_its_own_alone() -> None:
    only = '[instance_types."tiny.one"]\nvcpus = 1\nmemory_mib = 64\ndisk_gib = 1\n'
    types = parse(only, {"CLOUDCORE_INSTANCE_TYPES__WITHDRAWN": "*"}).instance_types
    assert list(table(types.own, types.withdrawn.split())) == ["tiny.one"]


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "cloudcore.toml"
    path.write_bytes(b"\xff")
    for unreadable in (path, tmp_path):
        with pytest.raises(BadConfiguration, match="cannot be read"):
            load(unreadable, {})


def test_the_defaults_keep_their_own_rules() -> None:
    assert parse("", {}) == Config()
    every = {f"CLOUDCORE_{section}__{name}".upper(): str(getattr(getattr(Config(), section), name))
             for section in SECTIONS for name in fields_of(section)}
    assert set(SECTIONS) == set(Config.__slots__)
    assert len(every) > 40
    assert parse("", every) == Config()


def test_default_quotas_are_those_of_the_domain() -> None:
    given = Config().quotas
    assert {INSTANCES: given.instances, VCPUS: given.vcpus, GROUPS: given.security_groups, RULES: given.rules,
            ELASTIC: given.elastic_addresses, VOLUMES: given.volumes, GIGABYTES: given.volume_gigabytes,
            SNAPSHOTS: given.snapshots} == LIMITS  # fmt: skip


def test_lines_are_found_around_comments_quotes_and_long_texts() -> None:
    text = '\n# [no]\n[ "a" ] # yes\nb=1\n  "c" = """\nd = 2\n[e]\n"""\nf.g = 3\n[h.i]\n'
    assert lines_of(text) == {("a",): 3, ("a", "b"): 4, ("a", "c"): 5, ("a", "f", "g"): 9, ("h", "i"): 10}
