"""Scorers on a shard: aligned columns, one decode for all, bad rows null, bounded batches."""

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate.decode
import curate.fetch.image
import curate.score
from curate.errors import ConfigError, StageError
from curate.filter import Batch, Scorer
from curate.manifest import Attempt
from curate.score import Score
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage
from curate.tar import TarWriter

ROWS = 23
PICTURES = [i for i in range(ROWS) if i % 5 != 3]
CAPTIONS = [None if i % 7 == 6 else "dog " * i for i in range(ROWS)]


@dataclass(frozen=True)
class Length(Scorer):
    """Length of the caption."""

    name: ClassVar[str] = "length"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"length": pa.int32()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        assert batch.columns.column_names == ["caption"]
        assert len(batch.pixels) == 0
        return {"length": pa.array([None if c is None else len(c) for c in batch.columns["caption"].to_pylist()])}


@dataclass(frozen=True)
class Level(Scorer):
    """Grey level of the picture's middle, and what its row says it should be."""

    name: ClassVar[str] = "level"
    reads: ClassVar[tuple[str, ...]] = ("image", "row")
    writes: ClassVar[Mapping[str, pa.DataType]] = {"level": pa.float32(), "expected": pa.int64()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        assert len(batch) == len(batch.pixels) <= curate.score.BATCH_PICTURES
        levels = [None if p is None else float(p[p.shape[0] // 2, p.shape[1] // 2, 0]) for p in batch.pixels]
        return {"expected": batch.columns["row"], "level": pa.array(levels, pa.float64())}


@dataclass(frozen=True)
class Picky(Level):
    """Fails on the pictures of some rows, as a model may on an odd shape."""

    bad: tuple[int, ...] = ()
    name: ClassVar[str] = "picky"

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        if set(self.bad) & set(batch.columns["row"].to_pylist()):
            raise RuntimeError("odd shape")
        return super().score(batch)


@dataclass(frozen=True)
class Careless(Level):
    """Forgets the last row of a batch."""

    name: ClassVar[str] = "careless"

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return {name: values.slice(1) for name, values in super().score(batch).items()}


@dataclass(frozen=True)
class Misconfigured(Level):
    """Has no model file."""

    name: ClassVar[str] = "misconfigured"

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        raise ConfigError("no such model")


def encoded(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(out, "PNG")
    return out.getvalue()


def make_shard(folder, pictures) -> Shard:
    keys = [f"00000{i:04d}" for i in range(ROWS)]
    table = pa.table({"key": keys, "row": list(range(ROWS)), "caption": pa.array(CAPTIONS, pa.string())})
    pq.write_table(table, folder / "00000.parquet")
    with open(folder / "00000.tar", "wb") as target:
        tar = TarWriter(target)
        for row, data in pictures.items():
            tar.add(f"00000{row:04d}.json", b"{}")
            tar.add(f"00000{row:04d}.png", data)
        tar.finish()
    return Shard(Storage(str(folder)), "00000")


@pytest.fixture
def shard(tmp_path) -> Shard:
    return make_shard(tmp_path, {row: encoded(row * 10) for row in PICTURES})


def run(shard, *scorers, threads=2):
    work = [(Score(s), Attempt(shard.storage, Score(s).label, shard.id, f"{i:016x}")) for i, s in enumerate(scorers)]
    Score.run_together(work, shard, Runtime(threads=threads))
    return [attempt.commit() for _, attempt in work]


def column(shard, name):
    return Shard(shard.storage, shard.id).columns([name])[name].to_pylist()


def test_a_column_from_captions(shard):
    (commit,) = run(shard, Length())
    assert column(shard, "length") == [None if c is None else len(c) for c in CAPTIONS]
    assert commit.counts == {"in": ROWS, "scored": ROWS}
    assert [f.name for f in commit.files] == ["00000.length.parquet"]
    assert shard.table("length")["key"].to_pylist() == shard.table()["key"].to_pylist()
    assert shard.table("length").schema.field("length").type == pa.int32()


def test_columns_from_pixels_are_aligned_with_the_rows(shard):
    (commit,) = run(shard, Level())
    assert column(shard, "level") == [row * 10.0 if row in PICTURES else None for row in range(ROWS)]
    assert column(shard, "expected") == [row if row in PICTURES else None for row in range(ROWS)]
    assert commit.counts == {"in": ROWS, "scored": len(PICTURES)}


def test_the_order_of_the_tar_does_not_matter(tmp_path):
    shard = make_shard(tmp_path, {row: encoded(row * 10) for row in reversed(PICTURES)})
    run(shard, Level())
    assert column(shard, "level") == [row * 10.0 if row in PICTURES else None for row in range(ROWS)]


def test_together_they_share_one_decode_and_give_the_same_bytes(shard, monkeypatch):
    alone = [run(shard, s)[0].files[0].sha256 for s in (Level(), Length(), Picky())]
    decoded = []
    decode = curate.fetch.image.decode
    monkeypatch.setattr(curate.fetch.image, "decode", lambda data: (decoded.append(1), decode(data))[1])
    together = [c.files[0].sha256 for c in run(shard, Level(), Length(), Picky())]
    assert len(decoded) == len(PICTURES)
    assert together == alone


@pytest.mark.parametrize(("pictures", "size", "threads"), [(1, 1 << 30, 1), (4, 1 << 30, 3), (64, 1, 2), (64, 4000, 8)])
def test_batches_and_threads_do_not_change_the_bytes(shard, monkeypatch, pictures, size, threads):
    expected = run(shard, Level())[0].files[0].sha256
    monkeypatch.setattr(curate.score, "BATCH_PICTURES", pictures)
    monkeypatch.setattr(curate.score, "BATCH_BYTES", size)
    monkeypatch.setattr(curate.score, "BATCH_ROWS", pictures)
    commits = run(shard, Level(), Length(), threads=threads)
    assert commits[0].files[0].sha256 == expected
    assert column(shard, "length") == [None if c is None else len(c) for c in CAPTIONS]


def test_batches_are_bounded_in_bytes(shard, monkeypatch):
    sizes = []
    score = Level.score
    monkeypatch.setattr(Level, "score", lambda self, batch: (sizes.append(len(batch)), score(self, batch))[1])
    monkeypatch.setattr(curate.score, "BATCH_BYTES", 3 * 20 * 30 * 3)
    run(shard, Level())
    assert sizes == [3] * (len(PICTURES) // 3) + [len(PICTURES) % 3]


def test_an_unreadable_picture_is_null(tmp_path):
    pictures = {row: encoded(row * 10) for row in PICTURES} | {4: b"not a picture", 5: encoded(50)[:60]}
    shard = make_shard(tmp_path, pictures)
    (commit,) = run(shard, Level())
    assert [row for row, level in enumerate(column(shard, "level")) if level is None and row in pictures] == [4, 5]
    assert commit.counts == {"in": ROWS, "scored": len(pictures), "undecoded": 2}


def test_a_row_that_a_scorer_cannot_take_is_null_and_counted(shard):
    level, picky = run(shard, Level(), Picky(bad=(2, 14)))
    expected = [None if row in (2, 14) else level for row, level in enumerate(column(shard, "level"))]
    assert shard.table("picky")["level"].to_pylist() == expected
    assert picky.counts == {"in": ROWS, "scored": len(PICTURES) - 2, "score_failed": 2}
    assert "score_failed" not in level.counts


@pytest.mark.parametrize(
    ("scorer", "error", "words"),
    [
        (Picky(bad=tuple(range(ROWS))), StageError, "picky failed on all 19 rows of 00000: RuntimeError: odd shape"),
        (Careless(), StageError, "scorer careless gave .* values for"),
        (Misconfigured(), ConfigError, "no such model"),
    ],
)
def test_a_broken_scorer_says_so(shard, scorer, error, words):
    with pytest.raises(error, match=words):
        run(shard, scorer)


def test_no_pictures_at_all(tmp_path):
    shard = make_shard(tmp_path, {})
    (commit,) = run(shard, Level())
    assert column(shard, "level") == [None] * ROWS
    assert commit.counts == {"in": ROWS, "scored": 0}


def test_a_tar_that_does_not_fit_its_table_is_an_error(tmp_path):
    shard = make_shard(tmp_path, {99: encoded(0)})
    with pytest.raises(StageError, match="has a sample '000000099' that"):
        run(shard, Level())


def test_what_the_plan_sees():
    stage = Score(Picky(bad=(1,)))
    assert (stage.label, stage.reads, stage.writes) == ("score_picky", ("image", "row"), ("level", "expected"))
    assert stage.identity() == Score(Picky(bad=(1,))).identity() != Score(Picky()).identity()


@dataclass(frozen=True)
class Ahead(Level):
    """Begins a batch and is asked for its answer later; notes both. Fails where it is told to."""

    notes: list = field(default_factory=list, hash=False, compare=False)
    size: int = 5
    bad_start: tuple[int, ...] = ()
    bad_answer: tuple[int, ...] = ()
    bad_prepare: tuple[int, ...] = ()
    name: ClassVar[str] = "ahead"

    @property
    def batch_pictures(self) -> int:
        return self.size

    def prepare(self, pixels):
        if pixels[0, 0, 0] // 10 in self.bad_prepare:
            raise ValueError("odd shape")
        return pixels[:2, :2].copy()

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        self.notes.append(("alone", *batch.columns["row"].to_pylist()))
        return self.start(batch)()

    def start(self, batch: Batch):
        rows = batch.columns["row"].to_pylist()
        self.notes.append(("start", *rows))
        assert [p is None or p.shape for p in batch.pixels] == [(2, 2, 3)] * len(rows)
        if set(self.bad_start) & set(rows):
            raise RuntimeError("cannot begin")
        found = {"expected": batch.columns["row"], "level": pa.array([float(p[0, 0, 0]) for p in batch.pixels])}

        def answer() -> Mapping[str, pa.Array]:
            self.notes.append(("answer", *rows))
            if set(self.bad_answer) & set(rows):
                raise RuntimeError("cannot answer")
            return found

        return answer


def batches(size: int = 5) -> list[tuple[int, ...]]:
    return [tuple(PICTURES[start : start + size]) for start in range(0, len(PICTURES), size)]


def test_a_batch_is_begun_before_the_answer_to_the_one_before_is_taken(shard):
    scorer = Ahead()
    run(shard, scorer)
    first, second, third, fourth = batches()
    assert scorer.notes == [
        ("start", *first), ("start", *second), ("answer", *first), ("start", *third), ("answer", *second),
        ("start", *fourth), ("answer", *third), ("answer", *fourth),
    ]  # fmt: skip
    assert column(shard, "level") == [row * 10.0 if row in PICTURES else None for row in range(ROWS)]


@pytest.mark.parametrize("size", [1, 2, 5, 19, 100])
@pytest.mark.parametrize("others", [(), (Level(),), (Length(), Picky(bad=(2,)), Level())])
def test_a_batch_depends_on_its_scorer_and_not_on_who_stands_beside_it(shard, size, others):
    for threads in (1, 3):
        scorer = Ahead(size=size)
        run(shard, *others, scorer, threads=threads)
        assert [note[1:] for note in scorer.notes if note[0] == "start"] == batches(size)


@pytest.mark.parametrize("where", ["bad_start", "bad_answer"])
def test_a_batch_that_fails_is_tried_row_by_row_and_its_neighbours_are_not(shard, where):
    bad, scorer = PICTURES[6], Ahead(**{where: (PICTURES[6],)})
    (commit,) = run(shard, scorer)
    assert [row for row in PICTURES if column(shard, "level")[row] is None] == [bad]
    assert commit.counts == {"in": ROWS, "scored": len(PICTURES) - 1, "score_failed": 1}
    assert [note[1] for note in scorer.notes if note[0] == "alone"] == PICTURES[5:10]
    assert column(shard, "expected") == [row if row in PICTURES and row != bad else None for row in range(ROWS)]


@pytest.mark.parametrize("where", ["bad_start", "bad_answer", "bad_prepare"])
def test_every_row_that_fails_is_told_wherever_it_failed(shard, where):
    words = "odd shape" if where == "bad_prepare" else "cannot"
    with pytest.raises(StageError, match=f"ahead failed on all 19 rows of 00000: .*{words}"):
        run(shard, Ahead(**{where: tuple(range(ROWS))}))


def test_a_picture_that_cannot_be_prepared_is_one_failed_row(shard):
    level, ahead = run(shard, Level(), Ahead(bad_prepare=(2, 14)))
    assert ahead.counts == {"in": ROWS, "scored": len(PICTURES) - 2, "score_failed": 2}
    assert [row for row in PICTURES if shard.table("ahead")["level"][row].as_py() is None] == [2, 14]
    assert level.counts["scored"] == len(PICTURES)


@dataclass(frozen=True)
class NoModel(Ahead):
    """Finds out in a thread that its model is not there: for a black picture at once, for others once that is told."""

    told: Event = field(default_factory=Event)
    name: ClassVar[str] = "no_model"

    def prepare(self, pixels):
        self.notes.append("asked")
        if pixels.any():
            self.told.wait(60)
        raise ConfigError("no weights")


@pytest.mark.parametrize("count", [1, len(PICTURES)])
def test_a_model_that_is_not_there_is_no_fault_of_a_picture(tmp_path, monkeypatch, count):
    """Not even where there is one picture alone. Of the others those are asked for that threads have begun with."""
    scorer = NoModel()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, **more):
            super().shutdown(wait=False, **more)
            scorer.told.set()
            super().shutdown(wait)

    monkeypatch.setattr(curate.decode, "ThreadPoolExecutor", Pool)
    with pytest.raises(ConfigError, match="no weights"):
        run(make_shard(tmp_path, {row: encoded(row) for row in PICTURES[:count]}), scorer)
    assert len(scorer.notes) <= 3


@dataclass(frozen=True)
class Told(Level):
    """Says which model made its columns, and wants a GPU."""

    name: ClassVar[str] = "told"

    @property
    def gpus(self) -> float:
        return 1.0

    def provenance(self) -> Mapping[str, str]:
        return {"model": "B/32 \u00e9", "model_fingerprint": "0123"}


def test_columns_say_in_their_file_who_made_them(shard):
    run(shard, Told(), Level())
    told, level = (pq.read_schema(shard.storage.path(f"00000.{name}.parquet")) for name in ("told", "level"))
    for name in ("level", "expected"):
        assert told.field(name).metadata == {b"model": "B/32 \u00e9".encode(), b"model_fingerprint": b"0123"}
        assert level.field(name).metadata is None
    assert told.field("key").metadata is None


@dataclass(frozen=True)
class OnTop(Scorer):
    """Makes a score of what another scorer wrote."""

    name: ClassVar[str] = "on_top"
    reads: ClassVar[tuple[str, ...]] = ("level", "caption")
    writes: ClassVar[Mapping[str, pa.DataType]] = {"above": pa.float32()}

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        assert told["caption"] == {}
        return {"model_fingerprint": told["level"]["model_fingerprint"] + "+4"}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return {"above": pa.nulls(len(batch), pa.float32())}


def test_a_score_made_of_another_is_told_who_made_that(shard):
    run(shard, Told())
    run(Shard(shard.storage, shard.id), OnTop())
    told = pq.read_schema(shard.storage.path("00000.on_top.parquet")).field("above").metadata
    assert told == {b"model_fingerprint": b"0123+4"}


def test_who_wants_a_gpu_gets_one_and_takes_its_neighbours_along():
    assert Score(Told()).resources.gpus == 1.0
    assert Score(Level()).resources.gpus == 0.0
    assert Score(Level(), gpus=1.0).resources.gpus == 1.0
    assert Score(Level(), gpus=1.0).identity() == Score(Level()).identity(), "where it runs is not what it computes"


def test_a_worker_is_told_its_gpu_and_its_threads(shard, monkeypatch):
    told = []
    monkeypatch.setattr(curate.score, "work_on", lambda gpu, threads: told.append((gpu, threads)))
    work = [(Score(Length()), Attempt(shard.storage, "score_length", shard.id, "0" * 16))]
    Score.run_together(work, shard, Runtime(threads=3, gpu=2))
    assert told == [(2, 3)]
