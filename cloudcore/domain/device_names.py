"""What the devices of instances may be called: as EC2 has it, a name tells disks apart and is shown where it was given.
The guest itself names its disks in order, and finds a volume by its serial."""

from __future__ import annotations

import re

MOST_DEVICES = 26  # of one instance, its root disk among them: as many as letters
FORM = re.compile(
    r"(/dev/)?(sd[a-z]([1-9]|1[0-5])?|(xvd|vd)[a-z]{1,2}([1-9]|1[0-5])?|hd[a-z]([1-9]|1[0-5])?|nvme[0-9]n1)", re.ASCII
)


def well_named(device: str) -> bool:
    return FORM.fullmatch(device) is not None
