#!/usr/bin/env python3
"""LVM over plain files, by whatever name it is called. NAME/../../dev/GROUP/VOLUME are the volumes, VOLUME#tags what
they are tagged with, VOLUME#open says that somebody has one open. A fresh volume holds what others left behind, as a
plain logical volume does."""

import os
import sys
from pathlib import Path

DEVICES = Path(sys.argv[0]).parent.parent / "dev"
GROUP_SIZE = 2**45
STALE = b"\x99"


def main(program: str, arguments: list[str]) -> None:
    options, names = parsed(arguments)
    {"lvcreate": create, "lvremove": remove, "lvextend": extend, "lvrename": rename, "lvchange": change, "lvs": show,
     "vgs": show_group, "blkdiscard": zero}[program](options, names)  # fmt: skip


def parsed(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    options, names, rest = {}, [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("--yes", "--noheadings", "--nosuffix", "--zeroout", "--force"):
            options[word] = ""
        elif word.startswith("--"):
            options[word] = rest.pop(0)
        else:
            names.append(word)
    return options, names


def give_up(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
    sys.exit(5)


def volume(name: str) -> Path:
    path = DEVICES / name
    if not path.exists():
        give_up(f'Failed to find logical volume "{name}"')
    return path


def beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}#{what}")


def tags(path: Path) -> set[str]:
    return set(beside(path, "tags").read_text().split()) if beside(path, "tags").exists() else set()


def size_of(text: str) -> int:
    return int(text.removesuffix("b"))


def create(options: dict[str, str], names: list[str]) -> None:
    group = DEVICES / names[0]
    group.mkdir(parents=True, exist_ok=True)
    path, size = group / options["--name"], size_of(options.get("--size") or options["--virtualsize"])
    if path.exists():
        give_up(f'Logical Volume "{path.name}" already exists in volume group "{names[0]}"')
    if size > GROUP_SIZE:
        give_up(f'Volume group "{names[0]}" has insufficient free space (1 extents): 2 required.')
    fill(path, 0, size, b"" if "--thinpool" in options else STALE)
    beside(path, "tags").write_text(options.get("--addtag", ""))


def fill(path: Path, start: int, size: int, stale: bytes) -> None:
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(size)
        file.seek(start)
        file.write(stale * min(2**23, size - start))


def remove(options: dict[str, str], names: list[str]) -> None:
    path = volume(names[0])
    if beside(path, "open").exists():
        give_up(f"Logical volume {names[0]} contains a filesystem in use.")
    path.unlink()
    beside(path, "tags").unlink()


def extend(options: dict[str, str], names: list[str]) -> None:
    path = volume(names[0])
    thin = (path.parent / "pool#thin").exists()
    fill(path, path.stat().st_size, size_of(options["--size"]), b"" if thin else STALE)


def rename(options: dict[str, str], names: list[str]) -> None:
    group, old, new = names
    if (DEVICES / group / new).exists():
        give_up(f'Logical Volume "{new}" already exists in volume group "{group}"')
    path = volume(f"{group}/{old}")
    beside(path, "tags").rename(beside(path.with_name(new), "tags"))
    path.rename(path.with_name(new))


def change(options: dict[str, str], names: list[str]) -> None:
    path = volume(names[0])
    left = (tags(path) | {options.get("--addtag", "")}) - {options.get("--deltag", ""), ""}
    beside(path, "tags").write_text(" ".join(left))


def show(options: dict[str, str], names: list[str]) -> None:
    group, _, only = names[0].partition("/")
    for path in sorted((DEVICES / group).iterdir()) if (DEVICES / group).is_dir() else ():
        if "#" not in path.name and path.name == (only or path.name):
            attributes = "-wi-a" + ("o" if beside(path, "open").exists() else "-") + "----"
            if beside(path, "thin").exists():
                attributes = "twi-aot" + (beside(path, "thin").read_text() or "z") + "--"
            row = path.name, str(path.stat().st_size), attributes, ",".join(sorted(tags(path))), "10.00"
            sys.stdout.write("  " + (attributes if options["--options"] == "lv_attr" else ";".join(row)) + "\n")


def show_group(options: dict[str, str], names: list[str]) -> None:
    sys.stdout.write(f"  {GROUP_SIZE}\n")


def zero(options: dict[str, str], names: list[str]) -> None:
    path = Path(names[0])
    start = int(options.get("--offset", 0))
    length = int(options.get("--length", path.stat().st_size - start))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(min(length, 2**24)))


main(os.path.basename(sys.argv[0]), sys.argv[1:])
