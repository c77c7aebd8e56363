"""A name is absent or holds a whole file, on a disk and on an object store alike; refusals are told in plain words."""

import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from multiprocessing import get_context
from pathlib import Path

import pytest

from curate.errors import StorageError
from curate.storage import Storage, plain_errors


@pytest.fixture(params=["disk", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "disk":
        return Storage(str(tmp_path / "set"))
    if request.param == "memory":
        return Storage(f"memory://{uuid.uuid4().hex}/set")
    found: Storage = request.getfixturevalue("s3")
    return found


def test_nothing_is_there_at_first(storage: Storage) -> None:
    assert storage.files() == {}
    assert storage.files("commits/fetch") == {}
    assert storage.folders() == []
    assert storage.names("00000.") == []
    assert not storage.exists("a.txt")
    assert storage.newest("_attempts") == 0
    storage.delete("a.txt")
    storage.delete_folder("a")
    for call in (storage.read, storage.size, storage.open):
        with pytest.raises(FileNotFoundError):
            call("a.txt")
    with pytest.raises(FileNotFoundError):
        storage.read_range("a.txt", 0, 5)


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write("d/a.bin", b"old")
    storage.write("d/a.bin", b"0123456789")
    assert storage.read("d/a.bin") == b"0123456789"
    assert storage.size("d/a.bin") == 10
    assert storage.exists("d/a.bin")
    assert storage.read_range("d/a.bin", 3, 4) == b"3456"
    assert storage.read_range("d/a.bin", 8, 4) == b"89"
    with storage.open("d/a.bin") as handle:
        handle.seek(5)
        assert handle.read(2) == b"56"


def test_listings_show_files_and_folders_of_one_level(storage: Storage) -> None:
    for name in (
        "00000.tar",
        "00000.parquet",
        "00000.select.parquet",
        "00001.parquet",
        "commits/f/a.json",
        "commits/b",
    ):
        storage.write(name, b"xy")
    storage.write("00000.tar.abc.tmp", b"half")
    assert storage.files() == dict.fromkeys(("00000.tar", "00000.parquet", "00000.select.parquet", "00001.parquet"), 2)
    assert storage.files("commits/f") == {"commits/f/a.json": 2}
    assert storage.files("commits") == {"commits/b": 2}
    assert storage.folders() == ["commits"]
    assert storage.folders("commits") == ["f"]
    assert storage.names("00000.") == ["00000.parquet", "00000.select.parquet", "00000.tar"]


def test_a_listing_is_never_stale(storage: Storage) -> None:
    assert storage.files("c") == {}
    storage.write("c/a", b"1")
    assert storage.files("c") == {"c/a": 1}
    storage.write("c/a", b"22")
    assert storage.files("c") == {"c/a": 2}
    assert storage.size("c/a") == 2
    storage.delete("c/a")
    assert storage.files("c") == {}
    assert not storage.exists("c/a")


def test_another_clients_changes_are_seen(s3: Storage) -> None:
    import boto3

    s3.write("c/a", b"1")
    s3.write("c/b", b"2")
    assert (s3.files("c"), s3.exists("c/new"), s3.folders("c")) == ({"c/a": 1, "c/b": 1}, False, [])
    other, bucket = boto3.client("s3"), s3.root.split("/")[2]
    other.put_object(Bucket=bucket, Key="data/set/c/new", Body=b"22")
    other.put_object(Bucket=bucket, Key="data/set/c/b", Body=b"longer")
    other.put_object(Bucket=bucket, Key="data/set/c/deep/x", Body=b"")
    other.delete_object(Bucket=bucket, Key="data/set/c/a")
    assert (s3.exists("c/new"), s3.exists("c/a"), s3.size("c/b")) == (True, False, 6)
    assert (s3.files("c"), s3.folders("c")) == ({"c/b": 6, "c/new": 2}, ["deep"])
    assert s3.names("c") == []


def test_move_replaces_and_delete_folder_is_deep(storage: Storage) -> None:
    storage.write("_attempts/x/00000.tar", b"new")
    storage.write("_attempts/x/deep/a", b"1")
    storage.write("00000.tar", b"old")
    storage.move("_attempts/x/00000.tar", "00000.tar")
    assert storage.read("00000.tar") == b"new"
    assert not storage.exists("_attempts/x/00000.tar")
    with pytest.raises(FileNotFoundError):
        storage.move("_attempts/x/00000.tar", "00000.tar")
    assert storage.read("00000.tar") == b"new"
    assert abs(storage.newest("_attempts/x") - time.time()) < 60
    storage.delete_folder("_attempts/x")
    assert storage.folders("_attempts") == []
    with pytest.raises(StorageError, match="refusing to delete all"):
        storage.delete_folder("")


def test_a_folder_whose_files_are_being_moved_away_never_seems_old(tmp_path: Path) -> None:
    """Two runs may share a folder: what one is moving to its place, the other must not sweep away."""
    storage, ended = Storage(str(tmp_path / "set")), threading.Event()

    def move_about() -> None:
        while not ended.is_set():
            for name in ("a", "b", "c"):
                storage.move(f"_attempts/x/{name}", f"_attempts/y/{name}")
                storage.move(f"_attempts/y/{name}", f"_attempts/x/{name}")

    for name in ("a", "b", "c"):
        storage.write(f"_attempts/x/{name}", b"1")
    mover = threading.Thread(target=move_about)
    mover.start()
    try:
        assert min(storage.newest("_attempts/x") for _ in range(1000)) > time.time() - 60
    finally:
        ended.set()
        mover.join()


def test_upload_moves_a_local_file_in(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "made.tar"
    source.write_bytes(b"x" * 100_000)
    storage.upload(source, "d/made.tar")
    assert storage.read("d/made.tar") == b"x" * 100_000
    assert not source.exists()


def test_create_never_replaces(storage: Storage) -> None:
    assert storage.create("commits/a.json", b"first")
    assert not storage.create("commits/a.json", b"second")
    assert storage.read("commits/a.json") == b"first"
    assert list(storage.files("commits")) == ["commits/a.json"]


def test_create_again_with_the_same_bytes_is_true(storage: Storage) -> None:
    """A store may take a put and lose its answer; the client's own second try must not look like another's win."""
    assert storage.create("commits/a.json", b"attempt 17")
    assert storage.create("commits/a.json", b"attempt 17")


@pytest.mark.parametrize("storage", ["disk", "s3"], indirect=True)
def test_create_decides_a_race(storage: Storage) -> None:
    for round_ in range(4):
        start = threading.Barrier(8)
        won: list[int] = []

        def attempt(number: int, round_: int = round_, start: threading.Barrier = start, won: list[int] = won) -> None:
            start.wait()
            if storage.create(f"commits/{round_}.json", b"%d" % number):
                won.append(number)

        threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [b"%d" % n for n in won] == [storage.read(f"commits/{round_}.json")]


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "a/../../out", "a\\b", "a\0b"])
def test_a_name_never_leaves_the_folder(storage: Storage, name: str) -> None:
    for call in (storage.read, storage.exists, storage.delete, lambda n: storage.write(n, b"")):
        with pytest.raises(StorageError, match="is not a name inside"):
            call(name)


def test_roots_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "a b%20"
    assert {Storage(r).root for r in ("a b%20", "./a b%20/", f"file://{there}", str(there), "x/../a b%20")} == {
        str(there)
    }
    Storage("a b%20").write("n", b"1")
    monkeypatch.chdir("/")
    assert Storage(f"file://{there}").local == there
    assert Storage(str(there)).read("n") == b"1"
    assert Storage("s3://b/p/").root == "s3://b/p"


def test_a_storage_travels(storage: Storage) -> None:
    assert pickle.loads(pickle.dumps(storage)) == storage


def _write_from_child(root: str) -> None:
    Storage(root).write("child", b"1")


@pytest.mark.parametrize("storage", ["disk", "s3"], indirect=True)
def test_a_child_process_has_a_client_of_its_own(storage: Storage) -> None:
    storage.write("parent", b"1")
    child = get_context("fork").Process(target=_write_from_child, args=(storage.root,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert storage.exists("child")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"permission denied\. Change the permissions"):
        Storage(str(tmp_path)).write("a", b"")


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"/file is a file where a folder is needed"):
        Storage(str(tmp_path / "file")).write("a", b"")
    assert Storage(str(tmp_path / "file")).files() == {}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where no folder can be made")
def test_a_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(StorageError, match=r"no folder can be made at /proc/data; choose another --out"):
        Storage("/proc/data").write("a", b"")


FULL = """
import resource, sys
from curate.errors import StorageError
from curate.manifest import Attempt
from curate.storage import Storage
import pyarrow as pa
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
storage = Storage(sys.argv[1])
storage.write("small", b"fits")
attempt = Attempt(storage, "fetch", "00000", "f")
table = pa.table({"a": pa.array([str(i * 7919 % 104729) for i in range(100_000)])})
for work in (
    lambda: storage.write("large", b"x" * 100_000),
    lambda: storage.create("large", b"x" * 100_000),
    lambda: attempt.write_bytes("large", b"x" * 100_000),
    lambda: attempt.write_table("large", table),
):
    try:
        work()
    except StorageError as error:
        print(error)
print(sorted(p.name for p in storage.local.iterdir()))
"""


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=False)
    lines = told.stdout.splitlines()
    assert len(lines) == 5, told.stderr
    for line in lines[:4]:
        assert line.startswith("cannot write ")
        assert "larger than allowed" in line
    assert lines[4] == "['_attempts', 'small']"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(28, "No space left on device"),
            "cannot write x: the disk is full. Free space or choose another --out",
        ),
        (OSError(122, "Disk quota exceeded"), "cannot write x: the disk quota is used up"),
        (PermissionError(1, "Operation not permitted"), "cannot write x: not permitted, perhaps a file system without"),
        (OSError("odd"), "cannot write x: odd"),
        (KeyError("bucket"), "cannot write x: KeyError: 'bucket'"),
    ],
)
def test_causes_in_plain_words(error: Exception, words: str) -> None:
    with pytest.raises(StorageError) as told, plain_errors("write x"):
        raise error
    assert str(told.value).startswith(words)


def test_an_unknown_store_is_told() -> None:
    with pytest.raises(StorageError, match="cannot open nosuch://x"):
        Storage("nosuch://x/y").files()


def test_a_bucket_that_is_not_there_is_told(s3: Storage) -> None:
    missing = Storage("s3://no-such-bucket-here/x")
    with pytest.raises((StorageError, FileNotFoundError), match="bucket does not exist"):
        missing.write("a", b"1")
    assert s3.files() == {}
