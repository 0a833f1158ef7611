"""An option of a hypervisor: what a guest shows on its screen. Asked once at start; tests/contracts/test_virt_driver.py
holds both implementations."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from twisted.internet.defer import Deferred

from cloudcore.virt.driver import VirtDriver


@runtime_checkable
class Screens(Protocol):
    def screenshot(self, instance: str, wake: bool = False) -> Deferred[bytes]:
        """A JPEG. `wake` presses a key first, for a screen that has gone dark. Fails as VirtDriver's methods do, and
        with CloudError(PROGRAM_FAILED) when the guest does not run or has no screen."""


def screens_of(driver: VirtDriver) -> Screens | None:
    return driver if isinstance(driver, Screens) else None
