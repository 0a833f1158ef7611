"""Private servers for tests: RabbitMQ on free ports of 127.0.0.1, with its own epmd, cookie, database and logs.

Debian's wrapper wants user rabbitmq and the system's directories; the script of the versioned directory takes
everything from its environment and runs as whoever runs the tests. Both processes are ours by pid, so both end with us.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.ports import free_port

SERVER = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"
STARTS = 60.0  # seconds; 5 to 7 on an idle machine with 2 cores
QUIET = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"  # no busy waiting: the machine has other work

CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.certfile = {home}/certificate.pem
ssl_options.keyfile = {home}/key.pem
ssl_options.verify = verify_none
log.console = false
disk_free_limit.absolute = 10MB
vm_memory_high_watermark.absolute = 512MB
default_user = guest
default_pass = {password}
"""


def certify(home: Path) -> bytes:
    """Writes certificate.pem and key.pem for "localhost", signed by itself; gives the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(Encoding.PEM)
    (home / "certificate.pem").write_bytes(pem)
    (home / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem


@dataclass
class RabbitMq:
    """One node. `start` returns at once, `wait` when it answers; `kill` is SIGKILL, `stop` ends everything."""

    home: Path
    port: int = field(default_factory=free_port)
    tls_port: int = field(default_factory=free_port)
    password: str = field(default_factory=secrets.token_hex)
    _node: subprocess.Popen[bytes] | None = None
    _epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:{self.password}@127.0.0.1:{self.port}/"

    def prepare(self) -> None:
        self._distribution, epmd_port = free_port(), free_port()
        (self.home / "rabbitmq.conf").write_text(self._configuration())
        self.authority = certify(self.home)
        (self.home / "plugins").write_text("[].")
        cookie = self.home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        self._environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self.home),
            "ERL_EPMD_PORT": str(epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"cloudcore{self.port}@localhost", "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"), "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} {QUIET}",
        }  # fmt: skip
        self._epmd = self._run("epmd", "-port", str(epmd_port), "-address", "127.0.0.1")

    def _configuration(self) -> str:
        return CONFIGURATION.format(port=self.port, tls_port=self.tls_port, home=self.home, password=self.password)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home / "output").open("ab") as output:
            return subprocess.Popen(  # noqa: S603
                arguments, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.home, start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        self._node = self._run(sorted(glob.glob(SERVER))[-1])

    def wait(self) -> None:
        end = time.monotonic() + STARTS
        while time.monotonic() < end and self._node and self._node.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.settimeout(5)
                    probe.sendall(b"AMQP\0\0\x09\x01")
                    if probe.recv(1):
                        return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"RabbitMQ does not start:\n{(self.home / 'output').read_text()[-2000:]}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """The node is a shell script that may or may not become the Erlang machine: its session is ours."""
        if self._node and self._node.poll() is None:
            os.killpg(self._node.pid, how)
            self._node.wait(20)

    def stop(self) -> None:
        self.kill()
        if self._epmd:
            self._epmd.kill()
            self._epmd.wait(5)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMq]:
    """A running broker, the same for the whole session; a test that kills it starts it again."""
    if not glob.glob(SERVER):
        pytest.skip("no rabbitmq-server on this machine")
    home = Path(tempfile.mkdtemp(prefix="cloudcore-rabbitmq-"))
    broker = RabbitMq(home)
    try:
        broker.prepare()
        broker.start()
        broker.wait()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(home, ignore_errors=True)
