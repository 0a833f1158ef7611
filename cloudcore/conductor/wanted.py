"""What hosts are told, built from rows: pure, so that the same rows always say the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cloudcore.auth.instances import Keyring
from cloudcore.domain.addresses import hostname
from cloudcore.domain.ids import default_subnet, default_vpc, guest_uuid, interface_of, tap_name
from cloudcore.domain.images import Image
from cloudcore.domain.instance_profiles import InstanceRole
from cloudcore.domain.instances import Instance, State
from cloudcore.domain.metadata_tree import Association, MetadataFacts, Options, document
from cloudcore.domain.volumes import AttachmentState, Content, Volume, VolumeState
from cloudcore.rpc.compute import DiskSource, ImageSource, Layer, WantedDisk, WantedGuest
from cloudcore.rpc.network import Port
from cloudcore.store.books import Books
from cloudcore.store.volumes import Held

POWER = {
    State.PENDING: "running",
    State.STARTING: "running",
    State.RUNNING: "running",
    State.STOPPING: "stopped",
    State.STOPPED: "stopped",
    State.SHUTTING_DOWN: "absent",
    State.TERMINATED: "absent",
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a port's metadata says beyond the instance's own row."""

    region: str
    zone: str
    cidr: str
    root_device: str
    groups: tuple[Association, ...]
    public_key: str | None
    tags: tuple[tuple[str, str], ...] | None = None  # None: the instance does not show its tags
    role: InstanceRole | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a host is told of a guest, complete but for how volumes that lie `elsewhere` are reached. `served` are those
    that lie here and were served to a guest of another host before: that must have ended."""

    instance: Instance
    guest: WantedGuest
    elsewhere: tuple[Volume, ...] = ()
    served: tuple[Volume, ...] = ()


def guest(instance: Instance, image: Image | None, disks: tuple[WantedDisk, ...] = ()) -> WantedGuest:
    power = POWER[instance.state]
    if power == "absent":
        return WantedGuest(instance.id, instance.generation, power)
    return WantedGuest(
        instance.id, instance.generation, power, guest_uuid(instance.id), instance.vcpus, instance.memory_mib,
        instance.disk_gib, source(image), instance.mac, tap_name(instance.id),
        disks=disks, disk_revision=instance.disk_revision,
    )  # fmt: skip


def source(image: Image | None) -> ImageSource | None:
    if image is None:
        return None
    return ImageSource(image.id, image.source, image.sha256, image.size, image.format, image.virtual_size)


def disk(held: Held, below: Iterable[Content]) -> WantedDisk:
    volume, top = held.volume, held.content
    made = DiskSource(layer(top), tuple(map(layer, below))) if top is not None else None
    make = volume.state is VolumeState.CREATING  # by the launch that it belongs to
    return WantedDisk(volume.id, held.attachment.device, volume.size_gib, make, made if make else None)


def layer(content: Content) -> Layer:
    return Layer(content.source, content.id, content.size, content.format, content.virtual_size)


def port(instance: Instance, around: Surroundings) -> Port:
    address = instance.address or ""
    name = hostname(address)
    facts = MetadataFacts(
        instance_id=instance.id, image_id=instance.image, instance_type=instance.instance_type,
        reservation_id=instance.reservation, account=instance.project, region=around.region, zone=around.zone,
        mac=instance.mac, address=address, hostname=name, launch_index=instance.launch_index,
        pending_time=datetime.fromtimestamp(int(instance.created), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        groups=around.groups, key_name=instance.key_name, public_key=around.public_key,
        vpc_id=default_vpc(instance.project), vpc_cidr=around.cidr, subnet_cidr=around.cidr,
        subnet_id=default_subnet(instance.project, around.zone), root_device=around.root_device,
        interface_id=interface_of(instance.id), tags=around.tags,
        options=Options(instance.metadata_tokens, instance.metadata_endpoint, instance.metadata_hops),
    )  # fmt: skip
    groups = tuple(group.id for group in around.groups)
    return Port(instance.id, instance.generation, instance.mac, address, tap_name(instance.id), name, groups,
                document(facts), instance.user_data, instance.port_revision, around.role,
                instance.source_dest_check)  # fmt: skip


# -- reading what it takes --------------------------------------------------------------------------------------------


def draft_of(books: Books, instance: Instance) -> Draft:
    """One that has no volumes has a root disk of its own, made of its image."""
    held = [one for one in books.attachments.held(instance.id) if one.attachment.state is not AttachmentState.DETACHING]
    disks = tuple(disk(one, lies_over(books, one)) for one in held)
    image = None if any(one.attachment.root for one in held) else books.images.find(instance.image)
    if image is not None and instance.disk_revision:
        disks = own_root(books, instance, image) + disks  # whatever else it has or had: the list says all
        image = None
    elsewhere = tuple(one.volume for one in held if one.volume.host not in (None, instance.host))
    served = tuple(one.volume for one in held if one.served and one.volume.host == instance.host)
    return Draft(instance, guest(instance, image, disks), elsewhere, served)


def own_root(books: Books, instance: Instance, image: Image) -> tuple[WantedDisk, ...]:
    """The root disk of an instance of the first release, which is no volume of anybody's; its host calls it so. None
    where the root was a volume, and has been detached: then nothing was claimed for a disk of its own."""
    held = books.hosts.held(instance.id)
    if held is None or not held.disk_gib:
        return ()
    top = Layer(image.source, image.sha256, image.size, image.format, image.virtual_size)
    name = instance.id.replace("i-", "vol-", 1)
    return (WantedDisk(name, "/dev/sda1", instance.disk_gib, make=True, source=DiskSource(top)),)


def lies_over(books: Books, held: Held) -> list[Content]:
    """Below what a new volume begins with."""
    if held.content is None or held.volume.state is not VolumeState.CREATING:
        return []
    return books.contents.chain(held.content.below)


def source_of(books: Books, content: str | None) -> DiskSource | None:
    chain = [layer(one) for one in books.contents.chain(content)]
    return DiskSource(chain[0], tuple(chain[1:])) if chain else None


def port_of(books: Books, instance: Instance, region: str, keyring: Keyring | None) -> Port:
    host = books.hosts.find(instance.host or "")
    image = books.images.find(instance.image)
    names = books.groups.names(books.instances.groups_of(instance.id))
    pair = books.key_pairs.find(instance.key_id) if instance.key_id else None
    around = Surroundings(
        region=region,
        zone=host.zone if host else instance.zone or "",
        cidr=books.addresses.cidr_of(instance.address or ""),
        root_device=image.root_device if image else "/dev/vda",
        groups=tuple(Association(name, id) for id, name in sorted(names.items())),
        public_key=pair.public_key if pair else None,
        tags=tags_of(books, instance) if instance.metadata_tags else None,
        role=keyring.held(books, instance) if keyring else None,
    )
    return port(instance, around)


def tags_of(books: Books, instance: Instance) -> tuple[tuple[str, str], ...]:
    return tuple(books.tags.of(instance.project, [instance.id]).get(instance.id, {}).items())


def group_ids(ports: Iterable[Port]) -> list[str]:
    return sorted({group for port in ports for group in port.groups})
