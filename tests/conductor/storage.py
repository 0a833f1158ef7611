"""What hosts do about volumes, in memory: the volume service, the part of the compute agent that concerns disks, and
the image worker. What must never happen is noted in `FakeImages.wrong`, since an error here would be one more answer.
"""

from __future__ import annotations

from hashlib import sha256

from twisted.internet.defer import Deferred, succeed

from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import DiskProblem, DiskWork, MadeSnapshot, RemoteDisk, SnapshotWork
from cloudcore.rpc.contract import dispatcher
from cloudcore.rpc.images import IMAGES, Gone, InspectedImage
from cloudcore.rpc.volume import VOLUME, Exported, Stored, VolumeSummary, Work

GIB = 2**30


class FakeImages:
    """The image worker and the object store. `refuses` is why no object can be adopted."""

    def __init__(self, bus):
        self.objects = {}
        self.refuses = None
        self.wrong = []
        bus.serve(IMAGES.name, dispatcher(IMAGES, self))

    def must(self, holds, text):
        if not holds:
            self.wrong.append(text)

    def put(self, location, digest, below=""):
        self.must(not below or below in self.objects.values(), "a delta over nothing")
        self.objects[location] = digest

    def adopt(self, request):
        if self.refuses is not None:
            raise CloudError(Code.IMAGE_INVALID, self.refuses)
        digest = digest_of(request.location)
        self.put(request.target, digest)
        return succeed(InspectedImage(request.target, digest, 1000, "raw", 3 * GIB))

    def discard(self, request):
        self.objects.pop(request.location, None)
        return succeed(Gone())


def digest_of(*words):
    return sha256(" ".join(words).encode()).hexdigest()


class FakeVolumes:
    """The volume service of one host. `away` never answers; `full` is why nothing can be made; `lazy` says `working`
    so many times before anything is done."""

    def __init__(self, host):
        self.host = host
        self.sizes, self.generations, self.exports = {}, {}, {}
        self.away, self.full, self.lazy = False, None, 1
        self._asked, self.copied = {}, {}
        self.must = host.images.must
        host.world.bus.serve(f"volume.{host.name}", dispatcher(VOLUME, self))

    def works(self, *job):
        """Whether it still says `working`."""
        self._asked[job] = self._asked.get(job, 0) + 1
        return self._asked[job] <= self.lazy

    def ensure(self, request):
        if self.away or self.host.deaf:
            return Deferred()
        if self.generations.get(request.volume, 0) > request.generation:
            return succeed(Work("outdated"))
        self.generations[request.volume] = request.generation
        if self.works(request.volume, request.generation, request.presence):
            return succeed(Work("working"))
        if request.presence == "absent":
            self.must(not self.users(request.volume), "removed under a guest")
            self.sizes.pop(request.volume, None)
            self.exports.pop(request.volume, None)
        elif self.full is not None and self.sizes.get(request.volume, 0) < request.size_gib:
            return succeed(Work("failed", self.full))
        elif self.served(request.volume) and self.sizes.get(request.volume, 0) < request.size_gib:
            return succeed(Work("working"))  # the server's lock
        else:
            self.make(request.volume, request.size_gib, request.source)
        return succeed(Work("ready"))

    def make(self, volume, size, source):
        for layer in (source.top, *source.below) if source and volume not in self.sizes else ():
            self.must(self.host.images.objects.get(layer.location) == layer.sha256, "made of nothing")
        self.sizes[volume] = max(self.sizes.get(volume, 0), size)

    def users(self, volume):
        """Running guests that have it, wherever they run."""
        return [name for host in self.host.world.hosts for name in host.running if volume in host.disks_of(name)]

    def served(self, volume):
        return self.exports.get(volume, (0, ""))[1]

    def copy(self, request):
        if self.away or self.host.deaf:
            return Deferred()
        locked = any(self.users(part.volume) or self.served(part.volume) for part in request.parts)
        if locked and request.batch not in self.copied:
            return succeed(SnapshotWork("elsewhere"))
        if self.host.copying is not None:
            return succeed(SnapshotWork("failed", reason=self.host.copying))
        if request.batch in self.copied:
            return succeed(self.copied[request.batch])
        if any(part.volume not in self.sizes for part in request.parts):
            return succeed(SnapshotWork("failed", reason="no such volume"))
        if self.works(request.batch):
            return succeed(SnapshotWork("working", 40))
        return succeed(self.once(request))

    def once(self, request):
        """A batch that has been copied is not copied again: the answer is the same."""
        if request.batch not in self.copied:
            self.copied[request.batch] = copies(self.host, request.parts)
        return self.copied[request.batch]

    def export(self, request):
        if self.away or self.host.deaf:
            return Deferred()
        revision, instance = self.exports.get(request.volume, (0, ""))
        if request.revision < revision:
            return succeed(Exported("outdated"))
        self.must(request.revision > revision or instance == request.instance, "one revision, two wishes")
        if not request.instance:
            self.exports[request.volume] = (request.revision, "")
            return succeed(Exported("ready"))
        if request.volume not in self.sizes:
            return succeed(Exported("failed", None, "no such volume"))
        self.exports[request.volume] = (request.revision, request.instance)
        where = RemoteDisk(self.host.name, 10809, request.volume, request.instance, f"{request.revision:02x}")
        return succeed(Exported("ready", where))

    def present(self, request):
        return succeed(Stored(tuple(VolumeSummary(name, size * GIB) for name, size in self.sizes.items())))


