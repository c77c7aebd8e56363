"""A SavedModel is read as data: every variable and lookup of good files, a clear error for any other bytes."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_model_files import bundle, field, graph, metadata, table, write_saved_model

from curate.errors import ConfigError
from curate.models import saved_model
from curate.models.saved_model import FILES, read_saved_model

HEADS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models" / "clip_nsfw_heads"
VARIABLES = {
    "layer_with_weights-0/mean": np.arange(6, dtype="<f4"),
    "layer_with_weights-0/count": np.array(300, "<i8"),
    "layer_with_weights-1/kernel": np.arange(12, dtype="<f4").reshape(4, 3),
    "layer_with_weights-10/kernel": np.zeros((0, 2), "<f4"),
}
TABLES = ({"0.5": 1, "-0.125": 2}, {"a": 200, "b": 3, "c": 1})


@pytest.fixture
def folder(tmp_path):
    return write_saved_model(tmp_path / "model", {"class_name": "Functional"}, VARIABLES, TABLES)


def zipped(folder, path, inside="any/name/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FILES:
            archive.write(folder / name, inside + name)
    return path


def test_folder_and_zip_give_what_was_written(folder, tmp_path):
    for path in (folder, zipped(folder, tmp_path / "a.zip"), zipped(folder, tmp_path / "b.zip", "")):
        model = read_saved_model(path)
        assert model.variables.keys() == VARIABLES.keys()
        for name, values in VARIABLES.items():
            assert model.variables[name].dtype == values.dtype
            assert np.array_equal(model.variables[name], values)
        assert model.config == {"class_name": "Functional"}
        assert model.tables == TABLES


def test_numbers_one_by_one_are_read_as_well_as_raw(folder):
    one_by_one = field(1, 9) + field(10, 7) + field(10, 300)
    packed = field(1, 9) + field(10, b"\x07\xac\x02")
    for proto in (one_by_one, packed):
        assert saved_model._numbers(memoryview(proto)) == [7, 300]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("variables/variables.index", bundle(VARIABLES, compression=1)[0], "compressed"),
        ("variables/variables.index", b"x" * 60, "its index is no table"),
        ("variables/variables.index", table([(b"w", field(1, 1) + field(4, 1 << 40) + field(5, 4))]), "does not fit"),
        ("variables/variables.index", table([(b"w", field(1, 1) + field(5, 8))]), "does not fit 8 bytes"),
        ("variables/variables.index", table([(b"w", field(1, 14) + field(5, 8))]), "number type 14"),
        ("variables/variables.index", table([(b"w", field(1, 1) + field(3, 1) + field(5, 4))]), "another file"),
        ("variables/variables.data-00000-of-00001", b"", "does not fit"),
        ("keras_metadata.pb", metadata("[1]"), "describe no network"),
        ("keras_metadata.pb", metadata("[" * 100_000), "recursion"),
        ("keras_metadata.pb", b"", "no root"),
        ("saved_model.pb", graph(TABLES, default=1), "default is not 0"),
        ("saved_model.pb", b"\x12\xff\xff\x03", "cut off"),
        ("saved_model.pb", b"\xff" * 12, "more than 64 bits"),
        ("saved_model.pb", b"\x13", "unknown kind 3"),
    ],
)  # fmt: skip
def test_bad_parts_are_an_error_that_says_what(folder, name, content, words):
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_saved_model(folder)


def test_missing_files_and_large_ones(folder, tmp_path, monkeypatch):
    path = zipped(folder, tmp_path / "a.zip")
    size = sum((folder / name).stat().st_size for name in FILES)
    for limit, wrong in ((size, False), (size - 1, True)):
        monkeypatch.setattr(saved_model, "MOST_BYTES", limit)
        for model in (folder, path):
            if wrong:
                with pytest.raises(ConfigError, match=f"it has {size} bytes, and {limit} are allowed"):
                    read_saved_model(model)
            else:
                read_saved_model(model)
    (folder / FILES[0]).unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / FILES[1], FILES[1])
    for model, words in ((folder, "keras_metadata.pb"), (path, "the zip has no keras_metadata.pb, variables")):
        with pytest.raises(ConfigError, match=words):
            read_saved_model(model)
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ConfigError, match=r"a\.zip is no SavedModel"):
        read_saved_model(path)


@given(st.sampled_from(FILES), st.integers(0, 10_000), st.binary(max_size=6), st.booleans())
@settings(deadline=None, max_examples=400)
def test_any_damage_is_an_error_or_no_damage(tmp_path_factory, name, place, bytes_, cut):
    folder = write_saved_model(tmp_path_factory.getbasetemp() / "damaged", {"class_name": "x"}, VARIABLES, TABLES)
    content = (folder / name).read_bytes()
    place %= len(content) + 1
    (folder / name).write_bytes(content[:place] + bytes_ + (b"" if cut else content[place + len(bytes_) :]))
    try:
        model = read_saved_model(folder)
    except ConfigError:
        return
    assert sum(values.nbytes for values in model.variables.values()) <= 10_000


@pytest.mark.skipif(not HEADS.is_dir(), reason="the heads of shared/data are not here")
@pytest.mark.parametrize(
    ("name", "inputs", "lookups"),
    [
        ("clip_autokeras_nsfw_b32", 512, [1566, 747, 745]),
        ("clip_autokeras_binary_nsfw", 768, [10425, 2266, 2190, 2293, 2241]),
    ],
)
def test_the_published_heads(name, inputs, lookups):
    model = read_saved_model(HEADS / f"{name}.zip")
    assert model.config["class_name"] == "Functional"
    assert model.variables["layer_with_weights-1/mean"].shape == (inputs,)
    assert model.variables["layer_with_weights-1/count"] == 242_067
    assert [len(words) for words in model.tables] == lookups
    assert all(sorted(words.values()) == list(range(1, len(words) + 1)) for words in model.tables)
