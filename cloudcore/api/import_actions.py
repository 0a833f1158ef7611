"""ImportSnapshot and ImportImage, and their tasks. What is imported is an object of the caller's in the object store,
raw or (beyond EC2) qcow2; the conductor has the image worker read, judge and take it over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from cloudcore.api import client_tokens, descriptions, image_names, storage_quotas, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.instance_views import ROOT_DEVICE
from cloudcore.api.registry import Action, Fate, Ignored, accepted
from cloudcore.domain.ids import new_id, well_formed
from cloudcore.domain.imports import Import, ImportState, ImportTask
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted
from cloudcore.store.requests import Token

FORMATS = ("raw", "qcow2")
KINDS = {"image": "import-image-task", "snapshot": "import-snapshot-task"}


@dataclass(frozen=True, slots=True)
class UserBucket:
    S3Bucket: str | None = None
    S3Key: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    Description: str | None = None
    Format: str | None = None
    Url: str | None = None
    UserBucket: UserBucket | None = None


@dataclass(frozen=True, slots=True)
class ImportSnapshot:
    DiskContainer: Container | None = None
    Description: str | None = None
    ClientToken: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportImage:
    DiskContainers: tuple[Container, ...] = ()
    Description: str | None = None
    Architecture: str | None = None
    ClientToken: str | None = None
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeTasks:
    ImportTaskIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    MaxResults: int | None = None
    NextToken: str | None = None


@dataclass(frozen=True, slots=True)
class CancelImportTask:
    ImportTaskId: str | None = None
    CancelReason: str | None = None


# -- begun -------------------------------------------------------------------------------------------------------------


async def import_snapshot(call: Call, asked: ImportSnapshot) -> Mapping[str, Any] | None:
    if asked.DiskContainer is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter DiskContainer")
    return await _begin(call, "snapshot", asked, asked.DiskContainer)


async def import_image(call: Call, asked: ImportImage) -> Mapping[str, Any] | None:
    if len(asked.DiskContainers) != 1:
        raise CloudError(Code.BAD_VALUE, "An image is imported from exactly one disk container")
    if asked.Architecture not in (None, *image_names.ARCHITECTURES):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.Architecture}' for Architecture")
    return await _begin(call, "image", asked, asked.DiskContainers[0])


async def _begin(call: Call, kind: str, asked: ImportSnapshot | ImportImage,
                 container: Container) -> Mapping[str, Any] | None:  # fmt: skip
    descriptions.check_description(asked.Description)
    location = _location(container)
    tags = tagging.by_kind(asked.TagSpecifications, (KINDS[kind],))[KINDS[kind]]
    token = client_tokens.token(call, asked.ClientToken)
    wanted = _wanted(call, kind, asked, location, (container.Format or FORMATS[0]).upper())
    return await call.change(_accept, wanted, tags, token)


def _location(container: Container) -> str:
    """`bucket/key`. Raises BAD_VALUE, MISSING_PARAMETER, BAD_COMBINATION."""
    if container.Format is not None and container.Format.lower() not in FORMATS:
        text = f"The disk format '{container.Format}' is not supported; there are {' and '.join(FORMATS)}"
        raise CloudError(Code.BAD_VALUE, text)
    bucket, url = container.UserBucket, container.Url
    if (bucket is None) == (url is None):
        raise CloudError(Code.BAD_COMBINATION, "A disk container names either a UserBucket or a Url")
    if bucket is not None:
        if not bucket.S3Bucket or not bucket.S3Key:
            raise CloudError(Code.MISSING_PARAMETER, "UserBucket needs both S3Bucket and S3Key")
        return f"{bucket.S3Bucket}/{bucket.S3Key}"
    parts = urlsplit(url or "")
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{(url or '')[:200]}' for Url: s3://BUCKET/KEY")
    return f"{parts.netloc}/{unquote(parts.path.lstrip('/'))}"


def _wanted(call: Call, kind: str, asked: ImportSnapshot | ImportImage, location: str, format: str) -> ImportTask:
    id = new_id(KINDS[kind], call.cloud.random)
    image = new_id("image", call.cloud.random) if kind == "image" else None
    architecture = (asked.Architecture if isinstance(asked, ImportImage) else None) or image_names.ARCHITECTURES[0]
    wanted = Import(new_id("snapshot", call.cloud.random), image, id if image else "", asked.Description or "",
                    architecture, ROOT_DEVICE, format=format)  # fmt: skip
    return ImportTask(id, call.project, kind, ImportState.ACTIVE, 0.0, location, wanted, asked.Description or "",
                      message="pending")  # fmt: skip


def _accept(books: Books, call: Call, wanted: ImportTask, tags: Mapping[str, str], token: Token | None) -> Outcome:
    earlier = books.requests.earlier(token) if token else None
    if earlier is not None:
        found = books.imports.find(earlier[0])
        return Outcome(_answer(found, tags) if found else None, tuple(earlier), repeated=True)
    storage_quotas.take_snapshots(books, call, 1)
    task = replace(wanted, created=books.now())
    books.imports.insert(task)
    books.tags.begin(call.project, {task.id: KINDS[task.kind]}, tags)
    if token:
        books.requests.keep(token, [task.id])
    operation = books.operations.begin("import", task.id, 1, call.project, call.request_id)
    return Outcome(_answer(task, tags), (task.id,), (operation,))


def _answer(task: ImportTask, tags: Mapping[str, str]) -> Mapping[str, Any]:
    return view(task, [{"Key": key, "Value": tags[key]} for key in sorted(tags)])


# -- shown -------------------------------------------------------------------------------------------------------------


def view(task: ImportTask, tags: Sequence[dict[str, str]]) -> dict[str, Any]:
    """An element of importImageTaskSet or importSnapshotTaskSet, and the answer of what begins one."""
    bucket, _, key = task.location.partition("/")
    progress = str(task.progress) if task.state is ImportState.ACTIVE else None
    disk = {
        "Description": task.description or None,
        "Format": task.wanted.format,
        "Progress": progress,
        "SnapshotId": task.snapshot,
        "Status": task.state.value,
        "StatusMessage": task.message or None,
        "UserBucket": {"S3Bucket": bucket, "S3Key": key},
    }
    whole = {"ImportTaskId": task.id, "Description": task.description or None, "Tags": list(tags) or None}
    if task.kind == "snapshot":
        return whole | {"SnapshotTaskDetail": disk | {"Encrypted": False}}
    return whole | {
        "Architecture": task.wanted.architecture,
        "ImageId": task.image,
        "Platform": "Linux",
        "Progress": progress,
        "SnapshotDetails": [disk | {"DeviceName": task.wanted.root_device}],
        "Status": task.state.value,
        "StatusMessage": task.message or None,
        "Encrypted": False,
    }


def _fetch(books: Books, call: Call, wanted: Wanted, kind: str) -> Sequence[Row[ImportTask]]:
    only = Wanted(wanted.ids, wanted.after, wanted.limit, {**wanted.equal, "kind": [kind]}, wanted.tagged)
    return [Row(task.created, task.id, task) for task in books.imports.page(call.project, only)]


def _kind(kind: str) -> Kind[ImportTask]:
    return Kind(
        fetch=partial(_fetch, kind=kind),
        view=lambda call, task, tags: view(task, tags),
        noun="import task id",
        tags=KINDS[kind],
        unknown=Code.IMPORT_TASK_UNKNOWN,
        malformed=Code.IMPORT_TASK_MALFORMED,
        page=(1, 1000),
        filters={**TAG_FILTERS, "task-state": "Status" if kind == "image" else "SnapshotTaskDetail.Status"},
    )


IMAGE_TASK, SNAPSHOT_TASK = _kind("image"), _kind("snapshot")


async def describe_import_image_tasks(call: Call, asked: DescribeTasks) -> Mapping[str, Any] | None:
    found = await call.look(describe, call, IMAGE_TASK, _asked(asked))
    return {"ImportImageTasks": found.items, "NextToken": found.token}


async def describe_import_snapshot_tasks(call: Call, asked: DescribeTasks) -> Mapping[str, Any] | None:
    found = await call.look(describe, call, SNAPSHOT_TASK, _asked(asked))
    return {"ImportSnapshotTasks": found.items, "NextToken": found.token}


def _asked(asked: DescribeTasks) -> Asked:
    return Asked(asked.ImportTaskIds, asked.Filters, asked.MaxResults, asked.NextToken)


# -- given up ----------------------------------------------------------------------------------------------------------


async def cancel_import_task(call: Call, asked: CancelImportTask) -> Mapping[str, Any] | None:
    id = asked.ImportTaskId
    if id is None:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain the parameter ImportTaskId")
    if not any(well_formed(kind, id) for kind in KINDS.values()):
        raise CloudError(Code.IMPORT_TASK_MALFORMED, f"Invalid id: \"{id}\" (expecting \"import-ami-...\")")
    return await call.change(_cancel, id, (asked.CancelReason or "")[:descriptions.LONGEST])


def _cancel(books: Books, call: Call, id: str, reason: str) -> Outcome:
    task = books.imports.find(id)
    if task is None or task.project != call.project:
        raise CloudError(Code.IMPORT_TASK_UNKNOWN, f"The import task id '{id}' does not exist")
    text = f"cancelled: {reason}" if reason else "cancelled"
    if not books.imports.change(id, state=ImportState.DELETED, message=text):
        raise CloudError(Code.SNAPSHOT_STATE, f"The import task '{id}' is {task.state.value} already")
    books.quotas.release(call.project, snapshots=1)
    return Outcome({"ImportTaskId": id, "PreviousState": task.state.value, "State": ImportState.DELETED.value}, (id,))


FATES: Mapping[str, Fate] = {
    "ClientData": Ignored("when and how fast the object was uploaded changes nothing"),
    "Encrypted": accepted(False),
    "RoleName": Ignored("the object is read with the rights of the caller's own account"),
}
IMAGE_FATES: Mapping[str, Fate] = {
    **FATES,
    "DiskContainers.DeviceName": accepted(ROOT_DEVICE),
    "Hypervisor": Ignored("there is one"),
    "LicenseType": accepted("BYOL"),
    "Platform": accepted("Linux"),
    "BootMode": accepted("legacy-bios"),
}

ACTIONS = {
    "ImportSnapshot": Action(import_snapshot, ImportSnapshot, FATES),
    "ImportImage": Action(import_image, ImportImage, IMAGE_FATES),
    "DescribeImportImageTasks": Action(describe_import_image_tasks, DescribeTasks),
    "DescribeImportSnapshotTasks": Action(describe_import_snapshot_tasks, DescribeTasks),
    "CancelImportTask": Action(cancel_import_task, CancelImportTask),
}
