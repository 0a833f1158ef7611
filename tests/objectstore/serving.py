"""A store in a process of its own: `python serving.py ROOT` prints one JSON line with its ports, and ends with its
standard input. Both doors, plain and TLS, lead to one store."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver

from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.auth.model import Credential, Derivation
from cloudcore.domain.policy import permits
from objectstore.chain import Doors
from objectstore.service import ObjectStore, Settings
from tests.objectstore.wire import keys

PEOPLE = (("alice", "one", "user"), ("anna", "one", "user"), ("audit", "one", "auditor"), ("nobody", "one", None),
          ("slow", "one", "user"), ("bob", "two", "user"), ("root", "two", "admin"))
REGION = "us-east-2"


def certificate(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256()))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                               serialization.NoEncryption())
    path = directory / "tls.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


async def people() -> MemoryAuthManager:
    auth = SlowForSome(reactor, os.urandom)
    await auth.create_project("one", "111111111111")
    await auth.create_project("two", "222222222222")
    for name, project, role in PEOPLE:
        await auth.create_user(name)
        if role:
            await auth.grant(name, role, None if role == "admin" else project)
        await auth.create_access_key(name, project, *keys(name))
    await auth.create_project("cloud", "999999999999")
    await auth.create_user("keeper")
    await auth.grant("keeper", "fetcher")
    await auth.grant("keeper", "keeper", "cloud")
    await auth.create_access_key("keeper", "cloud", *keys("keeper"))
    return auth


async def temporary(auth: MemoryAuthManager) -> dict[str, tuple[str, str, str]]:
    """Key, secret and token of what alice derived: one that reads, one that reads for nobody any more."""
    made = {}
    for name, seconds in (("reader", 900), ("expired", -1)):
        key = await auth.create_temporary_key(Derivation(keys("alice")[0], seconds, frozenset({"s3:Get*", "s3:List*"})))
        made[name] = key.id, key.secret.reveal(), key.token.reveal()
    return made


class SlowForSome(MemoryAuthManager):
    """As a directory on the network: the answer about some keys takes its time."""

    def credential(self, access_key: str) -> Deferred[Credential | None]:
        answer = super().credential(access_key)
        return deferLater(reactor, 0.2, lambda: answer) if "SLOW" in access_key else answer


class EndWithInput(Protocol):
    def connectionLost(self, reason: Any) -> None:
        if reactor.running:
            reactor.stop()


async def main(root: str) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    directory = Path(root)
    doors = Doors((REGION, "us-east-1"), ("s3.example.org",))
    auth = await people()
    (directory / "temporary.json").write_text(json.dumps(await temporary(auth)))
    store = ObjectStore(reactor, directory / "store", auth, permits, os.urandom, Settings(doors))
    store.startService()
    reactor.addSystemEventTrigger("during", "shutdown", store.stopService)
    pem = certificate(directory)
    plain = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(store.factory())
    tls = await serverFromString(
        reactor, f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}").listen(store.factory())
    print(json.dumps({"http": plain.getHost().port, "https": tls.getHost().port, "ca": str(pem)}), flush=True)
    StandardIO(EndWithInput())


if __name__ == "__main__":
    ensureDeferred(main(sys.argv[1])).addErrback(lambda failure: (
        failure.printTraceback(), reactor.callWhenRunning(reactor.stop)))
    reactor.run()