def copies(host, parts):
    made = []
    for part in parts:
        below = part.parent.top.sha256 if part.parent else ""
        digest = digest_of(part.volume, below, host.written.get(part.volume, ""))
        host.images.put(part.location, digest, below)
        made.append(MadeSnapshot(part.snapshot, part.location, digest, 100, "qcow2", GIB, below))
    return SnapshotWork("ready", 100, tuple(made))


class Disks:
    """A part of FakeHost. `keeps` are volumes that guests do not let go while they run; `rejects` {volume: why it
    cannot be attached}; `written` {volume: what was written to it}, which makes its copies differ; `copying` is why
    none can be made."""

    def begin(self, images):
        self.images = images
        self.lists = {}  # instance: (revision, the disks that are wanted)
        self.has = {}  # instance: volumes of the running guest
        self.keeps, self.rejects, self.written, self.copying = set(), {}, {}, None
        self.storage = FakeVolumes(self)

    def disks_of(self, instance):
        return self.has.get(instance, set())

    def listed(self, request):
        """WantedGuest, as it comes."""
        if request.power == "absent":
            self.lists.pop(request.instance, None)
        elif request.disks or request.instance not in self.lists:
            known = self.lists.get(request.instance, (-1, ()))
            if request.disk_revision >= known[0]:
                self.lists[request.instance] = (request.disk_revision, request.disks)

    def powered(self, request):
        """The guest has become what it was to be."""
        self.has.pop(request.instance, None)
        if request.power == "running":
            for disk in self.lists[request.instance][1]:  # what is made or opened for a start is as large as is wanted
                if disk.make:
                    self.storage.make(disk.volume, disk.size_gib, disk.source)
                self.add(request.instance, disk)

    def add(self, instance, disk):
        others = [one for one in self.storage.users(disk.volume) if one != instance]
        self.images.must(not others, f"{disk.volume} in {instance} and {others}")
        if disk.remote is None:
            self.images.must(disk.volume in self.storage.sizes, f"{disk.volume} is not on {self.name}")
            served = self.storage.exports.get(disk.volume, (0, ""))[1]
            self.images.must(served == "", f"{disk.volume} is here, and served to {served}")
            self.storage.sizes[disk.volume] = max(self.storage.sizes.get(disk.volume, 0), disk.size_gib)
        else:
            [far] = [host for host in self.world.hosts if host.name == disk.remote.address]
            revision, served = far.storage.exports.get(disk.volume, (0, ""))
            self.images.must((served, f"{revision:02x}") == (instance, disk.remote.key), "a key that opens nothing")
        self.has.setdefault(instance, set()).add(disk.volume)

    def disks(self, request):
        if self.deaf:
            return Deferred()
        if request.instance not in self.lists:
            return succeed(DiskWork("unknown", 0))
        revision, _ = self.lists[request.instance]
        if request.revision < revision:
            return succeed(DiskWork("outdated", revision))
        self.lists[request.instance] = (request.revision, request.disks)
        wanted = {disk.volume: disk for disk in request.disks}
        if request.instance not in self.running:
            return succeed(DiskWork("ready", request.revision, tuple(wanted)))
        if self.storage.works(request.instance, request.revision):
            return succeed(DiskWork("working", request.revision, tuple(self.disks_of(request.instance))))
        problems = []
        for volume in self.disks_of(request.instance) - set(wanted):
            if volume not in self.keeps or request.force:
                self.has[request.instance].discard(volume)
        for volume, disk in wanted.items():
            if volume in self.rejects and volume not in self.disks_of(request.instance):
                problems.append(DiskProblem(volume, self.rejects[volume]))
            else:
                self.add(request.instance, disk)
        here = self.disks_of(request.instance)
        state = "working" if here - set(wanted) else "ready"
        return succeed(DiskWork(state, request.revision, tuple(sorted(here)), tuple(problems)))

    def copy(self, request):
        if self.deaf:
            return Deferred()
        if request.batch not in self.storage.copied and request.instance not in self.running:
            return succeed(SnapshotWork("elsewhere"))
        lacking = {part.volume for part in request.parts} - self.disks_of(request.instance)
        if lacking and request.batch not in self.storage.copied:
            known = {disk.volume for disk in self.lists[request.instance][1]}
            return succeed(SnapshotWork("failed", reason="no disk") if lacking <= known else SnapshotWork("elsewhere"))
        if self.copying is not None:
            return succeed(SnapshotWork("failed", reason=self.copying))
        if self.storage.works(request.batch):
            return succeed(SnapshotWork("working", 60))
        return succeed(self.storage.once(request))
