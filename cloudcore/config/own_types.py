"""Instance types in the configuration, one table for each:

    [instance_types."m5.large"]
    vcpus = 2
    memory_mib = 8192
    disk_gib = 16

A name that is built in is replaced, any other is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from cloudcore.domain.instance_types import NAME, InstanceType, table

SECTION = "instance_types"
# Amounts, and the most of each. EC2's largest have 896 vCPUs and 32 TiB; libvirt and the database have room for more.
MOST = {"vcpus": 1024, "memory_mib": 1 << 25, "disk_gib": 1 << 16}
LEAST = {"vcpus": 1, "memory_mib": 16, "disk_gib": 1}
assert {"name", *MOST} == {field.name for field in fields(InstanceType)}  # noqa: S101


def faults(name: str, amounts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, or empty: the table itself; what is wrong with it)"""
    if not NAME.fullmatch(name):
        inner = next((key for key, value in amounts.items() if isinstance(value, Mapping)), "")
        wrong = "must be called FAMILY.SIZE, in small letters, digits and -, such as m5.large"
        yield "", f'needs quotes: [{SECTION}."{name}.{inner}"]' if inner else wrong
        return
    lacking = [key for key in MOST if key not in amounts]
    if lacking:
        yield "", f"lacks {', '.join(lacking)}"
    for key, value in amounts.items():
        if key not in MOST:
            yield key, f"unknown key; a type has {', '.join(MOST)}"
        elif type(value) is not int or not LEAST[key] <= value <= MOST[key]:
            yield key, f"must be an integer {LEAST[key]}–{MOST[key]}"


def read(name: str, amounts: Mapping[str, int]) -> InstanceType:
    """What has no faults."""
    return InstanceType(name, amounts["vcpus"], amounts["memory_mib"], amounts["disk_gib"])


def unoffered(withdrawn: str, own: tuple[InstanceType, ...]) -> str:
    """Why these two do not go together, or an empty text."""
    return "" if table(own, withdrawn.split()) else "leaves no instance type at all"
