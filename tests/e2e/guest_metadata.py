"""Runs inside a guest (`python3 -`, standard library only): reads all that its metadata service lists, as JSON.

{"without a token": status, "read": {path: text}, "refused": {path: status}}
"""

import json
import urllib.error
import urllib.request

SERVICE = "http://169.254.169.254"
TOP = "/latest/"


def ask(path: str, token: str | None = None, method: str = "GET") -> tuple[int, str]:
    headers = {"X-aws-ec2-metadata-token": token} if token else {}
    if method == "PUT":
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    request = urllib.request.Request(SERVICE + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        return problem.code, ""


def names(path: str, listing: str) -> list[str]:
    """What to ask next. The list of keys says `0=name`, and everything there is a directory."""
    if path.endswith("/public-keys/"):
        return [f"{path}{line.partition('=')[0]}/" for line in listing.splitlines()]
    slash = "/" if path == TOP else ""  # its directories are listed without
    return [path + line + ("" if line == "user-data" else slash) for line in listing.splitlines()]


def main() -> None:
    token = ask("/latest/api/token", method="PUT")[1]
    read, refused, waiting = {}, {}, [TOP]
    while waiting:
        here = waiting.pop()
        status, text = ask(here, token)
        if status != 200:
            refused[here] = status
        elif here.endswith("/"):
            waiting += names(here, text)
        else:
            read[here[len(TOP):]] = text
    print(json.dumps({"without a token": ask("/latest/meta-data/")[0], "read": read, "refused": refused}))


if __name__ == "__main__":
    main()
