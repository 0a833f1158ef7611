"""The law of the house, read from the syntax tree. The median of a code base says little, its tail says all: every
god class grew by small additions, so the limits hold from the first commit.

A violation is reported with its place and the limit. Nothing is exempt by name except where a reason stands beside it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("cloudcore", "objectstore", "dashboard")

MODULE_LINES, FUNCTION_LINES, PUBLIC_METHODS, PARAMETERS, COLUMNS = 400, 60, 15, 6, 120

# A lower rank never imports a higher one.
RANKS = {
    "cloudcore.domain": 0, "cloudcore.errors": 0,
    "cloudcore.signing": 1, "cloudcore.process": 1, "cloudcore.config": 1, "cloudcore.journal": 1,
    "cloudcore.web": 1,
    "cloudcore.rpc": 2,
    "cloudcore.bus": 3, "cloudcore.store": 3, "cloudcore.virt": 3, "cloudcore.netdev": 3,
    "cloudcore.blockdev": 3,
    "cloudcore.auth": 4,
    "cloudcore.api": 5, "cloudcore.conductor": 5, "cloudcore.scheduler": 5, "cloudcore.network": 5,
    "cloudcore.compute": 5, "cloudcore.volume": 5, "cloudcore.images": 5, "cloudcore.metadata": 5, "objectstore": 5,
    "cloudcore.daemon": 6, "cloudcore.cli": 6,
}  # fmt: skip
SERVICES, ROOTS = 5, 6  # services speak with one another through rpc alone; only composition roots meet everything
DASHBOARD = ("dashboard", "cloudcore.signing", "cloudcore.config", "cloudcore.errors")
STORE_USERS = ("cloudcore.store", "cloudcore.auth", "cloudcore.api", "cloudcore.conductor", "cloudcore.scheduler",
               "cloudcore.daemon", "cloudcore.cli")  # nothing that runs beside guests

# Who may import what does harm elsewhere.
ONLY_IN = {
    "sqlalchemy": ("cloudcore.store", "cloudcore.auth.sql"),
    "alembic": ("cloudcore.store",),
    "psycopg": ("cloudcore.store",),
    "txamqp": ("cloudcore.bus",),
    "libvirt": ("cloudcore.virt",),
    "PIL": ("cloudcore.virt",),
    "nftables": ("cloudcore.netdev",),
    "botocore": ("cloudcore.api",),
    "boto3": (),
    "pickle": (), "marshal": (), "shelve": (), "dill": (),  # code by another name (S18)
    "unittest": (),  # tests build things with fakes through their constructors
}  # fmt: skip
BOTOCORE_MODULES = 1
NAMES_THAT_SAY_NOTHING = frozenset({"manager", "handler", "engine", "helper", "helpers", "processor", "utils", "util",
                                    "common", "base", "misc"})
NAMED_SO = frozenset({"cloudcore.auth.manager"})  # the Auth Manager: that is its name
CALLS = frozenset({"os.system", "os.popen", "eval", "exec", "pickle.loads", "os.tempnam"})


@dataclass(frozen=True, eq=False)
class Module:
    name: str
    path: Path
    text: str
    tree: ast.Module
    package: bool

    @property
    def rank(self) -> int | None:
        found = room(self.name)
        return RANKS[found] if found else None

    def at(self, node: ast.AST | int, says: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path.relative_to(ROOT)}:{line}: {says}"


@cache
def modules() -> tuple[Module, ...]:
    return tuple(parsed(path) for folder in OURS for path in sorted((ROOT / folder).rglob("*.py")))


def parsed(path: Path) -> Module:
    text = path.read_text("utf-8")
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[-1] == "__init__"
    return Module(".".join(parts[:-1] if package else parts), path, text, ast.parse(text, str(path)), package)


def room(name: str) -> str | None:
    """The package of the rank table that this module lies in."""
    return next((package for package in RANKS if within(name, package)), None)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@cache
def imports(module: Module) -> tuple[tuple[ast.stmt, str], ...]:
    """Every imported module by its full name, also those that only type checkers read."""
    return tuple(imported(module, frozenset(other.name for other in modules())))


def imported(module: Module, known: frozenset[str]) -> Iterator[tuple[ast.stmt, str]]:
    here = module.name if module.package else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = here.split(".")[: len(here.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield node, deeper if deeper in known else base


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def refuse(found: Iterator[str]) -> None:
    faults = list(found)
    assert not faults, "\n" + "\n".join(faults)


# -- who may import whom ----------------------------------------------------------------------------------------------


def test_every_package_has_a_rank() -> None:
    refuse(module.at(1, f"{module.name} has no rank: add its package to RANKS, after thinking")
           for module in modules() if module.rank is None and module.name != "cloudcore"
           and not within(module.name, "dashboard"))


def test_a_lower_rank_never_imports_a_higher_one() -> None:
    refuse(module.at(node, f"rank {module.rank} imports {name} of rank {RANKS[found]}")
           for module in modules() if module.rank is not None for node, name in imports(module)
           if (found := room(name)) and RANKS[found] > module.rank)


def test_services_never_import_one_another() -> None:
    refuse(module.at(node, f"{room(module.name)} imports {name}: services speak through rpc")
           for module in modules() if module.rank == SERVICES for node, name in imports(module)
           if (found := room(name)) and RANKS[found] == SERVICES and found != room(module.name))


def test_rooms_of_one_rank_below_the_services_do_not_import_one_another() -> None:
    refuse(module.at(node, f"{room(module.name)} imports its neighbour {name}")
           for module in modules() if module.rank in (1, 3) for node, name in imports(module)
           if (found := room(name)) and RANKS[found] == module.rank and found != room(module.name))


def test_the_domain_is_pure() -> None:
    allowed = sys.stdlib_module_names - {"socket", "subprocess", "threading", "asyncio", "sqlite3", "http", "random"}
    refuse(module.at(node, f"the domain imports {name}")
           for module in modules() if module.rank == 0 for node, name in imports(module)
           if name.split(".")[0] not in allowed and room(name) not in ("cloudcore.domain", "cloudcore.errors"))


def test_the_dashboard_is_an_ordinary_client() -> None:
    refuse(module.at(node, f"the dashboard imports {name}")
           for module in modules() if within(module.name, "dashboard") for node, name in imports(module)
           if name.split(".")[0] in OURS and not any(within(name, package) for package in DASHBOARD))


def test_nothing_beside_guests_touches_the_database() -> None:
    refuse(module.at(node, f"{module.name} imports {name}")
           for module in modules() if not any(within(module.name, user) for user in STORE_USERS)
           for node, name in imports(module) if within(name, "cloudcore.store"))


def test_libraries_stay_behind_their_doors() -> None:
    refuse(module.at(node, f"{module.name} imports {name}, which belongs in {' or '.join(ONLY_IN[library]) or 'none'}")
           for module in modules() for node, name in imports(module)
           if (library := name.split(".")[0]) in ONLY_IN
           and not any(within(module.name, place) for place in ONLY_IN[library]))


def test_botocore_has_one_door() -> None:
    users = {module.name for module in modules() for _, name in imports(module) if within(name, "botocore")}
    assert len(users) <= BOTOCORE_MODULES, users


def test_only_composition_roots_name_the_reactor() -> None:
    def named(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                inside = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                if any(f"{inside}{alias.name}" == "twisted.internet.reactor" for alias in node.names):
                    yield module.at(node, "imports the reactor: take it as an argument")

    refuse(fault for module in modules() if module.rank != ROOTS for fault in named(module))


def test_there_are_no_import_cycles() -> None:
    names = {module.name for module in modules()}
    edges = {module.name: {name for _, name in imports(module) if name in names and name != module.name}
             for module in modules()}
    cycles = [" -> ".join(cycle) for cycle in found_cycles(edges)]
    assert not cycles, "\n".join(cycles)


def found_cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """One cycle for each edge that closes one, by depth-first search."""
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name):], name])
        elif name not in done:
            for other in sorted(edges[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return found


def test_imports_stand_at_the_top() -> None:
    """Optional drivers in a composition root excepted: rank 6 may import what the other driver does not need."""
    refuse(module.at(inner, "import inside a function")
           for module in modules() if module.rank != ROOTS for function in functions(module)
           for inner in ast.walk(function) if isinstance(inner, (ast.Import, ast.ImportFrom)))


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_modules_are_short() -> None:
    refuse(module.at(1, f"{lines} lines, at most {MODULE_LINES}")
           for module in modules() if (lines := len(module.text.splitlines())) > MODULE_LINES)


def test_functions_are_short() -> None:
    refuse(module.at(node, f"{node.name} has {lines} lines, at most {FUNCTION_LINES}")
           for module in modules() for node in functions(module)
           if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES)


def test_functions_take_few_parameters() -> None:
    refuse(module.at(node, f"{node.name} takes {count} parameters, at most {PARAMETERS}")
           for module in modules() for node in functions(module) if (count := parameters(node)) > PARAMETERS)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without self and cls, *args and **kwargs."""
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def test_classes_have_few_public_methods() -> None:
    """What Twisted, zope or ast call by their own names (camelCase, visit_X) is not ours to count."""
    refuse(module.at(node, f"{node.name} has {count} public methods, at most {PUBLIC_METHODS}")
           for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
           if (count := sum(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and part.name.islower()
                            and not part.name.startswith("_") for part in node.body)) > PUBLIC_METHODS)


