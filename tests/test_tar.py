"""Tar bytes: ours are read by everybody, and anybody's are read by us or refused in words."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import tar
from curate.errors import ShardError
from curate.tar import BLOCK, END, Member, TarWriter, member_header, read_members, split_name

BROKEN = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "broken" / "tar" / "test"

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=150).filter(
    lambda name: not name.startswith("/") and not name.endswith("/")
)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6)


def tar_of(members: list[tuple[str, bytes]]) -> io.BytesIO:
    target = io.BytesIO()
    tar = TarWriter(target)
    for name, data in members:
        tar.add(name, data)
    tar.finish()
    target.seek(0)
    return target


def plain_tar(members: list[tuple[str, bytes]], kind: int) -> io.BytesIO:
    """What Python's tarfile writes, with a float mtime as webdataset has it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1234.5 if kind == tarfile.PAX_FORMAT else 1234
            archive.addfile(info, io.BytesIO(data))
    target.seek(0)
    return target


@given(MEMBERS)
def test_tarfile_reads_what_we_write(members: list[tuple[str, bytes]]) -> None:
    ours = tar_of(members)
    with tarfile.open(fileobj=ours) as archive:
        infos = archive.getmembers()
        assert [(i.name, archive.extractfile(i).read()) for i in infos] == members  # type: ignore[union-attr]
        assert all((i.mtime, i.uid, i.gid, i.mode) == (0, 0, 0, 0o444) for i in infos)
    raw = ours.getvalue()
    assert len(raw) % BLOCK == 0
    assert raw.endswith(END)
    assert raw == tar_of(members).getvalue()


@given(MEMBERS)
def test_places_are_those_of_the_data(members: list[tuple[str, bytes]]) -> None:
    target = io.BytesIO()
    tar = TarWriter(target)
    for name, data in members:
        tar.add(name, memoryview(data))
    tar.finish()
    raw = target.getvalue()
    assert tar.position == len(raw)
    assert [(m.name, raw[m.offset : m.offset + m.size]) for m in tar.members] == members
    assert list(read_members(target, "t")) == tar.members


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(members=MEMBERS)
def test_we_read_what_tarfile_writes(kind: int, members: list[tuple[str, bytes]]) -> None:
    if kind == tarfile.USTAR_FORMAT:
        members = [(name, data) for name, data in members if len(name.encode()) <= 100]
    theirs = plain_tar(members, kind)
    raw = theirs.getvalue()
    assert [(m.name, raw[m.offset : m.offset + m.size]) for m in read_members(theirs, "t")] == members


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("k" * 96 + ".jpg", 1), ("k" * 97 + ".jpg", 3), ("é.jpg", 3), ("a/b/c.tar.gz", 1)],
)
def test_only_a_name_that_does_not_fit_costs_more(name: str, blocks: int) -> None:
    assert len(member_header(name, 5)) == blocks * BLOCK


def test_size_bound() -> None:
    assert len(member_header("a.jpg", (8 << 30) - 1)) == BLOCK
    with pytest.raises(ShardError, match="below 8 GiB"):
        member_header("a.jpg", 8 << 30)


def test_gnu_tar_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of([("000.jpg", b"x" * 700), ("n" * 120 + ".txt", b"hi"), ("e.txt", b"")]).getvalue())
    told = subprocess.run(["tar", "tvf", path], capture_output=True, text=True, check=True, env={"TZ": "UTC"})
    assert told.stderr == ""
    lines = [line.split(maxsplit=5) for line in told.stdout.splitlines()]
    assert [line[0] for line in lines] == ["-r--r--r--"] * 3
    assert [(line[2], line[3], line[5]) for line in lines] == [
        ("700", "1970-01-01", "000.jpg"),
        ("2", "1970-01-01", "n" * 120 + ".txt"),
        ("0", "1970-01-01", "e.txt"),
    ]
    subprocess.run(["tar", "xf", path, "-C", tmp_path], check=True)
    assert (tmp_path / "000.jpg").read_bytes() == b"x" * 700


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("000.jpg", ("000", "jpg")),
        ("a.v2.JPG", ("a", "v2.jpg")),
        ("dir.d/a.jpg", ("dir.d/a", "jpg")),
        ("./a.txt", ("./a", "txt")),
        ("noextension", None),
        (".hidden", None),
        ("dir/.hidden", None),
        ("a.", None),
        ("", None),
    ],
)
def test_names_split_as_webdataset_splits_them(name: str, parts: tuple[str, str] | None) -> None:
    from webdataset.tariterators import base_plus_ext

    assert split_name(name) == parts
    if parts is not None:
        key, extension = base_plus_ext(name)
        assert (key, extension.lower()) == parts


