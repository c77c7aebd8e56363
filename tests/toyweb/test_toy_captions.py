"""Every caption parses back to its scene, nothing else parses, and the other languages are other languages."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_scenes import differences, scenes

from curate.toyweb.caption import WORDINGS, describe, parse
from curate.toyweb.scene import FULL, SMALL, Group, Scene, World, alter, random_scene
from curate.toyweb.translate import LANGUAGES, translate

wordings = st.integers(0, WORDINGS - 1)

TWO_RED_ABOVE_STAR = Scene(Group(2, "red", "circle"), Group(1, "orange", "star"), "above")


@given(scenes, wordings)
def test_a_caption_parses_back_to_its_scene(scene, wording):
    text = describe(scene, wording)
    assert parse(text) == scene
    assert parse(f"  {text.upper().removesuffix('.')}. ") == scene


@given(scenes, scenes, wordings, wordings)
def test_different_scenes_have_different_captions(one, other, first, second):
    assert (describe(one, first) == describe(other, second)) <= (one == other)


@given(st.text(max_size=80))
def test_other_text_does_not_parse(text):
    scene = parse(text)
    assert scene is None or text.strip().removesuffix(".").lower() in {
        describe(scene, w).removesuffix(".").lower() for w in range(WORDINGS)
    }


@pytest.mark.parametrize(
    ("text", "scene"),
    [
        ("two red circles above an orange star", TWO_RED_ABOVE_STAR),
        ("An ORANGE star below two red circles. ", TWO_RED_ABOVE_STAR),
        ("an orange star below two red circles", TWO_RED_ABOVE_STAR),
        ("There are two red circles on top and an orange star underneath.", TWO_RED_ABOVE_STAR),
        ("There is two red circles on top and an orange star underneath.", None),
        ("two red circle above an orange star", None),
        ("two red circles above a orange star", None),
        ("two red circles above an orange stars", None),
        ("four red circles above an orange star", None),
        ("two pink circles above an orange star", None),
        ("two red circles", None),
        ("two red circles above an orange star above a red star", None),
        ("", None),
    ],
)
def test_the_grammar_is_strict(text, scene):
    assert parse(text) == scene


def test_sentences_begin_with_a_capital_and_phrases_do_not():
    starts = [describe(TWO_RED_ABOVE_STAR, wording)[0].isupper() for wording in range(WORDINGS)]
    assert starts == [False, False] + [True] * (WORDINGS - 2)


def test_wordings_differ_from_each_other():
    assert len({describe(TWO_RED_ABOVE_STAR, w) for w in range(WORDINGS)}) == WORDINGS


@given(scenes, st.integers())
def test_alter_changes_exactly_one_attribute(scene, seed):
    assert differences(scene, alter(scene, Random(seed))) == 1


def test_alter_changes_every_attribute_sooner_or_later():
    changed = [alter(TWO_RED_ABOVE_STAR, Random(seed)) for seed in range(200)]
    assert {scene.layout for scene in changed} == {"above", "left"}
    for name in ("count", "color", "shape"):
        assert len({getattr(scene.first, name) for scene in changed}) >= 3
        assert len({getattr(scene.second, name) for scene in changed}) >= 3


@given(st.integers())
def test_a_small_world_stays_small(seed):
    random = Random(seed)
    scene = alter(random_scene(random, SMALL), random, SMALL)
    for group in (scene.first, scene.second):
        assert group.color in SMALL.colors
        assert group.shape in SMALL.shapes


@pytest.mark.parametrize(("world", "size"), [(FULL, 10_368), (SMALL, 2_592), (World(("red",), ("star",)), 18)])
def test_world_sizes(world, size):
    assert world.size == size


@given(scenes)
def test_mirroring_twice_is_no_change(scene):
    assert scene.mirrored().mirrored() == scene
    assert (scene.mirrored() == scene) == (scene.layout == "above" or scene.first == scene.second)


@pytest.mark.parametrize("wrong", [(0, "red", "star"), (4, "red", "star"), (1, "pink", "star"), (1, "red", "heart")])
def test_groups_outside_the_world_are_refused(wrong):
    with pytest.raises(ValueError, match=r"1 to 3|colours"):
        Group(*wrong)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Oben zwei rote Kreise und darunter ein orangefarbener Stern"),
        ("fr", "En haut il y a deux cercles rouges et en dessous une étoile orange"),
        ("es", "Arriba hay dos círculos rojos y debajo hay una estrella naranja"),
        ("it", "In alto vediamo due cerchi rossi e sotto una stella arancione"),
        ("ru", "Сверху два красных круга, а снизу одна оранжевая звезда"),
        ("zh", "图片上方有两个红色的圆形，下方有一个橙色的星星"),
        ("ja", "上に赤い丸が二つ、下にオレンジ色の星が一つあります"),
    ],
)
def test_translations_agree_in_gender_and_number(language, text):
    assert translate(TWO_RED_ABOVE_STAR, language) == text


def test_a_language_identifier_tells_them_apart():
    """Over all colours, shapes and counts: English is English, and what is labelled otherwise is not."""
    langid = pytest.importorskip("py3langid")
    random = Random(5)
    drawn = [random_scene(random) for _ in range(30)]
    english = [describe(s, random.randrange(WORDINGS)) for s in drawn]
    assert sum(langid.classify(text)[0] == "en" for text in english) == len(english)
    for language in LANGUAGES:
        found = [langid.classify(translate(s, language))[0] for s in drawn]
        assert "en" not in found, language
        assert found.count(language) >= 0.8 * len(found), language