def test_lines_fit() -> None:
    refuse(module.at(number, f"{len(line)} columns, at most {COLUMNS}")
           for module in modules() for number, line in enumerate(module.text.splitlines(), 1) if len(line) > COLUMNS)


# -- names and words --------------------------------------------------------------------------------------------------


def test_modules_are_named_for_what_they_are_about() -> None:
    refuse(module.at(1, f"'{part}' says nothing") for module in modules() if module.name not in NAMED_SO
           for part in module.name.split(".") if part in NAMES_THAT_SAY_NOTHING)


def test_public_modules_say_what_they_are_for() -> None:
    refuse(module.at(1, "no docstring at the head of the module") for module in modules()
           if module.text.strip() and ast.get_docstring(module.tree) is None)


def test_nothing_runs_text_as_code_or_by_a_shell() -> None:
    def found(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            if dotted(node.func) in CALLS:
                yield module.at(node, f"calls {dotted(node.func)}")
            if any(word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                   for word in node.keywords):
                yield module.at(node, "a shell: use a list of arguments")

    refuse(fault for module in modules() for fault in found(module))


def test_nothing_is_left_to_be_written() -> None:
    def unfinished(module: Module) -> Iterator[str]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if dotted(raised) == "NotImplementedError":
                    yield module.at(node, "NotImplementedError: small Protocols instead of half a class")

    refuse(fault for module in modules() for fault in unfinished(module))


def test_tests_patch_no_names() -> None:
    faults = [f"{path.relative_to(ROOT)}: uses mock" for path in sorted((ROOT / "tests").rglob("*.py"))
              if path != Path(__file__).resolve() and "unittest.mock" in path.read_text("utf-8")]
    assert not faults, "\n".join(faults)


def test_twisted_plugins_have_no_init() -> None:
    """An __init__.py there makes the folder Twisted itself, or the plugin vanish silently."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))


# -- the law itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("edges", "cycles"), [
    ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
    ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, [["a", "b", "c", "a"]]),
    ({"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"e"}, "e": {"d"}}, [["d", "e", "d"]]),
])  # fmt: skip
def test_cycles_are_found(edges: dict[str, set[str]], cycles: list[list[str]]) -> None:
    assert found_cycles(edges) == cycles


def test_relative_and_plain_imports_are_read_alike() -> None:
    text = ("from . import errors\nfrom .domain import ids\n"
            "import cloudcore.errors\nfrom cloudcore.domain.ids import X\n")
    module = Module("cloudcore", ROOT / "x.py", text, ast.parse(text), True)
    assert [name for _, name in imports(module)] == [
        "cloudcore.errors", "cloudcore.domain.ids", "cloudcore.errors", "cloudcore.domain.ids"]
