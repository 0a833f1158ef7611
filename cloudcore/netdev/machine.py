"""What the clouds of one machine share: the metadata address on `lo`, and IPv4 forwarding.

Who uses them, and what they were before, is noted where it is needed and vanishes with it: in the kernel, as empty
chains of one nft table in the same network namespace. `user.<table>` is a cloud; `ip_forward_was_0` says what the last
one that leaves restores. An address that somebody else put on `lo` lacks our label and is left alone.
"""

from __future__ import annotations

from cloudcore.errors import CloudError, Code
from cloudcore.netdev.programs import Programs
from cloudcore.netdev.render_nft import METADATA

LEDGER = "cloudcore_machine"
USER = "user."
FORWARDING_WAS_OFF = "ip_forward_was_0"
LABEL = "lo:cloudcore"
BRIDGED = "net.bridge.bridge-nf-call-iptables"


async def join(programs: Programs, table: str) -> None:
    """Idempotent: notes first, then changes."""
    await _bridged_packets_are_filtered(programs)
    notes = [USER + table]
    forwarding = (await programs.check("sysctl", "-n", "net.ipv4.ip_forward")).strip()
    if forwarding == b"0":
        notes.append(FORWARDING_WAS_OFF)
    ledger = {"family": "ip", "table": LEDGER}
    await programs.nft([{"add": {"table": {"family": "ip", "name": LEDGER}}},
                        *({"add": {"chain": ledger | {"name": name}}} for name in notes)])  # fmt: skip
    if forwarding == b"0":
        await programs.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    if not any(found["local"] == METADATA for found in await _addresses(programs)):
        await programs.check("ip", "addr", "add", f"{METADATA}/32", "dev", "lo", "scope", "link", "label", LABEL)
    await programs.check("ip", "link", "set", "lo", "up")


async def leave(programs: Programs, table: str) -> None:
    notes = {item["chain"]["name"] for item in await programs.ruleset() if "chain" in item
             and (item["chain"]["family"], item["chain"]["table"]) == ("ip", LEDGER)}  # fmt: skip
    if USER + table not in notes:
        return
    if any(name.startswith(USER) and name != USER + table for name in notes):
        await programs.nft([{"delete": {"chain": {"family": "ip", "table": LEDGER, "name": USER + table}}}])
        return
    if any(found["local"] == METADATA and found.get("label") == LABEL for found in await _addresses(programs)):
        await programs.check("ip", "addr", "del", f"{METADATA}/32", "dev", "lo")
    if FORWARDING_WAS_OFF in notes:
        await programs.check("sysctl", "-qw", "net.ipv4.ip_forward=0")
    await programs.nft([{"delete": {"table": {"family": "ip", "name": LEDGER}}}])


async def _addresses(programs: Programs) -> list[dict[str, str]]:
    links = await programs.json("ip", "-j", "-4", "addr", "show", "dev", "lo")
    return [found for link in links for found in link.get("addr_info", ()) if "local" in found]


async def _bridged_packets_are_filtered(programs: Programs) -> None:
    """Needs br_netfilter. Our bridge asks for it by an attribute of its own; where the module comes only for us, the
    switch for all bridges is turned off, so that nobody else's bridge changes its ways."""
    if (await programs.run("sysctl", "-n", BRIDGED)).status == 0:
        return
    await programs.run("modprobe", "br_netfilter")
    if (await programs.run("sysctl", "-n", BRIDGED)).status != 0:
        raise CloudError(Code.PROGRAM_FAILED, "modprobe: the kernel lacks br_netfilter, so that traffic between guests"
                                              " on one bridge cannot be filtered")  # fmt: skip
    for kind in ("iptables", "ip6tables", "arptables"):
        await programs.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{kind}=0")