FIXTURES = [
    ("fixtures/tars/body-byte-counts.tar", 4, None),
    ("fixtures/tars/emptypax.tar", 2, None),
    ("fixtures/tars/long-paths.tar", 8, None),
    ("fixtures/tars/long-pax.tar", 1, None),
    ("fixtures/tars/next-file-has-long.tar", 1, None),
    ("fixtures/tars/null-byte.tar", 1, None),
    ("fixtures/tars/utf8.tar", 3, None),
    ("fixtures/tars/links.tar", 1, None),
    ("fixtures/tars/links-invalid.tar", 1, None),
    ("fixtures/tars/links-strip.tar", 1, None),
    ("fixtures/tars/trailing-slash-corner-case.tar", 2, None),
    ("fixtures/tars/path-missing.tar", 1, None),
    ("fixtures/tars/file.tar", 1, None),
    ("fixtures/tars/dir.tar", 0, None),
    ("fixtures/long-linkname.tar", 0, None),
    ("fixtures/tars/bad-cksum.tar", 1, "wrong checksum"),
    ("fixtures/sync-gzip-fail.tgz", 0, "cut short"),
]


@pytest.mark.parametrize(("name", "count", "trouble"), FIXTURES)
def test_odd_tars_of_another_project(name: str, count: int, trouble: str | None) -> None:
    path = BROKEN / name
    if not path.exists():
        pytest.skip("the shared malformed tars are not beside this checkout")
    found: list[Member] = []
    with open(path, "rb") as source:
        if trouble is None:
            found = list(read_members(source, name))
            with tarfile.open(path) as archive:
                assert found == [Member(i.name, i.offset_data, i.size) for i in archive if i.isreg()]
        else:
            with pytest.raises(ShardError, match=trouble):
                found.extend(read_members(source, name))
    assert len(found) == count or trouble


