"""Enough of nftables to judge what a rendered rule set does with a packet: so the rendering is tested by what it means,
not by how it looks. It knows the expressions we render and fails on any other."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

NAMES = {"tcp": 6, "udp": 17, "icmp": 1, "arp": "arp", "ip": "ip", "echo-request": 8}


@dataclass
class Frame:
    """`values` by the names of nft's keys (`iifname`, `ip saddr`, `th dport`), `ct` by key (`state`,
    `original ip daddr`)."""

    values: dict[str, Any]
    ct: dict[str, str] = field(default_factory=lambda: {"state": "new", "direction": "original", "status": ""})


class Reading:
    def __init__(self, commands: list[dict[str, Any]], family: str) -> None:
        self.sets: dict[str, list[Any]] = {}
        self.chains: dict[str, list[list[dict[str, Any]]]] = {}
        for command in commands:
            for kind, item in command.get("add", {}).items():
                if item["family"] != family:
                    continue
                if kind in ("set", "map"):
                    self.sets[item["name"]] = item.get("elem", [])
                elif kind == "chain":
                    assert item["name"] not in self.chains
                    self.chains[item["name"]] = []
                elif kind == "rule":
                    self.chains[item["chain"]].append(item["expr"])

    def verdict(self, chain: str, frame: Frame) -> str:
        return self._chain(chain, frame) or "accept"

    def _chain(self, name: str, frame: Frame) -> str | None:
        for rule in self.chains[name]:
            done, found = self._rule(rule, frame)
            if done:
                return found
        return None

    def _rule(self, rule: list[dict[str, Any]], frame: Frame) -> tuple[bool, str | None]:
        for expression in rule:
            ((kind, body),) = expression.items()
            if kind == "match":
                if not self._match(body, frame):
                    return False, None
            elif kind == "vmap":
                value = self._value(body["key"], frame)
                verdicts = dict(self.sets[body["data"][1:]])
                return self._rule([verdicts[value]], frame) if value in verdicts else (False, None)
            elif kind in ("accept", "drop"):
                return True, kind
            elif kind == "goto":
                return True, self._chain(body["target"], frame)
            elif kind == "jump":
                found = self._chain(body["target"], frame)
                return found is not None, found
            else:
                assert kind == "counter", kind
        return False, None

    def _match(self, body: dict[str, Any], frame: Frame) -> bool:
        left, right = self._value(body["left"], frame), body["right"]
        if left is None:
            return False
        if isinstance(right, str) and right.startswith("@"):
            found = any(_holds(element, left) for element in self.sets[right[1:]])
        else:
            found = _holds(right, left)
        return found != (body["op"] == "!=")

    def _value(self, left: dict[str, Any], frame: Frame) -> Any:
        ((kind, body),) = left.items()
        if kind == "concat":
            parts = [self._value(part, frame) for part in body]
            return None if None in parts else parts
        if kind == "meta":
            return frame.values.get(body["key"])
        if kind == "ct":
            return frame.ct.get(f"{body['dir']} {body['key']}") if "dir" in body else frame.ct[body["key"]]
        assert kind == "payload", kind
        return frame.values.get(f"{body['protocol']} {body['field']}")


def _holds(element: Any, value: Any) -> bool:
    if isinstance(element, dict):
        ((kind, body),) = element.items()
        if kind == "set":
            return any(_holds(one, value) for one in body)
        if kind == "prefix":
            return ipaddress.ip_address(value) in ipaddress.ip_network(f"{body['addr']}/{body['len']}")
        if kind == "range":
            return body[0] <= value <= body[1]
        assert kind == "concat", kind
        return body == value
    return NAMES.get(element, element) == NAMES.get(value, value) if isinstance(element, str) else element == value
