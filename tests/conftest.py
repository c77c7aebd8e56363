"""What tests of several folders need: how hypothesis draws, and an S3 server on loopback, a fresh bucket per test."""

import sys
import uuid
from functools import cache

import pytest
from hypothesis import settings

from curate.storage import Storage

settings.register_profile("repeatable", derandomize=True, print_blob=True, deadline=None)
"""For `make test`, whose result should be that of the code and not of what else the machine does; `pytest` without it
looks at other examples each time, and as patiently."""
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, whole runs before parts: what takes longest must not begin when all else is done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, len(item.path.parts)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test begins as a worker does, on one thread: a process remembers how many the test before was given. On two,
    last bits depend on neighbours, and on busy cores one waits for the other, which takes three times as long."""
    if "curate.models.device" in sys.modules:
        sys.modules["curate.models.device"].work_on(0, 1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@cache
def _endpoint() -> str:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A folder in a new bucket. Clients find the server by the environment."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", _endpoint())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"b-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Storage(f"s3://{name}/data/set")
