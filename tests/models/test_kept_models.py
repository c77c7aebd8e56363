"""Which models a process keeps, and which give way."""

import gc
import weakref
from collections.abc import Iterable

import pytest

from curate.models.kept_models import IDLE, MOST, KeptModels


class Asked:
    """Models are their names here; which were loaded, in order."""

    def __init__(self) -> None:
        self.kept: KeptModels[str] = KeptModels()
        self.loads: list[str] = []

    def ask(self, names: Iterable[str], work: int, digest: str = "a") -> None:
        for name in names:
            assert self.kept.get(name, digest, work, lambda name=name: self.load(name)) == name

    def load(self, name: str) -> str:
        self.loads.append(name)
        return name


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.mark.parametrize("count", [1, IDLE, IDLE + 1, IDLE + 2, MOST])
def test_what_a_piece_of_work_asks_for_in_turn_is_loaded_once(asked: Asked, count: int) -> None:
    names = [f"m{number}" for number in range(count)]
    for _ in range(3):
        asked.ask(names, 1)
    asked.ask(names, 2)
    assert asked.loads == names


def test_models_of_earlier_work_give_way_the_longest_unasked_first(asked: Asked) -> None:
    asked.ask("abcdea", 1)
    asked.ask("x", 2)
    assert len(asked.kept) == IDLE + 1
    asked.ask("adex", 2)
    assert asked.loads == [*"abcdex"]
    asked.ask("b", 2)
    assert asked.loads == [*"abcdexb"]


def test_what_this_work_asked_for_is_not_of_earlier_work(asked: Asked) -> None:
    for work in (1, 2):
        asked.ask("abcdef", work)
    asked.ask("xabcdef", 2)
    assert asked.loads == [*"abcdefx"]


def test_they_are_bounded_even_within_one_piece_of_work(asked: Asked) -> None:
    asked.ask((f"m{number}" for number in range(3 * MOST)), 0)
    assert len(asked.kept) == MOST
    asked.ask([f"m{3 * MOST - 1}"], 0)
    assert len(asked.loads) == 3 * MOST


def test_another_digest_is_another_model_and_the_old_one_is_gone_before_it_is_loaded() -> None:
    """Both would not fit."""

    class Model:
        pass

    kept: KeptModels[Model] = KeptModels()
    old = weakref.ref(kept.get("m", "a", 1, Model))
    assert kept.get("m", "a", 1, Model) is old()

    def load() -> Model:
        gc.collect()
        assert old() is None
        return Model()

    new = kept.get("m", "b", 1, load)
    assert old() is None
    assert kept.get("m", "b", 1, Model) is new
    assert len(kept) == 1


def test_what_failed_to_load_is_tried_again(asked: Asked) -> None:
    def fail() -> str:
        raise MemoryError("for now")

    with pytest.raises(MemoryError):
        asked.kept.get("m", "a", 1, fail)
    asked.ask("m", 1)
    asked.kept.clear()
    asked.ask("m", 1)
    assert asked.loads == ["m", "m"]
