"""Pictures decoded ahead of those who look at them: in order, one decode for all, bounded in number and in bytes."""

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import curate.decode
import curate.fetch.image
from curate.decode import Unprepared, prepared
from curate.errors import ConfigError


def png(level: int, side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(out, "PNG")
    return out.getvalue()


PICTURES = [(f"{number:03d}", png(number)) for number in range(60)]


def level(pixels: np.ndarray) -> int:
    return int(pixels[0, 0, 0])


def whole(pixels: np.ndarray) -> np.ndarray:
    return pixels


class Meter:
    """The bytes of views that were made and not yet taken; `most` at any moment."""

    def __init__(self, size: int) -> None:
        self.size, self.held, self.most, self.made = size, 0, 0, 0
        self.lock = threading.Lock()

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        with self.lock:
            self.held += self.size
            self.made += 1
            self.most = max(self.most, self.held)
        return np.zeros(self.size, np.uint8)

    def take(self) -> None:
        with self.lock:
            self.held -= self.size


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(1, 7), st.integers(0, 3))
def test_in_order_with_any_number_of_threads(count: int, threads: int, slow: int) -> None:
    def slowly(pixels: np.ndarray) -> int:
        time.sleep(0.003 if slow and level(pixels) % (slow + 1) == 0 else 0)
        return level(pixels)

    found = list(prepared(iter(PICTURES[:count]), [slowly, whole], threads))
    assert [picture.key for picture in found] == [key for key, _ in PICTURES[:count]]
    assert [picture.views[0] for picture in found] == list(range(count))
    assert all(picture.sizes == (0, 8 * 8 * 3) for picture in found)


def test_one_decode_for_all_and_none_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = curate.fetch.image.decode
    monkeypatch.setattr(curate.fetch.image, "decode", lambda data: (decoded.append(1), decode(data))[1])
    assert len(list(prepared(iter(PICTURES), [level] * 5, 3))) == len(decoded) == 60
    assert list(prepared(iter([]), [level], 2)) == []
    assert [picture.views for picture in prepared(iter(PICTURES[:2]), [], 2)] == [(), ()]


@pytest.mark.parametrize("data", [b"", b"no picture", png(3)[:40], png(3)[:-30], b"\xff\xd8\xff" * 99])
def test_what_cannot_be_decoded_is_nothing_for_every_scorer(data: bytes) -> None:
    (found,) = prepared(iter([("k", data)]), [level, whole], 1)
    assert (found.views, found.sizes) == ((None, None), (0, 0))


def test_a_picture_that_one_scorer_cannot_take_is_there_for_the_others() -> None:
    def picky(pixels: np.ndarray) -> int:
        if level(pixels) in (1, 3):
            raise ValueError("odd shape")
        return level(pixels)

    found = list(prepared(iter(PICTURES[:5]), [picky, level], 2))
    assert [picture.views[1] for picture in found] == list(range(5))
    assert [picture.views[0] for picture in found] == [
        0, Unprepared("ValueError: odd shape"), 2, Unprepared("ValueError: odd shape"), 4,
    ]  # fmt: skip


def test_an_error_that_is_no_fault_of_a_picture_ends_it_at_once() -> None:
    """A model without weights: it is not looked for 10,000 times."""
    asked: list[int] = []

    def no_model(pixels: np.ndarray) -> None:
        asked.append(level(pixels))
        time.sleep(0.002)
        raise ConfigError("no weights")

    with pytest.raises(ConfigError, match="no weights"):
        list(prepared(iter(PICTURES * 20), [no_model], 2))
    assert len(asked) < len(PICTURES) * 10
    assert not decoders()


def test_a_tar_that_breaks_in_the_middle_breaks_there() -> None:
    def broken() -> Iterator[tuple[str, bytes]]:
        yield from PICTURES[:7]
        raise OSError("unexpected end of data")

    with pytest.raises(OSError, match="unexpected end"):
        list(prepared(broken(), [level], 2))
    assert not decoders()


def test_who_looks_at_no_more_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though all of them wait for room."""
    monkeypatch.setattr(curate.decode, "AHEAD_BYTES", 10)
    meter = Meter(1_000)
    pictures = prepared(iter(PICTURES), [meter.prepare], 4)
    next(pictures)
    time.sleep(0.05)
    pictures.close()
    assert not decoders()
    assert meter.made < 20


def decoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_made_ahead_is_bounded_in_bytes_whatever_came_before(monkeypatch, threads: int) -> None:
    """200 pictures that cannot be read say nothing of the size of those behind them."""
    size, room = 1_000, 5_000
    monkeypatch.setattr(curate.decode, "AHEAD_BYTES", room)
    monkeypatch.setattr(curate.decode, "AHEAD_PICTURES", 10_000)
    meter = Meter(size)
    encoded = [(f"a{number}", b"") for number in range(200)] + PICTURES
    for picture in prepared(iter(encoded), [meter.prepare], threads):
        if picture.views[0] is not None:
            time.sleep(0.001)
            meter.take()
    assert meter.made == len(PICTURES)
    assert size < meter.most <= room + (threads + 2) * size, "each thread has one, and so has who looks"


@pytest.mark.parametrize(("ahead", "threads", "most"), [(10, 1, 10), (1, 3, 6), (512, 2, 200)])
def test_what_is_read_ahead_is_bounded_in_pictures(monkeypatch, ahead: int, threads: int, most: int) -> None:
    monkeypatch.setattr(curate.decode, "AHEAD_PICTURES", ahead)
    assert read_ahead([("k", b"")] * 200, threads) == most


def test_what_is_read_ahead_is_bounded_in_encoded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curate.decode, "AHEAD_BYTES", 25_000)
    assert read_ahead([("k", bytes(1_000))] * 200, 2) == 25
    assert read_ahead([("k", bytes(100_000))] * 200, 2) == 4, "each thread has work and finds the next"


def read_ahead(encoded: list[tuple[str, bytes]], threads: int) -> int:
    """How many were read and not yet handed over, at most; the same in the second half as in the first."""
    read = taken = 0
    most = [0, 0]

    def source() -> Iterator[tuple[str, bytes]]:
        nonlocal read
        for item in encoded:
            read += 1
            half = int(read > len(encoded) // 2)
            most[half] = max(most[half], read - taken)
            yield item

    for _ in prepared(source(), [whole], threads):
        taken += 1
    assert taken == len(encoded)
    assert most[0] in (most[1], len(encoded) // 2)
    return most[1]


def test_a_scorer_that_keeps_no_bytes_is_no_hindrance() -> None:
    def shape(pixels: np.ndarray) -> Any:
        return {"shape": pixels.shape}

    assert {str(picture.views[0]) for picture in prepared(iter(PICTURES), [shape], 3)} == {"{'shape': (8, 8, 3)}"}
