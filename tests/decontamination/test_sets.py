"""Nothing of an evaluation set is left out unsaid: what a folder holds is read, counted, or refused."""

import os

import pytest
from tombstone_sets import photo

from curate.decontamination.index import build_index
from curate.decontamination.sets import TEXT_FIELDS, files_of, items_of
from curate.errors import ConfigError
from curate.tar import TarWriter


@pytest.fixture
def val(tmp_path):
    (tmp_path / "val").mkdir()
    return tmp_path / "val"


def put(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(number))


def put_tar(path, *names):
    with open(path, "wb") as target:
        tar = TarWriter(target)
        for number, name in enumerate(names):
            tar.add(name, photo(number))
        tar.finish()


def names(path):
    return [os.path.relpath(file, path) for file, _, _ in files_of(str(path))]


def test_names_of_cameras_and_all_endings_of_pictures_count(val):
    put(val, "DSC_1.JPG", "_DSC2.png", "_MG_1.jpg", "_test/a.jpg", "b.tiff", "c.jfif")
    put(val, ".hidden.png", ".thumbnails/a.png", "_attempts/fetch.00000.1/a.png")
    assert names(val) == ["DSC_1.JPG", "_DSC2.png", "_MG_1.jpg", "_test/a.jpg", "b.tiff", "c.jfif"]


def test_a_folder_of_two_kinds_is_refused_and_globs_name_them_apart(val):
    put(val, "stray.png")
    put_tar(val / "00000.tar", "a.png", "b.png")
    with pytest.raises(ConfigError, match=r"val holds pictures and tars; name them apart, by globs such as .*val/\*\*"):
        files_of(str(val))
    assert [file[len(str(val)) :] for file, _, _ in files_of(f"{val}/**/*.tar")] == ["/00000.tar"]
    os.unlink(val / "stray.png")
    (val / "questions.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds tars and \.txt or \.jsonl files; name them apart"):
        files_of(str(val))


def test_files_of_other_kinds_are_counted(val, tmp_path):
    put(val, "a.png", "b.heic", "c.ppm", "more/d.tar.gz", "e")
    card = build_index([str(val)], tmp_path / "index")
    assert card.sets["val"] == {
        "pictures": 1, "texts": 0, "pictures_unreadable": 0, "entries_unreadable": 0, "files_passed_over": 4,
    }  # fmt: skip
    assert card.words() == "val: 1 pictures, 4 files passed over"


def test_linked_folders_are_read_once_though_they_go_in_circles(val, tmp_path):
    put(tmp_path / "elsewhere", "a.png", "deep/b.png")
    put(val, "c.png", "own/d.png")
    os.symlink(tmp_path / "elsewhere", val / "linked")
    os.symlink(tmp_path / "elsewhere", val / "linked_again")
    os.symlink(val / "own", val / ".hidden")
    os.symlink(val, val / "own" / "circle")
    assert names(val) == ["c.png", "linked/a.png", "linked/deep/b.png", "own/d.png"]


def test_of_a_tar_other_pictures_are_read_and_what_is_none_is_counted(val, tmp_path):
    put_tar(val / "00000.tar", "a.png", "b.tiff", "c.depth.png", "a.PNG", "d.npy", "e")
    found = list(items_of(str(val), TEXT_FIELDS))
    assert [item.name for item in found if item.image] == ["00000.tar/a", "00000.tar/b", "00000.tar/c"]
    assert build_index([str(val)], tmp_path / "index").sets["val"]["entries_unreadable"] == 3


def test_a_link_to_nothing_is_an_unreadable_entry(val, tmp_path):
    put(val, "a.png")
    os.symlink(tmp_path / "gone.png", val / "b.png")
    assert build_index([str(val)], tmp_path / "index").words() == "val: 1 pictures, 1 entries unreadable"


@pytest.mark.timeout(30)
def test_what_might_be_read_without_end_is_an_unreadable_entry(val, tmp_path, monkeypatch):
    put(val, "a.png", "b.png")
    os.mkfifo(val / "c.png")
    os.symlink("/dev/zero", val / "d.png")
    (val / "e.png").write_bytes(photo(2) + bytes(100_000))
    monkeypatch.setattr("curate.decontamination.sets.MOST_PICTURE_BYTES", 100_000)
    assert build_index([str(val)], tmp_path / "index").words() == "val: 2 pictures, 3 entries unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_is_closed_is_told(val):
    put(val, "a.png", "closed/b.png")
    (val / "closed").chmod(0)
    try:
        with pytest.raises(ConfigError, match=r"cannot look into .*closed, of an evaluation set: Permission denied"):
            files_of(str(val))
    finally:
        (val / "closed").chmod(0o755)


def test_a_folder_that_cannot_be_listed_is_told(val, monkeypatch):
    put(val, "a.png", "closed/b.png")
    scandir = os.scandir

    def broken(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(ConfigError, match=r"cannot look into .*closed, of an evaluation set: Permission denied"):
        files_of(str(val))
