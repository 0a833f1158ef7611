"""What a volume of each type may be, by the bounds of VOLUME_TYPES: its size, and what may be asked of its speed. EC2's
ratios of IOPS to size and of throughput to IOPS hold as well. The numbers are kept and shown; nothing is slowed down.
"""

from __future__ import annotations

from cloudcore.domain.volumes import DEFAULT_VOLUME_TYPE, VOLUME_TYPES, Volume, VolumeType
from cloudcore.errors import CloudError, Code

IOPS_PER_GIB = {"gp3": 500, "io1": 50, "io2": 1000}  # at most
IOPS_PER_MIB = 4  # a gp3 volume needs four IOPS for each MiB/s
GP2 = (100, 16000, 3)  # IOPS: least, most, for each GiB


def kind_of(name: str | None) -> VolumeType:
    """Raises VOLUME_TYPE_UNKNOWN."""
    kind = VOLUME_TYPES.get(name or DEFAULT_VOLUME_TYPE)
    if kind is None:
        text = f"Unsupported volume type '{(name or '')[:64]}'. The volume types are {', '.join(VOLUME_TYPES)}"
        raise CloudError(Code.VOLUME_TYPE_UNKNOWN, text)
    return kind


def check(name: str | None, size_gib: int, iops: int | None, throughput: int | None) -> VolumeType:
    """Raises VOLUME_TYPE_UNKNOWN, BAD_VALUE, BAD_COMBINATION, MISSING_PARAMETER."""
    kind = kind_of(name)
    if not kind.least_gib <= size_gib <= kind.most_gib:
        text = f"A volume of type {kind.name} has {kind.least_gib} to {kind.most_gib} GiB, not {size_gib}"
        raise CloudError(Code.BAD_VALUE, text)
    if iops is None and kind.name in ("io1", "io2"):
        raise CloudError(Code.MISSING_PARAMETER, f"The parameter iops must be specified for {kind.name} volumes")
    _bounded(kind, "iops", kind.iops, iops)
    _bounded(kind, "throughput", kind.throughput, throughput)
    ratio = IOPS_PER_GIB.get(kind.name)
    if iops is not None and ratio is not None and iops > max(ratio * size_gib, (kind.iops or (0, 0, 0))[2]):
        text = f"Iops to volume size ratio of {iops / size_gib:f} is too high; maximum is {ratio} IOPS per GiB"
        raise CloudError(Code.BAD_VALUE, text)
    share = (iops or kind.iops[2]) if kind.iops else 0
    if throughput is not None and throughput * IOPS_PER_MIB > share:
        text = f"Throughput (MiBps) to iops ratio of {throughput / share:f} is too high; maximum is 0.25"
        raise CloudError(Code.BAD_VALUE, text)
    return kind


def _bounded(kind: VolumeType, name: str, bounds: tuple[int, int, int] | None, value: int | None) -> None:
    if value is None:
        return
    if bounds is None:
        raise CloudError(Code.BAD_COMBINATION, f"The parameter {name} is not supported for {kind.name} volumes")
    least, most, _ = bounds
    if not least <= value <= most:
        text = f"Volume {name} of {value} is invalid for {kind.name} volumes: it must be from {least} to {most}"
        raise CloudError(Code.BAD_VALUE, text)


def usual_iops(kind: VolumeType, size_gib: int) -> int | None:
    """What a volume that becomes this type has where nothing is asked."""
    if kind.iops is None:
        return None
    return max(kind.iops[0], min(3000, IOPS_PER_GIB[kind.name] * size_gib, kind.iops[1]))


def shown_iops(kind: str, size_gib: int, iops: int | None) -> int | None:
    """As EC2 shows it: that of gp2 follows from its size, and magnetic ones have none."""
    if kind == "gp2":
        least, most, each = GP2
        return min(max(least, each * size_gib), most)
    bounds = VOLUME_TYPES[kind].iops if kind in VOLUME_TYPES else None
    return (iops or bounds[2]) if bounds else None


def shown_throughput(kind: str, throughput: int | None) -> int | None:
    bounds = VOLUME_TYPES[kind].throughput if kind in VOLUME_TYPES else None
    return (throughput or bounds[2]) if bounds else None


def iops_of(volume: Volume) -> int | None:
    return shown_iops(volume.type, volume.size_gib, volume.iops)


def throughput_of(volume: Volume) -> int | None:
    return shown_throughput(volume.type, volume.throughput)
