"""A network in ONNX finds what it was made to find, and what is no such network or no such spec is refused."""

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.models.text_boxes import check_detector, open_detector
from curate.models.text_boxes_db import MOST_BOXES, boxes_of_map


def onnx(*fields):
    """A message of protocol buffers: whole numbers, text, bytes and messages, each under its number."""
    message = b""
    for number, value in fields:
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            message += varint(number << 3 | 2) + varint(len(value)) + value
    return message


def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def network(width, height, weights=(10.0, 10.0, 10.0), bias=-5.0, stride=1):
    """An ONNX model of 240 bytes: a 1 x 1 convolution of the three channels and a sigmoid; bright pixels are text."""

    def tensor(name, shape, values):
        data = struct.pack(f"<{len(values)}f", *values)
        return onnx(*((1, side) for side in shape), (2, 1), (8, name), (9, data))

    def value(name, *shape):
        dims = onnx(*((1, onnx((1, side))) for side in shape))
        return onnx((1, name), (2, onnx((1, onnx((1, 1), (2, dims))))))

    sides = [onnx((1, name), (8, n), (8, n), (20, 7)) for name, n in (("kernel_shape", 1), ("strides", stride))]
    convolution = onnx(
        (1, "image"), (1, "weights"), (1, "bias"), (2, "score"), (4, "Conv"), *((5, side) for side in sides)
    )
    sigmoid = onnx((1, "score"), (2, "map"), (4, "Sigmoid"))
    graph = onnx(
        (1, convolution),
        (1, sigmoid),
        (2, "graph"),
        (5, tensor("weights", (1, 3, 1, 1), weights)),
        (5, tensor("bias", (1,), [bias])),
        (11, value("image", 1, 3, height, width)),
        (12, value("map", 1, 1, height // stride, width // stride)),
    )
    return onnx((1, 7), (7, graph), (8, onnx((1, ""), (2, 13))))


@pytest.fixture
def model(tmp_path):
    """`model(name, width, height, ...)`: the spec of a network in a file."""

    def write(name="text.onnx", width=128, height=64, **numbers):
        (tmp_path / name).write_bytes(network(width, height, **numbers))
        return f"onnx:{tmp_path / name}@{width}x{height}"

    return write


class TestNetwork:
    def test_boxes_about_bright_regions_and_grown(self, model):
        pixels = np.zeros((128, 256, 3), np.uint8)
        pixels[32:64, 64:192] = 255
        (box,) = open_detector(model()).boxes(pixels)
        margin = 2 * 64 * 16 / (2 * (np.hypot(64, 16) + 64 * 16 / np.hypot(64, 16)))
        grown = np.array([32 - margin, 16 - margin, 96 + margin, 32 + margin]) / [128, 64, 128, 64]
        assert box == pytest.approx(np.clip(grown, 0, 1), abs=1e-6)

    def test_the_mean_colour_is_taken_out(self, model):
        assert len(open_detector(model()).boxes(np.full((64, 128, 3), 120, np.uint8))) == 0
        assert len(open_detector(model(bias=5.0)).boxes(np.full((64, 128, 3), 120, np.uint8))) == 1

    def test_an_answer_of_another_size_is_refused(self, model):
        with pytest.raises(ConfigError, match=r"\(1, 1, 32, 64\).*128 x 64"):
            open_detector(model(stride=2))

    def test_no_text_no_box(self, model):
        boxes = open_detector(model()).boxes(np.zeros((300, 40, 3), np.uint8))
        assert boxes.shape == (0, 4)
        assert boxes.dtype == np.float32

    @pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (4_000, 4_000)])
    def test_pictures_of_any_size(self, model, shape):
        boxes = open_detector(model()).boxes(np.full((*shape, 3), 255, np.uint8))
        assert boxes.tolist() == [[0, 0, 1, 1]]

    def test_the_network_gets_blue_first(self, model):
        detector = open_detector(model(weights=(20.0, 0.0, 0.0)))
        pixels = np.zeros((64, 128, 3), np.uint8)
        pixels[8:24, 8:40, 0] = pixels[40:56, 80:112, 2] = 255
        (box,) = detector.boxes(pixels)
        assert box[0] > 0.4

    def test_threads_get_what_one_gets(self, model):
        detector, random = open_detector(model()), np.random.default_rng(0)
        pictures = [
            np.kron(random.choice([0, 255], (8, 16, 1), p=[0.8, 0.2]), np.ones((8, 8, 3))).astype(np.uint8)
            for _ in range(24)
        ]
        alone = [detector.boxes(p).tolist() for p in pictures]
        with ThreadPoolExecutor(4) as pool:
            assert [boxes.tolist() for boxes in pool.map(detector.boxes, pictures)] == alone

    @pytest.mark.parametrize(
        ("regions", "kept"),
        [
            ([(0.9, 10, 20)], 1),
            ([(0.49, 10, 20)], 0),  # not sure enough
            ([(0.3, 10, 20)], 0),  # no pixel of it is text
            ([(0.9, 2, 20)], 0),  # too thin
            ([(0.9, 3, 20)], 1),
            ([(np.nan, 10, 20)], 0),
            ([(0.9, 10, 20), (0.6, 8, 8)], 2),
        ],
    )
    def test_regions_of_a_map(self, regions, kept):
        probability = np.zeros((64, 96), np.float32)
        for number, (value, height, width) in enumerate(regions):
            probability[10 : 10 + height, 10 + 40 * number : 10 + 40 * number + width] = value
        assert len(boxes_of_map(probability)) == kept

    def test_a_map_of_dots_is_cut_short(self):
        probability = np.zeros((736, 736), np.float32)
        probability[np.add.outer(np.arange(736) % 6 < 4, np.arange(736) % 6 < 4) == 1] = 0
        probability[np.outer(np.arange(736) % 6 < 4, np.arange(736) % 6 < 4)] = 1
        assert len(boxes_of_map(probability)) == MOST_BOXES


