"""An S3 server on loopback, one per test process, and fresh buckets on it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

from curate.storage import Storage


@cache
def _endpoint() -> str:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def bucket() -> Iterator[Storage]:
    """A folder in a new bucket. Clients find the server by the environment."""
    import boto3

    settings = {
        "AWS_ENDPOINT_URL": _endpoint(),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    name = f"b-{uuid.uuid4().hex[:12]}"
    with patch.dict(os.environ, settings):
        boto3.client("s3").create_bucket(Bucket=name)
        yield Storage(f"s3://{name}/data/set")
