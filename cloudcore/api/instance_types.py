"""DescribeInstanceTypes and DescribeInstanceTypeOfferings: the table of types, which is the operator's.

What no host could hold even if it were empty is described, but not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloudcore.api.calls import Call
from cloudcore.api.describing import Asked, Filter, Kind, Row, describe, listed
from cloudcore.api.places import zone_id
from cloudcore.api.registry import Action, accepted
from cloudcore.domain.instance_types import InstanceType, fits
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted


@dataclass(frozen=True, slots=True)
class DescribeInstanceTypes:
    InstanceTypes: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class DescribeInstanceTypeOfferings:
    LocationType: str = "region"
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


def _view(call: Call, kind: InstanceType, tags: list[dict[str, str]]) -> dict[str, Any]:
    """None is burstable, whatever its name says: then no client asks for CPU credits. A clock speed is not told: guests
    get their CPU from whichever host they are on."""
    return {
        "InstanceType": kind.name,
        "CurrentGeneration": True,
        "FreeTierEligible": False,
        "SupportedUsageClasses": ["on-demand"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": False,
        "Hypervisor": "nitro",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": kind.vcpus, "DefaultCores": kind.vcpus, "DefaultThreadsPerCore": 1,
                     "ValidCores": [kind.vcpus], "ValidThreadsPerCore": [1]},
        "MemoryInfo": {"SizeInMiB": kind.memory_mib},
        "InstanceStorageSupported": False,
        "EbsInfo": {"EbsOptimizedSupport": "unsupported", "EncryptionSupport": "unsupported",
                    "NvmeSupport": "unsupported"},
        "NetworkInfo": {"NetworkPerformance": "Up to 1 Gigabit", "MaximumNetworkInterfaces": 1,
                        "MaximumNetworkCards": 1, "DefaultNetworkCardIndex": 0,
                        "NetworkCards": [{"NetworkCardIndex": 0, "NetworkPerformance": "Up to 1 Gigabit",
                                          "MaximumNetworkInterfaces": 1}],
                        "Ipv4AddressesPerInterface": 1, "Ipv6AddressesPerInterface": 0, "Ipv6Supported": False,
                        "EnaSupport": "supported", "EfaSupported": False, "EncryptionInTransitSupported": False},
        "PlacementGroupInfo": {"SupportedStrategies": []},
        "HibernationSupported": False,
        "BurstablePerformanceSupported": False,
        "DedicatedHostsSupported": False,
        "AutoRecoverySupported": False,
        "SupportedBootModes": ["legacy-bios"],
        "NitroEnclavesSupport": "unsupported",
        "NitroTpmSupport": "unsupported",
    }  # fmt: skip


def _rows(books: Books, call: Call, wanted: Wanted) -> list[Row[InstanceType]]:
    return listed([Row(0.0, kind.name, kind) for kind in call.cloud.types.values()], wanted)


TYPE: Kind[InstanceType] = Kind(
    fetch=_rows,
    view=_view,
    noun="instance type",
    unknown=Code.INSTANCE_TYPE_UNKNOWN,
    page=(5, 100),
    stored=False,
    filters={
        "auto-recovery-supported": "AutoRecoverySupported",
        "bare-metal": "BareMetal",
        "burstable-performance-supported": "BurstablePerformanceSupported",
        "current-generation": "CurrentGeneration",
        "dedicated-hosts-supported": "DedicatedHostsSupported",
        "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps": "EbsInfo.EbsOptimizedInfo.BaselineBandwidthInMbps",
        "ebs-info.ebs-optimized-info.baseline-iops": "EbsInfo.EbsOptimizedInfo.BaselineIops",
        "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps": "EbsInfo.EbsOptimizedInfo.BaselineThroughputInMBps",
        "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps": "EbsInfo.EbsOptimizedInfo.MaximumBandwidthInMbps",
        "ebs-info.ebs-optimized-info.maximum-iops": "EbsInfo.EbsOptimizedInfo.MaximumIops",
        "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps": "EbsInfo.EbsOptimizedInfo.MaximumThroughputInMBps",
        "ebs-info.ebs-optimized-support": "EbsInfo.EbsOptimizedSupport",
        "ebs-info.encryption-support": "EbsInfo.EncryptionSupport",
        "ebs-info.nvme-support": "EbsInfo.NvmeSupport",
        "free-tier-eligible": "FreeTierEligible",
        "hibernation-supported": "HibernationSupported",
        "hypervisor": "Hypervisor",
        "instance-storage-info.disk.count": "InstanceStorageInfo.Disks.Count",
        "instance-storage-info.disk.size-in-gb": "InstanceStorageInfo.Disks.SizeInGB",
        "instance-storage-info.disk.type": "InstanceStorageInfo.Disks.Type",
        "instance-storage-info.encryption-support": "InstanceStorageInfo.EncryptionSupport",
        "instance-storage-info.nvme-support": "InstanceStorageInfo.NvmeSupport",
        "instance-storage-info.total-size-in-gb": "InstanceStorageInfo.TotalSizeInGB",
        "instance-storage-supported": "InstanceStorageSupported",
        "instance-type": "InstanceType",
        "memory-info.size-in-mib": "MemoryInfo.SizeInMiB",
        "network-info.efa-info.maximum-efa-interfaces": "NetworkInfo.EfaInfo.MaximumEfaInterfaces",
        "network-info.efa-supported": "NetworkInfo.EfaSupported",
        "network-info.ena-support": "NetworkInfo.EnaSupport",
        "network-info.encryption-in-transit-supported": "NetworkInfo.EncryptionInTransitSupported",
        "network-info.ipv4-addresses-per-interface": "NetworkInfo.Ipv4AddressesPerInterface",
        "network-info.ipv6-addresses-per-interface": "NetworkInfo.Ipv6AddressesPerInterface",
        "network-info.ipv6-supported": "NetworkInfo.Ipv6Supported",
        "network-info.maximum-network-cards": "NetworkInfo.MaximumNetworkCards",
        "network-info.maximum-network-interfaces": "NetworkInfo.MaximumNetworkInterfaces",
        "network-info.network-performance": "NetworkInfo.NetworkPerformance",
        "nitro-enclaves-support": "NitroEnclavesSupport",
        "nitro-tpm-info.supported-versions": "NitroTpmInfo.SupportedVersions",
        "nitro-tpm-support": "NitroTpmSupport",
        "processor-info.supported-architecture": "ProcessorInfo.SupportedArchitectures",
        "processor-info.supported-features": "ProcessorInfo.SupportedFeatures",
        "processor-info.sustained-clock-speed-in-ghz": "ProcessorInfo.SustainedClockSpeedInGhz",
        "supported-boot-mode": "SupportedBootModes",
        "supported-root-device-type": "SupportedRootDeviceTypes",
        "supported-usage-class": "SupportedUsageClasses",
        "supported-virtualization-type": "SupportedVirtualizationTypes",
        "vcpu-info.default-cores": "VCpuInfo.DefaultCores",
        "vcpu-info.default-threads-per-core": "VCpuInfo.DefaultThreadsPerCore",
        "vcpu-info.default-vcpus": "VCpuInfo.DefaultVCpus",
        "vcpu-info.valid-cores": "VCpuInfo.ValidCores",
        "vcpu-info.valid-threads-per-core": "VCpuInfo.ValidThreadsPerCore",
    },
)


def _offering_rows(books: Books, call: Call, wanted: Wanted, location_type: str) -> list[Row[dict[str, Any]]]:
    zones = call.cloud.zones
    by_type: Mapping[str, Mapping[str, str | None]] = {  # the place as it is called: its zone
        "region": {call.cloud.region: None},
        "availability-zone": {zone: zone for zone in zones},
        "availability-zone-id": {zone_id(zone): zone for zone in zones},
    }
    places, hosts = by_type[location_type], books.hosts.capacities()
    return listed([
        Row(0.0, f"{kind.name} {place}", {"InstanceType": kind.name, "LocationType": location_type, "Location": place})
        for kind in call.cloud.types.values() for place, zone in places.items() if fits(kind, hosts, zone)
    ], wanted)  # fmt: skip


OFFERINGS: Mapping[str, Kind[dict[str, Any]]] = {
    location_type: Kind(
        fetch=partial(_offering_rows, location_type=location_type),
        view=lambda call, offering, tags: offering,
        stored=False,
        filters={"instance-type": "InstanceType", "location": "Location"},
    )
    for location_type in ("region", "availability-zone", "availability-zone-id")
}


async def describe_instance_types(call: Call, asked: DescribeInstanceTypes) -> Mapping[str, Any] | None:
    wanted = Asked(asked.InstanceTypes, asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, TYPE, wanted)
    return {"InstanceTypes": found.items, "NextToken": found.token}


async def describe_offerings(call: Call, asked: DescribeInstanceTypeOfferings) -> Mapping[str, Any] | None:
    if asked.LocationType not in OFFERINGS:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.LocationType}' for LocationType")
    wanted = Asked((), asked.Filters, asked.MaxResults, asked.NextToken)
    found = await call.look(describe, call, OFFERINGS[asked.LocationType], wanted)
    return {"InstanceTypeOfferings": found.items, "NextToken": found.token}


ACTIONS = {
    "DescribeInstanceTypes": Action(
        describe_instance_types, DescribeInstanceTypes, {"IncludeUnsupportedInRegion": accepted(False)}
    ),
    "DescribeInstanceTypeOfferings": Action(describe_offerings, DescribeInstanceTypeOfferings),
}