class TestOpen:
    @pytest.mark.parametrize("spec", ["", "Classical", "east", "onnx:", "onnx", "classical@64x64"])
    def test_another_spec_is_refused(self, spec):
        for refuse in (check_detector, open_detector):
            with pytest.raises(ValueError, match=r"classical.*onnx:FILE"):
                refuse(spec)

    @pytest.mark.parametrize("size", ["0x32", "31x64", "100x64", "8192x64"])
    def test_another_size_is_refused(self, size):
        with pytest.raises(ValueError, match="multiples of 32"):
            check_detector(f"onnx:a.onnx@{size}")

    def test_an_at_in_a_path_is_no_size(self, model, tmp_path):
        spec = model("text@2.onnx")
        assert open_detector(spec).fingerprint
        check_detector("onnx:/models/a@b/text.onnx")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match=r"gone\.onnx"):
            open_detector(f"onnx:{tmp_path / 'gone.onnx'}")

    @pytest.mark.parametrize("data", [b"", b"not a network", network(64, 64)[:100]])
    def test_a_file_that_is_no_network(self, tmp_path, data):
        (tmp_path / "junk.onnx").write_bytes(data)
        with pytest.raises(ConfigError, match=r"junk\.onnx"):
            open_detector(f"onnx:{tmp_path / 'junk.onnx'}")

    def test_fingerprints_tell_method_file_and_size(self, model, tmp_path):
        specs = ["classical", model("a.onnx"), model("b.onnx", bias=-6.0)]
        marks = [open_detector(spec).fingerprint for spec in specs]
        marks.append(open_detector(f"onnx:{tmp_path / 'a.onnx'}@256x64").fingerprint)
        assert len(set(marks)) == 4
        (tmp_path / "copy.onnx").write_bytes((tmp_path / "a.onnx").read_bytes())
        assert open_detector(f"onnx:{tmp_path / 'copy.onnx'}@128x64").fingerprint == marks[1]

    def test_a_file_that_changes_is_another_detector(self, model):
        before = open_detector(model()).fingerprint
        assert open_detector(model(bias=-7.25)).fingerprint != before
