"""A static web server on loopback, in a process of its own, so cheap that the clients are what is measured.

Everything is in memory and each answer is one write; there is no parsing beyond the path and `Connection`. It serves
HTTP on one port and HTTPS on another, with an elliptic-curve certificate signed by itself, made at the start. Every
response but `/robots.txt` is a picture; a query (`?copy=1`) is passed over, so a list can be longer than the set.
nginx took 0.09 ms of CPU a picture where this takes 0.16; neither is counted as the clients'.

    python -m bench.server FOLDER STATE      serves FOLDER/*.jpg, writes ports and certificate under STATE
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Server", "serving"]

ROBOTS = b"User-agent: *\nDisallow: /private/\n"
MAX_HEAD_BYTES = 16_384


@dataclass(frozen=True)
class Server:
    """A running server: `http` and `https` are base URLs, `certificate` the file that a client must trust."""

    http: str
    https: str
    certificate: Path
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds that the server has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def serving(folder: Path, state: Path) -> Iterator[Server]:
    """Serve `folder` until the block ends. `state` is an empty folder for the ports and the certificate."""
    state.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "bench.server", str(folder), str(state)])
    try:
        yield _wait_for(process, state)
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], state: Path) -> Server:
    for _ in range(600):
        if (state / "ports.json").is_file():
            ports = json.loads((state / "ports.json").read_text())
            http, https = f"http://127.0.0.1:{ports['http']}", f"https://127.0.0.1:{ports['https']}"
            return Server(http, https, state / "certificate.pem", process.pid)
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the bench server did not start (exit code {process.poll()})")


class _Connection(asyncio.Protocol):
    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self.answers = answers
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0:
            head, self.pending = self.pending[:end], self.pending[end + 4 :]
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            self.transport.write(self.answers.get(path, self.answers[b""]))
            if b"connection: close" in head.lower():
                self.transport.close()
        if len(self.pending) > MAX_HEAD_BYTES:
            self.transport.close()


def _answers(folder: Path) -> dict[bytes, bytes]:
    pictures = {f"/{f.name}".encode(): _answer(b"200 OK", b"image/jpeg", f.read_bytes()) for f in folder.glob("*.jpg")}
    robots = {b"/robots.txt": _answer(b"200 OK", b"text/plain", ROBOTS)}
    return pictures | robots | {b"": _answer(b"404 Not Found", b"text/plain", b"no such picture\n")}


def _answer(status: bytes, kind: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nServer: bench\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


def make_certificate(folder: Path) -> ssl.SSLContext:
    """A P-256 certificate for 127.0.0.1 and localhost, valid for a day, left in `folder/certificate.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(private)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def _serve(folder: Path, state: Path) -> None:
    answers, context = _answers(folder), make_certificate(state)
    loop = asyncio.get_running_loop()
    http = await loop.create_server(lambda: _Connection(answers), "127.0.0.1", 0, backlog=1024)
    https = await loop.create_server(lambda: _Connection(answers), "127.0.0.1", 0, backlog=1024, ssl=context)
    ports = {"http": http.sockets[0].getsockname()[1], "https": https.sockets[0].getsockname()[1]}
    (state / "ports.tmp").write_text(json.dumps(ports))
    (state / "ports.tmp").replace(state / "ports.json")
    await asyncio.gather(http.serve_forever(), https.serve_forever())


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))
