"""HTTPS: certificates are checked, connections are kept."""

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fault_web import FAST, PICTURE, Web, collect, fetch_one

from curate.errors import ConfigError
from curate.fetch.client import Client


def test_a_certificate_of_a_known_authority_is_accepted(secure_web: Web, certificate: Path) -> None:
    got = fetch_one(secure_web, "https://secure.test/a.jpg", ca_file=str(certificate))
    assert (got.status, got.body) == ("success", PICTURE)


def test_a_stranger_s_certificate_or_another_host_s_is_refused(secure_web: Web, certificate: Path) -> None:
    for settings, host in ((FAST, "secure.test"), (replace(FAST, ca_file=str(certificate)), "other.test")):
        got = fetch_one(secure_web, f"https://{host}/a.jpg", settings, robots="ignore")
        assert (got.status, got.attempts, got.body) == ("tls_error", 1, b"")
        assert "certificate" in got.detail
    assert secure_web.calls == []


def test_a_file_of_authorities_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(ConfigError, match=r"ca_file = 'nowhere\.pem' is not a file"):
        Client(replace(FAST, ca_file="nowhere.pem"))


def test_checking_can_be_turned_off(secure_web: Web) -> None:
    assert fetch_one(secure_web, "https://other.test/a.jpg", verify_tls=False).status == "success"


def test_a_server_that_does_not_speak_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=refuse_once, args=(listener,), daemon=True).start()
        client = Client(replace(FAST, verify_tls=False, retries=0), {"*": address})
        got = collect(client, ["https://pictures.test/a.jpg"])[0]
        client.close()
    assert (got.status, got.robots) == ("tls_error", "unreachable")


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_breaks_in_the_handshake_is_tried_again(reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=break_all, args=(listener, reset), daemon=True).start()
        client = Client(replace(FAST, robots="ignore"), {"*": f"127.0.0.1:{listener.getsockname()[1]}"})
        got = collect(client, ["https://pictures.test/a.jpg"])[0]
        client.close()
    assert (got.status, got.attempts) == ("connection_lost", 3)


def break_all(listener: socket.socket, reset: bool) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.recv(10_000)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def refuse_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_tls_connections_are_used_again(secure_web: Web, certificate: Path) -> None:
    client = Client(replace(FAST, ca_file=str(certificate), per_host_concurrency=4), {"*": secure_web.address})
    for _ in range(2):
        assert {response.status for response in collect(client, ["https://secure.test/a.jpg"] * 100)} == {"success"}
    client.close()
    assert secure_web.connections <= 5
