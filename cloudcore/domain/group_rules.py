"""From what people write to a rule: protocols by name or number, ports in order."""

from __future__ import annotations

from cloudcore.errors import CloudError, Code

PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "all": "-1"}
PORTED = ("tcp", "udp")


def terms(protocol: str | None, from_port: int | None, to_port: int | None) -> tuple[str, int, int]:
    """(protocol, from port, to port) in the one form that domain.security_groups.Rule has. Raises BAD_VALUE."""
    named = PROTOCOLS.get((protocol or "").lower(), (protocol or "").lower())
    if named in PORTED:
        if from_port is None or to_port is None or not 0 <= from_port <= to_port <= 65535:
            raise CloudError(Code.BAD_VALUE, f"Invalid value for portRange: {named} {from_port}-{to_port}")
        return named, from_port, to_port
    if named == "icmp":
        kind, code = -1 if from_port is None else from_port, -1 if to_port is None else to_port
        if not (-1 <= kind <= 255 and -1 <= code <= 255) or (kind == -1 and code != -1):
            raise CloudError(Code.BAD_VALUE, f"Invalid ICMP type and code: {kind}, {code}")
        return named, kind, code
    if named != "-1" and not (named.isascii() and named.isdigit() and len(named) <= 3 and int(named) <= 255):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")
    return named if named == "-1" else str(int(named)), -1, -1
