"""A model is fetched once, and only the right bytes are kept."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curate.errors import ConfigError, SourceError
from curate.source.model_file import KNOWN_MODELS, ModelFile, config_digest, file_digest

BODY = b"weights" * 10_000
DIGEST = hashlib.sha256(BODY).hexdigest()


class Weights(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(200 if self.path == "/model.bin" else 404)
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    Weights.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Weights)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def model(address, name="model.bin", sha256=DIGEST, **settings):
    return ModelFile(name, f"{address}/{name}", sha256, **settings)


def test_it_is_fetched_once(address, tmp_path):
    first = model(address).local(tmp_path / "cache")
    assert first.read_bytes() == BODY
    assert model(address).local(tmp_path / "cache") == first
    assert Weights.asked == 1


def test_many_at_once_find_a_whole_file(address, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: model(address).local(tmp_path), range(8)))
    assert {p.read_bytes() for p in paths} == {BODY}
    assert [p.name for p in tmp_path.iterdir()] == [paths[0].name]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sha256": "0" * 64}, "is not the file with SHA-256 0000"),
        ({"name": "gone.bin"}, "cannot fetch .*404"),
        ({"most_bytes": 1000}, "more than 1000 bytes"),
    ],
)
def test_what_is_not_the_file_leaves_nothing_behind(address, tmp_path, settings, words):
    with pytest.raises(SourceError, match=words):
        model(address, **settings).local(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_one_clear_error(tmp_path):
    with pytest.raises(SourceError, match=r"cannot fetch .*give its path as `model`"):
        model("http://127.0.0.1:9").local(tmp_path)


def test_digest_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    assert file_digest(tmp_path / "a") == DIGEST


@pytest.mark.parametrize("path", ["no such file", "a\0b", "x" * 300])
def test_a_path_in_a_config_that_is_none_is_told(path):
    with pytest.raises(ConfigError, match=r"^\[models.own\] weights = '.*' cannot be read: .*; give the path"):
        config_digest(path, "[models.own] weights")


def test_known_models_are_named_by_what_they_are():
    for name, known in KNOWN_MODELS.items():
        assert known.name == name
        assert known.url.startswith("https://")
        assert known.url.endswith(name)
        assert len(bytes.fromhex(known.sha256)) == 32