@given(st.data())
@settings(max_examples=300)
def test_damage_is_an_error_in_words_or_harmless(data: st.DataObject) -> None:
    members = [(f"{i:03d}.txt", bytes([i]) * 600 * i) for i in range(4)] + [("long" * 40 + ".txt", b"x")]
    raw = bytearray(tar_of(members).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    found: list[Member] = []
    with suppress(ShardError):  # and nothing else
        found.extend(read_members(io.BytesIO(bytes(raw[:cut])), "damaged.tar"))
    assert all(m.offset + m.size <= cut for m in found)
    assert [m.offset for m in found] == sorted({m.offset for m in found})


def header(size_field: bytes, kind: bytes) -> bytes:
    raw = bytearray(member_header("a.txt", 0))
    raw[124:136], raw[156:157], raw[148:156] = size_field, kind, b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def test_a_long_path_in_two_fields_is_put_together() -> None:
    """USTAR keeps up to 155 bytes of folders in a second field; GNU uses its place for other things."""
    path = "folder/" * 18 + "a.jpg"
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        assert [m.name for m in read_members(plain_tar([(path, b"x")], kind), "t")] == [path]


@pytest.mark.parametrize("members", [[], [("a.txt", b"x" * 600)]])
def test_a_wrong_checksum_is_told_and_not_taken_for_the_end(members: list[tuple[str, bytes]]) -> None:
    raw = bytearray(tar_of([*members, ("b.txt", b"y")]).getvalue())
    place = raw.index(b"b.txt")
    raw[place] = ord("c")
    found: list[Member] = []
    with pytest.raises(ShardError, match=f"t is not a whole tar: a header has a wrong checksum, at byte {place}"):
        found.extend(read_members(io.BytesIO(bytes(raw)), "t"))
    assert len(found) == len(members)


@pytest.mark.parametrize(
    ("size", "kind", "words"),
    [
        (b"\xff" + b"\xff" * 11, b"0", "negative"),
        (b"\xff" + b"\xff" * 11, b"x", "negative"),
        (b"77777777777\0", b"0", "ends inside a member"),
        (b"00000001000\0", b"S", "sparse"),
        (b"not a number", b"0", "a header has b'not a number' where a number belongs"),
    ],
)
def test_hostile_headers(size: bytes, kind: bytes, words: str) -> None:
    with pytest.raises(ShardError, match=words):
        list(read_members(io.BytesIO(header(size, kind) + b"\0" * 4096), "t"))


def test_a_header_that_asks_for_gigabytes_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar"
    with open(path, "wb") as target:
        target.write(header(b"%011o\0" % (3 << 30), b"x"))
        target.truncate(4 << 30)  # sparse: takes no room on the disk
    program = (
        "import sys\n"
        "from curate.tar import read_members\n"
        "def peak(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
        "before = peak()\n"
        "try: list(read_members(open(sys.argv[1], 'rb'), 'bomb'))\n"
        "except Exception as error: print(error)\n"
        "print(peak() - before)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    words, grown_kib = told.stdout.splitlines()
    assert "a name of 3221225472 bytes" in words
    assert int(grown_kib) < 64 << 10


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five samples as the fetch writes them."""
    members = []
    for row in range(5):
        key = f"00000{row:04d}"
        record = json.dumps({"key": key, "url": f"http://h/{row}"}).encode()
        members += [(f"{key}.jpg", b"\xff\xd8\xff" + bytes([row])), (f"{key}.json", record)]
        members += [(f"{key}.txt", f"words {row}".encode())]
    path = tmp_path_factory.mktemp("shard") / "00000.tar"
    path.write_bytes(tar_of(members).getvalue())
    return path


KEYS = [f"00000{row:04d}" for row in range(5)]


def test_webdataset_reads_our_tar(shard: Path) -> None:
    import webdataset

    found = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode())
    assert [s["__key__"] for s in found] == KEYS
    assert [s["txt"] for s in found] == [f"words {row}" for row in range(5)]
    assert [s["json"]["url"] for s in found] == [f"http://h/{row}" for row in range(5)]
    raw = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [s["jpg"][3] for s in raw] == list(range(5))


@pytest.mark.slow
def test_hugging_face_reads_our_tar(shard: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from datasets import Image, load_dataset\n"
        "found = load_dataset('webdataset', data_files=sys.argv[1], split='train', streaming=True)\n"
        "for row in found.cast_column('jpg', Image(decode=False)):\n"
        "    print(row['__key__'], row['txt'], row['json']['url'], len(row['jpg']['bytes']))\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        [sys.executable, "-c", program, shard], capture_output=True, text=True, check=False, env=offline
    )
    assert told.stdout.splitlines() == [f"{key} words {row} http://h/{row} 4" for row, key in enumerate(KEYS)], (
        told.stderr
    )


def test_clip_retrievals_rule_finds_every_sample(shard: Path) -> None:
    """Its reader takes neighbours with the same name before the first dot, and puts the key into `image_path`."""
    samples: list[dict[str, object]] = []
    with tarfile.open(shard, "r|") as archive:
        for info in archive:
            key, _, extension = info.name.partition(".")
            if not samples or samples[-1]["image_path"] != key:
                samples.append({"image_path": key})
            samples[-1][extension] = archive.extractfile(info).read()  # type: ignore[union-attr]
    assert [s["image_path"] for s in samples] == KEYS
    assert all(set(s) == {"image_path", "jpg", "json", "txt"} for s in samples)


def test_the_bytes_of_a_tar_never_change() -> None:
    raw = tar_of([("000.jpg", b"abc"), ("0" * 101, b"long"), ("ø.txt", b"")]).getvalue()
    assert hashlib.sha256(raw).hexdigest()[:16] == "4d43d3280cab1dac"


def pax(records: bytes) -> bytes:
    raw = bytearray(header(b"%011o\0" % len(records), b"x"))
    return bytes(raw) + records + bytes(-len(records) % 512)


def test_only_what_is_needed_of_a_pax_header_is_kept() -> None:
    """Fields of one's own may follow each other without a member in between, as many as the file has room for."""
    own = b"".join(b"13 k%07d=\n" % number for number in range(1_000))
    sparse = b"24 GNU.sparse.major=1\n".replace(b"24", b"22")
    assert list(tar._long_header(own + b"11 path=ab\n", tar.PAX)) == ["path"]
    assert tar._long_header(sparse, tar.PAX) == {"GNU.sparse": "1"}
    found = read_members(io.BytesIO(pax(own) * 3 + pax(b"12 path=abc\n") + header(b"%011o\0" % 0, b"0")), "a.tar")
    assert [member.name for member in found] == ["abc"]


@pytest.mark.parametrize(
    "records", [b"0 a=b\n", b"-6 a=b\n", b" a=b\n", b"99999999 a=b\n", b"6 a=b", b"x a=b\n", b"6 a=b\n-7 a=b\n"]
)
def test_a_malformed_pax_header_is_an_error_and_no_loop(records: bytes) -> None:
    with pytest.raises(ShardError, match="not a whole tar"):
        list(read_members(io.BytesIO(pax(records)), "a.tar"))


def test_a_pax_header_costs_what_it_is_long() -> None:
    seconds = []
    for count in (20_000, 200_000):
        started = time.process_time()
        list(read_members(io.BytesIO(pax(b"5 a=\n" * count)), "a.tar"))
        seconds.append(time.process_time() - started)
    assert seconds[1] < 40 * seconds[0]  # ten times the length; copying the rest for each field makes that a hundred
