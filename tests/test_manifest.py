"""A commit means done: whatever a run is killed in, the next one finds nothing or the whole."""

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import StorageError
from curate.manifest import Attempt, Commit, CommitLog, FileRecord, fingerprint, write_parquet
from curate.storage import Storage

FILES = {"00000.tar": b"pixels" * 100, "00000.parquet": b"columns", "00000_stats.json": b"{}"}


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "disk":
        return Storage(str(tmp_path / "set"))
    found: Storage = request.getfixturevalue("s3")
    return found


def work(storage: Storage, mark: str, files: dict[str, bytes] = FILES, stale: tuple[str, ...] = ()) -> Commit:
    attempt = Attempt(storage, "fetch", "00000", mark, stale=stale)
    attempt.counts.update({"kept": 3, "in": 4})
    for name, data in files.items():
        attempt.write_bytes(name, data, clock=name.endswith(".json"))
    return attempt.commit()


def content(storage: Storage) -> dict[str, bytes]:
    return {name: storage.read(name) for name in storage.files()}


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


@dataclass(frozen=True)
class Dying(Storage):
    """A storage whose process dies just before its n-th change, which is just after the one before that."""

    last: int
    calls: list[str] = field(default_factory=list)

    def _change(self, name: str, *arguments: Any) -> Any:
        self.calls.append(name)
        if len(self.calls) == self.last:
            raise Killed
        return getattr(Storage, name)(self, *arguments)

    def write(self, name: str, data: bytes) -> None:
        self._change("write", name, data)

    def create(self, name: str, data: bytes) -> bool:
        return bool(self._change("create", name, data))

    def upload(self, source: Path, name: str) -> None:
        self._change("upload", source, name)

    def move(self, source: str, target: str) -> None:
        self._change("move", source, target)

    def delete(self, name: str) -> None:
        self._change("delete", name)

    def delete_folder(self, folder: str) -> None:
        self._change("delete_folder", folder)


def every_death(storage: Storage, run: Callable[[Storage], object]) -> Iterator[Storage]:
    """Run it in a new folder once for each change it makes, dying there, and once to its end, and recover; yields each
    folder."""
    for last in range(1, 100):
        place, died = Storage(f"{storage.root}/{last}"), False
        try:
            run(Dying(place.root, last))
        except Killed:
            died = True
        CommitLog(place).recover()
        yield place
        if not died:
            return


@pytest.mark.slow
def test_death_between_any_two_steps_leaves_nothing_or_the_whole(storage: Storage) -> None:
    ends = set()
    for place in every_death(storage, lambda s: work(s, "aaaa")):
        log = CommitLog(place)
        done = log.names("fetch") == {"00000": {"aaaa"}}
        assert content(place) == (FILES if done else {})
        assert done or log.names("fetch") == {}
        ends.add(done)
        work(place, "aaaa")
        assert content(place) == FILES
        CommitLog(place).sweep(older_than_s=-60)
        assert place.folders("_attempts") == []
    assert ends == {True, False}


@pytest.mark.slow
def test_death_while_another_result_is_replaced(storage: Storage) -> None:
    old = {"00000.tar": b"old", "00000.gone.parquet": b"only in the old one"}
    ends = set()

    def both(dying: Storage) -> None:
        plain = Storage(dying.root)
        work(plain, "aaaa", old)
        work(dying, "bbbb", stale=("aaaa",))

    for place in every_death(storage, both):
        marks = CommitLog(place).names("fetch")["00000"]
        assert content(place) == (old if marks == {"aaaa"} else FILES)
        assert marks in ({"aaaa"}, {"bbbb"})
        ends.add(tuple(marks))
    assert len(ends) == 2


def test_a_commit_tells_what_was_done(storage: Storage) -> None:
    made = work(storage, "aaaa")
    log = CommitLog(storage)
    read = log.get("fetch", "00000", "aaaa")
    assert read == dataclasses.replace(made, files=tuple(made.files))
    assert read is not None
    assert read.counts == {"in": 4, "kept": 3}
    assert read.seconds["total"] >= 0
    assert {f.name: (f.bytes, f.sha256, f.clock) for f in read.files} == {
        name: (len(data), hashlib.sha256(data).hexdigest(), name.endswith(".json")) for name, data in FILES.items()
    }
    assert log.fold(["fetch", "nothing"]) == [read]
    assert storage.folders("_attempts") == []


def test_of_two_attempts_at_the_same_work_one_holds(storage: Storage) -> None:
    first, second = (Attempt(storage, "fetch", "00000", "aaaa") for _ in range(2))
    first.write_bytes("00000.tar", b"first")
    second.write_bytes("00000.tar", b"second")
    assert first.commit().attempt == first.id
    assert second.commit().attempt == first.id
    assert content(storage) == {"00000.tar": b"first"}
    assert storage.folders("_attempts") == []


