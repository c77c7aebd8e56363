"""Documents put together from tables and tar: order, decisions, failed slots, and no more in memory than needed."""

import tracemalloc
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from curate.document.columns import DOCUMENT_COLUMNS, PART_COLUMNS
from curate.document.read import IMAGE_MEMBER, read_document, read_documents, read_pictures
from curate.errors import ShardError
from curate.manifest import Attempt
from curate.sample import Document, Picture, Text
from curate.shard import Shard
from curate.storage import Storage
from curate.tar import TarWriter

PARTS = [  # document, text or url, separator, read_keep, keep
    (0, "a heading", "\n\n", True, True),
    (0, "http://x.test/1.jpg", None, True, True),
    (0, "menu", "\n\n", False, False),
    (0, "two words", "\n", True, True),
    (1, "nothing is kept of this", "\n\n", False, False),
    (3, "http://x.test/2.jpg", None, True, True),
    (3, "http://x.test/3.jpg", None, True, False),
    (3, "last", "\n\n", True, True),
]
KEYS = [f"00000{row:06d}" for row in range(4)]


def write(root: Path, family: str, rows: str, columns: dict[str, pa.Array]) -> None:
    attempt = Attempt(Storage(str(root)), "write", "00000", uuid.uuid4().hex[:8])
    attempt.write_table(Shard(attempt.storage, rows).table_name(family), pa.table(columns))
    attempt.commit()


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Four documents, the third without parts; nothing decided, nothing fetched."""
    rows = {name: [None] * len(KEYS) for name in DOCUMENT_COLUMNS}
    rows |= {"key": KEYS, "title": [f"title {n}" for n in range(len(KEYS))]}
    write(tmp_path, "", "00000", {n: pa.array(rows[n], kind) for n, kind in DOCUMENT_COLUMNS.items()})
    values = {name: [None] * len(PARTS) for name in PART_COLUMNS}
    values["key"] = [f"{KEYS[document]}.{number}" for number, (document, *_) in enumerate(PARTS)]
    values["document"] = [document for document, *_ in PARTS]
    values["kind"] = ["image" if value.startswith("http") else "text" for _, value, *_ in PARTS]
    values["url"] = [value if value.startswith("http") else None for _, value, *_ in PARTS]
    values["alt"] = [f"alt of {value}" if value.startswith("http") else None for _, value, *_ in PARTS]
    values["text"] = [None if value.startswith("http") else value for _, value, *_ in PARTS]
    values["block"] = [None if value.startswith("http") else "p" for _, value, *_ in PARTS]
    values["separator"] = [separator for _, _, separator, *_ in PARTS]
    write(tmp_path, "", "00000_parts", {n: pa.array(values[n], kind) for n, kind in PART_COLUMNS.items()})
    return tmp_path


def decide(root: Path, name: str, documents: list[bool], parts: list[bool]) -> None:
    write(root, f"{name}select", "00000", {"key": pa.array(KEYS), f"{name}keep": pa.array(documents)})
    write(root, f"{name}select", "00000_parts", {f"{name}keep": pa.array(parts)})


@pytest.fixture
def decided(tables: Path) -> Path:
    decide(tables, "read_", [True, True, True, True], [row[3] for row in PARTS])
    decide(tables, "", [True, False, True, True], [row[4] for row in PARTS])
    return tables


@pytest.fixture
def fetched(decided: Path) -> Path:
    """Two pictures came, one did not."""
    pictures = {5: b"second picture", 6: b"third"}
    attempt = Attempt(Storage(str(decided)), "fetch_images", "00000", "0")
    index = {"key": [], "extension": [], "offset": [], "size": []}
    with open(attempt.path("00000.tar"), "wb") as target:
        tar = TarWriter(target)
        for number, data in pictures.items():
            tar.add(f"{KEYS[3]}.{number - 5}.png", data)
            for name, value in zip(
                index, (KEYS[3], f"{number - 5}.png", tar.members[-1].offset, len(data)), strict=True
            ):
                index[name].append(value)
        tar.finish()
    attempt.write_table("00000.index.parquet", pa.table(index))
    status = ["not_found" if n == 1 else "success" if n in pictures else None for n in range(len(PARTS))]
    member = [f"{n - 5}.png" if n in pictures else None for n in range(len(PARTS))]
    attempt.write_table("00000_parts.fetch.parquet", pa.table({"fetch_status": status, IMAGE_MEMBER: member}))
    attempt.write_table("00000_parts.fetch_log.parquet", pa.table({"seconds": [1.5] * len(PARTS)}), clock=True)
    attempt.commit()
    return decided


def shard(root: Path) -> Shard:
    return Shard(Storage(str(root)), "00000")


def told(documents: list[Document]) -> dict[str, list[str]]:
    return {d.key: [p.text if isinstance(p, Text) else p.url for p in d.parts] for d in documents}


def test_everything_is_there_while_nothing_is_decided(tables: Path) -> None:
    found = list(read_documents(shard(tables)))
    assert told(found) == {
        key: [value for document, value, *_ in PARTS if document == row] for row, key in enumerate(KEYS)
    }
    assert [d.columns["title"] for d in found] == [f"title {n}" for n in range(4)]
    picture = found[0].parts[1]
    assert picture == Picture(
        "http://x.test/1.jpg", columns={"key": f"{KEYS[0]}.1", "alt": "alt of http://x.test/1.jpg"}
    )
    assert found[0].parts[3] == Text("two words", "p", "\n", {"key": f"{KEYS[0]}.3"})


@pytest.mark.parametrize(
    ("kept", "round", "parts"),
    [
        (True, "", {0: [0, 1, 3], 2: [], 3: [5, 7]}),
        (True, "read", {0: [0, 1, 3], 1: [], 2: [], 3: [5, 6, 7]}),
        (False, "", {0: [0, 1, 2, 3], 1: [4], 2: [], 3: [5, 6, 7]}),
    ],
)
def test_a_round_says_which_documents_and_which_parts(decided: Path, kept: bool, round: str, parts: dict) -> None:
    wanted = {KEYS[row]: [PARTS[number][1] for number in numbers] for row, numbers in parts.items()}
    assert told(list(read_documents(shard(decided), kept, round))) == wanted


def test_a_round_that_was_not_decided_is_an_error(decided: Path) -> None:
    with pytest.raises(ShardError, match="unique_keep"):
        read_documents(shard(decided), round="unique")


def test_pictures_come_from_the_tar_and_a_failed_slot_keeps_its_place(fetched: Path) -> None:
    first, _, last = read_documents(shard(fetched))
    assert isinstance(first.parts[1], Picture)
    assert (first.parts[1].image, first.parts[1].extension, first.parts[1].status) == (None, "", "not_found")
    assert isinstance(last.parts[0], Picture)
    assert (last.parts[0].image, last.parts[0].extension, last.parts[0].status) == (b"second picture", "png", "success")
    assert "seconds" not in last.parts[0].columns
    assert list(read_pictures(shard(fetched))) == [(f"{KEYS[3]}.5", b"second picture"), (f"{KEYS[3]}.6", b"third")]


def test_one_document_by_its_key_kept_or_not(fetched: Path) -> None:
    everything = {d.key: d for d in read_documents(shard(fetched), kept=False)}
    assert {key: read_document(shard(fetched), key, kept=False) for key in KEYS} == everything
    assert read_document(shard(fetched), KEYS[1]).parts == ()
    with pytest.raises(ShardError, match=f"no document 'x'; its keys go from {KEYS[0]} to {KEYS[3]}"):
        read_document(shard(fetched), "x")


def test_a_tar_that_is_gone_or_another_is_one_clear_line(fetched: Path) -> None:
    (fetched / "00000.index.parquet").unlink()
    write(
        fetched, "index", "00000", {name: pa.array([], pa.string()) for name in ("key", "extension", "offset", "size")}
    )
    with pytest.raises(ShardError, match=f"00000.tar has no {KEYS[3]}.0.png"):
        list(read_documents(shard(fetched)))
    (fetched / "00000.tar").unlink()
    with pytest.raises(ShardError, match=r"has no 00000.tar"):
        list(read_documents(shard(fetched)))


def test_a_picture_is_in_memory_only_while_its_document_is(fetched: Path) -> None:
    size, rows = 4 << 20, 12
    keys = [f"00000{row:06d}" for row in range(rows)]
    write(fetched, "", "00000", {"key": pa.array(keys)})
    for name in ("select", "read_select"):
        (fetched / f"00000.{name}.parquet").unlink()
        (fetched / f"00000_parts.{name}.parquet").unlink()
    (fetched / "00000_parts.fetch_log.parquet").unlink()
    values = {name: pa.array([None] * rows, kind) for name, kind in PART_COLUMNS.items()}
    values |= {"document": pa.array(range(rows), pa.int32()), "kind": pa.array(["image"] * rows)}
    write(fetched, "", "00000_parts", values)
    write(fetched, "fetch", "00000_parts", {"fetch_status": ["success"] * rows, IMAGE_MEMBER: ["0.jpg"] * rows})
    offsets = [row * size for row in range(rows)]
    (fetched / "00000.tar").write_bytes(bytes(rows * size))
    columns = {"key": keys, "extension": ["0.jpg"] * rows, "offset": offsets, "size": [size] * rows}
    write(fetched, "index", "00000", {name: pa.array(values) for name, values in columns.items()})
    tracemalloc.start()
    assert sum(len(d.parts[0].image or b"") for d in read_documents(shard(fetched))) == rows * size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * size
