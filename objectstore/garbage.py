"""Files that nobody refers to: those whose last reference went, and those that a crash left without a row.

Readers may still hold a name when its last reference goes, so garbage waits fifteen minutes. A file without a row is
nobody's, because only the row makes it visible; but many of them at once mean that the index is not the one that
belongs to these files, and then nothing is removed (R6).
"""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger

from objectstore.blobs import BlobDirectory
from objectstore.index.model import BlobLedger

GRACE = 900  # seconds that garbage waits
AT_ONCE = 500  # files per round, so that a round is short
TOLERATED = 64  # files a crash may leave in a small store: sixteen uploads in flight, with room
SHARE, MOST = 0.05, 1000  # of all files; and never more than that in one sweep
log = Logger()


async def collect(blobs: BlobDirectory, ledger: BlobLedger, now: float, grace: float = GRACE) -> int:
    """Removes garbage that is old enough; returns how many. A crash between file and row repeats harmlessly."""
    names = await ledger.due(int(now - grace), AT_ONCE)
    if names:
        await blobs.in_thread(_unlink, [blobs.path(name) for name in names])
        await ledger.forget(names)
    return len(names)


async def sweep(blobs: BlobDirectory, ledger: BlobLedger, untouched_since: float) -> int:
    """Removes files without a row that were last written before then (seconds since the epoch); returns how many."""
    files: dict[str, float] = await blobs.in_thread(_files, blobs.root)
    known: set[str] = set()
    names = sorted(files)
    for at in range(0, len(names), 1000):
        known |= await ledger.known(names[at : at + 1000])
    orphans = [name for name in names
               if name not in known and name not in blobs.active and files[name] < untouched_since]
    if len(orphans) > min(MOST, max(TOLERATED, SHARE * len(files))):
        log.critical("{count} of {all} blob files have no row: does the index belong to them? Nothing was removed",
                     count=len(orphans), all=len(files))
        return 0
    if orphans:
        await blobs.in_thread(_unlink, [blobs.path(name) for name in orphans])
        log.info("removed {count} blob files without a row", count=len(orphans))
    return len(orphans)


def _files(root: Path) -> dict[str, float]:
    """Names and times of last change."""
    found = {}
    for directory in root.iterdir():
        for path in directory.iterdir():
            try:
                found[path.name] = path.stat().st_mtime
            except FileNotFoundError:
                continue
    return found


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