def test_an_abandoned_attempt_leaves_nothing(storage: Storage) -> None:
    attempt = Attempt(storage, "fetch", "00000", "aaaa")
    attempt.write_bytes("00000.tar", b"half")
    scratch = attempt.scratch
    attempt.abandon()
    assert not scratch.exists()
    assert content(storage) == {}
    assert CommitLog(storage).recover() == 0


def test_a_committed_file_that_vanished_withdraws_its_commit(storage: Storage) -> None:
    made = work(storage, "aaaa")
    storage.delete("00000.tar")
    with pytest.raises(StorageError, match=r"00000.tar of stage fetch was committed and is gone .* run again"):
        CommitLog(storage).finish(made)
    assert CommitLog(storage).names("fetch") == {}


def test_strangers_in_the_folders_do_no_harm(storage: Storage) -> None:
    storage.write("_attempts/notes/a.txt", b"")
    storage.write("commits/fetch/README.md", b"")
    storage.write("commits/fetch/00000-aaaa.json.0123456789ab.tmp", b"{")
    assert CommitLog(storage).recover() == 0
    assert CommitLog(storage).names("fetch") == {}
    storage.write("commits/fetch/00000-aaaa.json", b"[1]")
    with pytest.raises(StorageError, match="is not a commit record; delete it to redo the work"):
        CommitLog(storage).get("fetch", "00000", "aaaa")


def test_sweep_spares_what_is_being_worked_on(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    old, busy = (Attempt(storage, "fetch", f"0000{n}", "aaaa") for n in range(2))
    for attempt in (old, busy):
        attempt.write_bytes("00000.tar", b"half")
        os.utime(attempt.scratch, (0, 0))
    os.utime(old.scratch / "00000.tar", (0, time.time() - 7200))
    CommitLog(storage).sweep()
    assert not old.scratch.exists()
    assert busy.scratch.exists()


def test_sweep_removes_what_killed_writers_left(tmp_path: Path) -> None:
    names = {
        "source/00017.parquet.fe273d3c1e82.tmp": (7200, False),
        "commits/fetch/00000-aaaa.json.0123456789ab.tmp": (7200, False),
        "00001.parquet.0123456789ab.tmp": (60, True),  # somebody may be writing it
        "notes.tmp": (7200, True),  # not ours
        "00001.parquet": (7200, True),
    }
    for name, (age_s, _) in names.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, time.time() - age_s))
    CommitLog(Storage(str(tmp_path))).sweep()
    assert {name: (tmp_path / name).exists() for name in names} == {n: stays for n, (_, stays) in names.items()}


def test_files_in_folders_keep_their_place(storage: Storage) -> None:
    attempt = Attempt(storage, "report", "all", "aaaa")
    attempt.write_bytes("report/img/a.png", b"1")
    made = attempt.commit()
    assert [f.name for f in made.files] == ["report/img/a.png"]
    assert storage.read("report/img/a.png") == b"1"


@settings(deadline=None, max_examples=40)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.dictionaries(st.text(), s)))
def test_a_fingerprint_is_of_the_value_alone(value: Any) -> None:
    turned = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert fingerprint(value) == fingerprint(turned)
    assert len(fingerprint(value)) == 16
    assert fingerprint(value) != fingerprint([value])


def test_equal_tables_are_equal_bytes_and_pandas_reads_them(tmp_path: Path) -> None:
    import pandas

    table = pa.table({"key": [f"{n:09d}" for n in range(25_000)], "width": pa.array(range(25_000), pa.int32())})
    table = table.append_column("text", [[f"{n**9}" * (n % 70) for n in range(25_000)]])
    write_parquet(table, tmp_path / "a")
    time.sleep(0.01)
    write_parquet(pa.concat_tables([table.slice(start, 700) for start in range(0, 25_000, 700)]), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.ParquetFile(tmp_path / "a").metadata.num_row_groups == 3
    frame = pandas.read_parquet(tmp_path / "a")
    assert list(frame.columns) == ["key", "width", "text"]
    assert frame["key"].iloc[-1] == "000024999"
    assert str(frame["width"].dtype) == "int32"


def test_a_record_survives_its_json() -> None:
    files = (FileRecord("a", 1, "f" * 64), FileRecord("b", 2, "0" * 64, clock=True))
    made = Commit("s", "00000", "aaaa", "id", files, {"in": 1}, {"total": 0.5}, "host", 1.5)
    assert Commit.from_json(made.to_json()) == made
    assert made.name == "commits/s/00000-aaaa.json"
