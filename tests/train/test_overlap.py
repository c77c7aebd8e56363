"""Pictures and captions of an evaluation are found in a clean set, and nothing else is."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pair_shards import BROKEN, ToyPair, encoded, picture, toy_pairs, write_shard
from PIL import Image, ImageOps

from curate.errors import ConfigError, SourceError
from curate.fetch.image import decode
from curate.perceptual.phash import phash
from curate.train.overlap import EvaluationSettings, Known, find_overlap
from curate.train.pairs import PairSource, open_pairs
from curate.train.signature import Signature, perceptual_hash, signature_of

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PICTURES = [f"scene {n}" for n in range(30)]


def own_pairs():
    """30 pairs whose pictures and captions are all different ones."""
    return [ToyPair(encoded(picture(name), quality=92), f"the caption of {name} in so many words") for name in PICTURES]


def opened(tmp_path, pairs):
    return open_pairs(PairSource((write_shard(tmp_path / "clean", "00000", pairs),)))


def found_in(tmp_path, pairs, **settings):
    return find_overlap(opened(tmp_path, pairs), EvaluationSettings(**settings), threads=2)


@pytest.fixture
def folder(tmp_path):
    """An evaluation of five pictures of its own."""
    path = tmp_path / "evaluation" / "images"
    path.mkdir(parents=True)
    for number in range(5):
        (path / f"{number}.jpg").write_bytes(encoded(picture(f"held out {number}")))
    return path


def reencoded(image):
    return encoded(image, quality=35)


def halved(image):
    return encoded(image.resize((image.width // 2, image.height // 2)), quality=80)


PLANTED = {
    "same_bytes": (3, lambda pair: pair.image),
    "same_pixels": (8, lambda pair: encoded(Image.fromarray(decode(pair.image)), "PNG")),
    "near_copy": (14, lambda pair: reencoded(Image.fromarray(decode(pair.image)))),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_picture_is_found_and_nothing_else(tmp_path, folder, kind):
    pairs = own_pairs()
    row, make = PLANTED[kind]
    (folder / "planted.jpg").write_bytes(make(pairs[row]))
    found = found_in(tmp_path, pairs, images=(str(folder.parent),))
    assert (found.images, found.looked_at, found.pairs, found.counts) == (6, 30, 1, {kind: 1})
    (example,) = found.examples
    assert (example["clean"], example["evaluation"], example["how"]) == (f"{row:05d}", "images/planted.jpg", kind)
    assert (example["bits"] == 0) or kind == "near_copy"
    assert f"1 of 30 clean pairs are in the evaluation (1 {kind.replace('_', ' ')})" in found.words()


def test_an_evaluation_that_is_not_in_the_clean_set_gives_nothing(tmp_path, folder):
    found = found_in(tmp_path, own_pairs(), images=(str(folder),))
    assert (found.pairs, found.counts, found.examples) == (0, {}, [])


def test_the_picture_as_it_was_downloaded_is_compared_too(tmp_path, folder):
    """The stored picture is a resized one; its row still knows the digest of what was downloaded."""
    original = encoded(picture("another", (640, 480)))

    class Resized(ToyPair):
        sha256 = signature_of("", original).digests[0].hex()

    pairs = own_pairs()
    pairs[2] = Resized(encoded(ImageOps.mirror(picture("another", (320, 240)))), "a mirrored star")
    (folder / "original.jpg").write_bytes(original)
    assert found_in(tmp_path, pairs, images=(str(folder),)).counts == {"same_bytes": 1}


def test_shards_can_be_the_evaluation_also_without_captions(tmp_path):
    pairs = own_pairs()
    held_out = [replace(pair, caption=None) for pair in (pairs[4], pairs[9])]
    held_out.append(ToyPair(encoded(picture("held out")), None))
    evaluation = write_shard(tmp_path / "evaluation", "00000", held_out)
    found = found_in(tmp_path, pairs, images=(evaluation,))
    assert (found.images, found.counts) == (3, {"same_bytes": 2})
    assert [e["clean"] for e in found.examples] == ["00004", "00009"]


def test_equal_captions_are_found_after_normalisation(tmp_path):
    pairs = own_pairs()
    pairs[5] = replace(pairs[5], caption="A Café, with two  red STARS on it!")
    pairs[6] = replace(pairs[6], caption="a star")
    lines = tmp_path / "captions.txt"
    lines.write_text("a dog on a lawn at noon\n\na star\n“a cafe\u0301 with two red stars on it”\n", "utf-8")
    found = found_in(tmp_path, pairs, captions=(str(lines),))
    assert (found.captions, found.counts) == (2, {"same_caption": 1})
    assert found.examples == [{"clean": "00005", "evaluation": f"{lines}:4", "how": "same_caption", "bits": 0}]
    short = found_in(tmp_path, pairs, captions=(str(lines),), min_words=2)
    assert [e["clean"] for e in short.examples] == ["00005", "00006"]
    shards = write_shard(tmp_path / "evaluation", "00000", [replace(pairs[7], image=b"")])
    assert found_in(tmp_path, pairs, captions=(shards,)).examples[0]["clean"] == "00007"


@pytest.mark.parametrize(("text", "longest"), [("a star\n\na red star, again!\n", 4), ("", 0), ("\n \n", 0)])
def test_captions_that_are_all_too_short_are_told(tmp_path, folder, text, longest):
    lines = tmp_path / "captions.txt"
    lines.write_text(text)
    words = rf"captions holds none of at least 5 words \(the longest has {longest}\): .*captions.txt; lower min_words"
    for images in ((), (str(folder),)):
        with pytest.raises(ConfigError, match=words):
            found_in(tmp_path, own_pairs()[:2], images=images, captions=(str(lines),))


def test_a_pair_with_both_is_one_pair(tmp_path):
    pairs = own_pairs()
    evaluation = write_shard(tmp_path / "evaluation", "00000", pairs[:3])
    found = found_in(tmp_path, pairs, images=(evaluation,), captions=(evaluation,))
    assert (found.pairs, found.counts) == (3, {"same_bytes": 3, "same_caption": 3})


def test_flat_and_broken_pictures_are_like_no_other(tmp_path, folder):
    flat = [ToyPair(encoded(Image.new("RGB", (90, 60), tone)), "a plain wall") for tone in ("red", "#fe0101")]
    pairs = [*own_pairs(), flat[0], ToyPair(BROKEN, "a broken one")]
    (folder / "flat.jpg").write_bytes(flat[1].image)
    (folder / "broken.jpg").write_bytes(BROKEN + b" at all")
    assert found_in(tmp_path, pairs, images=(str(folder),)).counts == {}
    (folder / "broken too.jpg").write_bytes(BROKEN)
    assert found_in(tmp_path, pairs, images=(str(folder),)).counts == {"same_bytes": 1}


def test_the_radius_is_included_and_the_nearest_is_named():
    known = Known(3)
    for name, bits in (("far", 0b1111), ("near", 0b111)):
        known.add(Signature(name, (), None, bits))
    at = [known.find([Signature("x", (), None, value)])[0] for value in (0, 0b1, 0b10000000, 1 << 63)]
    assert at == [[("near_copy", "near", 3)], [("near_copy", "near", 2)], [], []]
    assert known.find([Signature("x", (), None, None)]) == [[]]
    many = Known(0)
    many.add(Signature("last", (), None, 2**64 - 1))
    rows = [Signature(str(n), (), None, 2**64 - 1 - n % 2) for n in range(9)]
    assert [bool(found) for found in many.find(rows)] == [n % 2 == 0 for n in range(9)]


def test_a_search_in_pieces_is_the_same_search(monkeypatch):
    random = np.random.default_rng(0)
    known = Known(20)
    for number, value in enumerate(random.integers(0, 2**63, 300, dtype=np.uint64).tolist()):
        known.add(Signature(str(number), (), None, value))
    rows = [Signature("", (), None, value) for value in random.integers(0, 2**63, 50, dtype=np.uint64).tolist()]
    whole = known.find(rows)
    monkeypatch.setattr("curate.train.overlap.MOST_COMPARED", 1_000)
    assert known.find(rows) == whole
    assert 0 < sum(map(bool, whole)) < 50


def test_the_hash_is_the_one_that_columns_hold():
    for number in range(10):
        pixels = np.asarray(picture(number, (90, 70)).convert("RGB"))
        assert perceptual_hash(pixels) == phash(pixels)


def test_a_picture_too_long_for_the_hash_is_known_by_its_pixels():
    signature = signature_of("long", encoded(Image.new("RGB", (65_536, 1)), "PNG"))
    assert signature.pixels is not None
    assert signature.hash is None


@pytest.mark.parametrize(("contrast", "flat"), [(0, True), (7, True), (9, False), (200, False)])
def test_a_flat_picture_has_no_hash(contrast, flat):
    """Of two halves the standard deviation is half their difference, and 4 is the least."""
    pixels = np.full((60, 90, 3), 20, np.uint8)
    pixels[:30] += np.uint8(contrast)
    pixels += np.random.default_rng(0).integers(0, 2, pixels.shape, dtype=np.uint8)
    assert (perceptual_hash(pixels) is None) is flat


@pytest.mark.parametrize("change", [reencoded, halved], ids=["quality 35", "half the size"])
def test_copies_of_real_photos_are_found_and_others_are_not(change):
    files = sorted((REAL / "pairs" / "recipes").rglob("*.jpg"))[:60]
    if not files:
        pytest.skip("shared/data/pairs/recipes is not beside the checkout")
    hashes = [perceptual_hash(decode(path.read_bytes())) for path in files]
    copies = [
        perceptual_hash(decode(change(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")))) for path in files
    ]
    apart = sorted((a ^ b).bit_count() for a, b in zip(hashes, copies, strict=True))
    assert apart[-2] <= 4
    assert apart[-1] <= 6
    assert not [1 for i, a in enumerate(hashes) for b in hashes[:i] if (a ^ b).bit_count() <= 4]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({}, "names no images and no captions"), ({"images": ("a",), "radius_bits": 17}, "radius_bits = 17"),
     ({"captions": ("a",), "min_words": 0}, "min_words = 0")],
)  # fmt: skip
def test_settings_say_what_is_wrong(wrong, words):
    with pytest.raises(ValueError, match=words):
        EvaluationSettings(**wrong)


def test_an_evaluation_that_is_not_there_is_told(tmp_path):
    pairs = toy_pairs(3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"images: .*empty holds neither shards nor images"):
        found_in(tmp_path, pairs, images=(str(tmp_path / "empty"),))
    with pytest.raises(ConfigError, match=r"captions: .*gone\.txt holds neither shards nor captions"):
        found_in(tmp_path, pairs, captions=(str(tmp_path / "gone.txt"),))
    with pytest.raises(SourceError):
        open_pairs(PairSource((str(tmp_path / "empty"),)))
