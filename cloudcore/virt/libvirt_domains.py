"""Finding our own domains, in the threads of the pool: what all that acts on guests by libvirt begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt

from cloudcore.errors import CloudError, Code
from cloudcore.virt.domain_xml import MARK, read_mark


def find(connection: Any, instance: str) -> Any:
    """The domain when it is there and ours, else None."""
    try:
        domain = connection.lookupByName(instance)
    except libvirt.libvirtError as problem:
        if problem.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    return domain if generation(domain) is not None else None


def generation(domain: Any) -> int | None:
    """Of its mark; None when it is not ours, or just gone."""
    try:
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else libvirt.VIR_DOMAIN_AFFECT_CURRENT
        mark = read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, MARK, flags))
    except libvirt.libvirtError as problem:
        if problem.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise
    return mark[1] if mark and mark[0] == domain.name() else None


def needed(connection: Any, instance: str) -> Any:
    domain = find(connection, instance)
    if domain is None:
        raise CloudError(Code.PROGRAM_FAILED, f"libvirt has no guest {instance}")
    return domain


def running(connection: Any, instance: str) -> Any:
    domain = needed(connection, instance)
    if not domain.isActive():
        raise CloudError(Code.PROGRAM_FAILED, f"{instance} does not run")
    return domain


def active(domain: Any) -> bool:
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError as problem:
        if problem.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def repeatable(work: Callable[[], object], done: Callable[[], bool]) -> None:
    """What libvirt refuses because it is done already is done."""
    try:
        work()
    except libvirt.libvirtError:
        if not done():
            raise
