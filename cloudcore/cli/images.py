"""Images: uploaded to the object store and registered, as any client would do it, by signed requests."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted.internet.threads import blockingCallFromThread

from cloudcore.auth.model import AccessKey
from cloudcore.cli.asking import confirm
from cloudcore.cli.client import PIECE, Client, sum_of
from cloudcore.cli.database import Open, with_database
from cloudcore.cli.environment import key_of, urls
from cloudcore.cli.printing import DONE, FAILED, Console, Refusal
from cloudcore.cli.progress import Step, step
from cloudcore.cli.reactor import in_thread, run
from cloudcore.config.places import built
from cloudcore.errors import CloudError, Code
from cloudcore.virt import tiny_image

T = TypeVar("T")
COLUMNS = ("id", "name", "state", "architecture", "location", "public")
TINY, IMAGES = "tiny", "images"
SCHEMES = ("http://", "https://")


def image_list(options: Any, console: Console) -> int:
    found = signed(options, lambda client, key: client.action("DescribeImages").findall("./imagesSet/item"))
    console.table([image_row(item) for item in found], COLUMNS, options.json)
    return DONE


def image_show(options: Any, console: Console) -> int:
    def look(client: Client, key: AccessKey) -> dict[str, Any]:
        item = client.action("DescribeImages", ImageId_1=options.image).find("./imagesSet/item")
        if item is None:
            raise CloudError(Code.IMAGE_UNKNOWN, f"The image '{options.image}' does not exist")
        return image_row(item)

    console.record(signed(options, look), options.json)
    return DONE


def image_delete(options: Any, console: Console) -> int:
    confirm(options, console, f"deregister image {options.image}")
    gone = {"ImageId": options.image, "DeleteAssociatedSnapshots": "true"}  # made with it, and of no use without
    signed(options, lambda client, key: client.action("DeregisterImage", **gone))
    console.record({"deleted": options.image}, options.json)
    return DONE


def image_import(options: Any, console: Console) -> int:
    name = options.name or Path(options.source.split("?")[0]).name

    def upload(client: Client, key: AccessKey) -> str:
        with tempfile.TemporaryDirectory(dir=options.state / "tmp") as folder:
            file = fetched(options.source, Path(folder), console)
            with step("image", console.err) as shown:
                return register(client, file, name, bucket_of(options.bucket, key), shown)

    async def work(opened: Open, client: Client, key: AccessKey) -> str:
        made = await in_thread(opened.clock, upload, client, key)
        if options.public:  # what ModifyImageAttribute does, by whoever may write the database
            await opened.database.transact(lambda books: books.images.set_public(key.project_id, made, True))
        return made

    console.record({"id": with_client(options, work), "name": name}, options.json)
    return DONE


def image_build_tiny(options: Any, console: Console) -> int:
    if options.output:
        with step("build", console.err) as shown:
            folder = Path(options.output).absolute()
            file = run(lambda clock: in_thread(clock, build_tiny, clock, folder, shown))
        console.record({"file": str(file)}, options.json)
        return DONE

    async def work(opened: Open, client: Client, key: AccessKey) -> str:
        return await in_thread(opened.clock, tiny, opened.clock, client, key, options.state, console)

    console.record({"id": with_client(options, work), "name": TINY}, options.json)
    return DONE


def tiny(clock: Any, client: Client, key: AccessKey, state: Path, console: Console) -> str:
    """The tiny guest's image id; built and registered when there is none."""
    found = named(client, TINY)
    if found is not None:
        return found
    with step("build", console.err) as shown:
        file = build_tiny(clock, built(state) / TINY, shown)
    with step("image", console.err) as shown:
        return register(client, file, TINY, bucket_of(IMAGES, key), shown)


def with_client(options: Any, work: Callable[[Open, Client, AccessKey], Awaitable[T]]) -> T:
    """Runs `work` with the client of the user that the options name."""
    async def inside(opened: Open) -> T:
        key = await key_of(opened.auth, options.user)
        client = Client(**urls(opened.config, options.state), region=opened.config.cloud.region, key=key)
        return await work(opened, client, key)

    return with_database(options, inside)


def signed(options: Any, act: Callable[[Client, AccessKey], T]) -> T:
    async def work(opened: Open, client: Client, key: AccessKey) -> T:
        return await in_thread(opened.clock, act, client, key)

    return with_client(options, work)


def fetched(source: str, folder: Path, console: Console) -> Path:
    """The file itself, or what the URL leads to, in `folder`."""
    if not source.startswith(SCHEMES):
        if not Path(source).is_file():
            raise Refusal(Code.IMAGE_UNAVAILABLE, f"there is no file {source}")
        return Path(source)
    file = folder / (Path(urlsplit(source).path).name or "download")
    with step("download", console.err) as shown:
        download(source, file, shown)
    return file


def bucket_of(name: str, key: AccessKey) -> str:
    """Bucket names are one space for all projects: the default one carries the account."""
    return f"{name}-{key.project_id}" if name == IMAGES else name


def register(client: Client, file: Path, name: str, bucket: str, shown: Step) -> str:
    """Uploads under a name that begins with the content's sum, so that no upload replaces another image's bytes."""
    key = f"{sum_of(file)[:16]}/{file.name}"
    client.make_bucket(bucket)
    ours = not client.exists(bucket, key, file.stat().st_size)
    if ours:
        client.put(bucket, key, file, shown.at)
    shown.says("the cloud checks it")
    try:
        made = client.action("RegisterImage", Name=name, ImageLocation=f"{bucket}/{key}", Architecture="x86_64",
                             VirtualizationType="hvm").findtext("imageId") or ""
    except CloudError:
        if ours:  # what is refused leaves nothing behind
            client.delete(bucket, key)
        raise
    shown.result = f"{name} {made}"
    return made


def named(client: Client, name: str) -> str | None:
    """The caller's own image of that name."""
    found = client.action("DescribeImages", Filter_1_Name="name", Filter_1_Value_1=name, Owner_1="self")
    return found.findtext("./imagesSet/item/imageId")


def build_tiny(clock: Any, folder: Path, shown: Step) -> Path:
    """The tiny guest as one bootable disk; built once for each folder. Called in a thread beside the reactor."""
    shown.says("Debian's kernel, busybox, dropbear")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    build: Any = tiny_image.build
    file: Path = blockingCallFromThread(clock, build, clock, folder)
    shown.result = str(file)
    return file


def download(url: str, file: Path, shown: Step) -> None:
    try:
        with closing(urllib.request.urlopen(url, timeout=60)) as source, file.open("wb") as target:  # noqa: S310
            whole = int(source.headers.get("Content-Length") or 0)
            done = 0
            while piece := source.read(PIECE):
                target.write(piece)
                done += len(piece)
                shown.at(done, max(whole, done))
    except (urllib.error.URLError, OSError, ValueError) as problem:
        reason = getattr(problem, "reason", problem)
        raise Refusal(Code.IMAGE_UNAVAILABLE, f"cannot fetch {url}: {reason}",
                      "cloudcore image import ./file.qcow2", status=FAILED) from None
    if whole and done != whole:
        raise Refusal(Code.IMAGE_UNAVAILABLE, f"{url} broke off after {done} of {whole} bytes", status=FAILED)
    shown.result = f"{done} bytes"


def image_row(item: Any) -> dict[str, Any]:
    return {"id": item.findtext("imageId"), "name": item.findtext("name"), "state": item.findtext("imageState"),
            "architecture": item.findtext("architecture"), "location": item.findtext("imageLocation"),
            "public": item.findtext("isPublic") == "true"}

