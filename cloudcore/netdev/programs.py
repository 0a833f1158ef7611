"""The programs of the host's network: `ip`, `nft`, `sysctl` and the like, always by argument list.

`prefix` goes before each of them: `("ip", "netns", "exec", NAME)` runs the network of a pretend host.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorProcess

from cloudcore.errors import CloudError, Code
from cloudcore.process.running import Finished, run

SECONDS = 15.0  # none of them waits for anything: an nft load of 1,000 ports takes 0.1 s
OUTPUT = 64 * 2**20  # bytes; nft lists 1,000 ports in about one MiB
REFUSALS = (b"Operation not permitted", b"Permission denied", b"permission denied", b"must be root")


class Programs:
    def __init__(self, reactor: IReactorProcess, prefix: tuple[str, ...] = ()) -> None:
        self._reactor, self._prefix = reactor, prefix

    async def run(self, *argv: str, stdin: bytes = b"") -> Finished:
        return await run(self._reactor, [*self._prefix, *argv], stdin=stdin, timeout=SECONDS, limit=OUTPUT)

    async def check(self, *argv: str, stdin: bytes = b"") -> bytes:
        """What it wrote. Raises CloudError: NOT_PERMITTED without the rights, else PROGRAM_FAILED; both name it."""
        done = await self.run(*argv, stdin=stdin)
        if done.status == 0:
            return done.stdout
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[:500]
        if any(refusal in done.stderr for refusal in REFUSALS):
            raise CloudError(Code.NOT_PERMITTED, f"{argv[0]}: {said}; networks for guests need root")
        raise CloudError(Code.PROGRAM_FAILED, f"{' '.join(argv[:4])}: exit status {done.status}: {said}")

    async def json(self, *argv: str) -> Any:
        """`ip -j` writes nothing at all for an empty list."""
        return json.loads(await self.check(*argv) or b"[]")

    async def nft(self, commands: Sequence[dict[str, Any]]) -> None:
        """One transaction: all of it or nothing."""
        await self.check("nft", "-j", "-f", "-", stdin=json.dumps({"nftables": commands}).encode())

    async def ruleset(self) -> list[dict[str, Any]]:
        """Everything the kernel has, without counters. (nft 1.0.6 cannot list tables of several families at once.)"""
        return (await self.json("nft", "-s", "-j", "list", "ruleset"))["nftables"]
