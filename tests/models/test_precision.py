"""In which precision a model is computed, what its columns say of it, and that two do not compare."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scored_shards import pack, pairs

from curate.errors import ConfigError, ShardError
from curate.models.device import computed_precision, computes
from curate.models.masked_scores import ScoreMasked
from curate.models.pair_scores import ScorePairs
from curate.models.settings import ModelSettings
from curate.rank import require_one_model

GPU, CPU = SimpleNamespace(type="cuda", index=1), torch.device("cpu")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Machines with and without bfloat16, a GPU that would emulate it among them."""

    def make(has: bool) -> None:
        current: list[Any] = []

        @contextmanager
        def device(where: Any) -> Any:
            current.append(where)
            yield
            current.pop()

        def is_supported(including_emulation: bool = True) -> bool:
            assert current == [GPU], "another GPU was asked"
            return has or including_emulation

        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
        monkeypatch.setattr(torch.cuda, "device", device)

    return make


@pytest.mark.parametrize(
    ("precision", "where", "has", "kind"),
    [
        ("bf16", CPU, True, torch.bfloat16),
        ("bf16", CPU, False, torch.float32),
        ("fp16", CPU, True, torch.float32),
        ("fp32", CPU, True, torch.float32),
        ("bf16", GPU, True, torch.bfloat16),
        ("bf16", GPU, False, torch.float32),
        ("fp16", GPU, False, torch.float16),
        ("fp32", GPU, True, torch.float32),
    ],
)
def test_what_a_device_has_not_is_computed_in_float32(native: Any, precision, where, has: bool, kind: Any) -> None:
    native(has)
    assert computes(precision, where) is kind


@pytest.mark.parametrize(
    ("precision", "has", "told"), [("bf16", True, "bf16"), ("bf16", False, "fp32"), ("fp16", True, "fp32")]
)
def test_a_column_says_what_it_was_computed_in(native: Any, precision: Any, has: bool, told: str) -> None:
    """And the fingerprint stays that of what was asked for, by which a run knows what is done."""
    native(has)
    settings = ModelSettings(precision=precision, device="cpu")
    assert computed_precision(precision, "cpu") == told
    for scorer in (ScorePairs("m", settings), ScoreMasked("m", settings)):
        about = scorer.provenance()
        assert about["model_precision"] == told
        assert about["model_fingerprint"] in str(scorer.identity())
        native(not has)
        assert scorer.provenance()["model_fingerprint"] == about["model_fingerprint"]
        native(has)


def test_a_plan_is_made_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's identity does not ask for the device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = ModelSettings(device="cuda")
    for scorer in (ScorePairs("m", settings), ScoreMasked("m", settings)):
        assert scorer.identity()
        with pytest.raises(ConfigError, match="torch sees no GPU"):
            scorer.provenance()


def about(*precisions: str | None) -> list[dict[str, str]]:
    return [{"model_fingerprint": "aa"} | ({"model_precision": name} if name else {}) for name in precisions]


def test_shards_of_one_model_in_two_precisions_do_not_compare(tmp_path: Path) -> None:
    rows = pairs(3, score=[1.0, 2.0, 3.0])
    require_one_model(pack(tmp_path, rows, [1, 1, 1], about={"score": about("bf16", "bf16", "bf16")}), "score")
    shards = pack(tmp_path, rows, [1, 1, 1], about={"score": about("bf16", "bf16", "fp32")})
    with pytest.raises(ShardError, match="score was computed in bf16 in shard 00000 and in fp32 in shard 00002"):
        require_one_model(shards, "score")
    shards = pack(tmp_path, rows, [1, 1, 1], about={"score": about("bf16", None, "fp32")})
    with pytest.raises(ShardError, match="in bf16 in shard 00000 and in an unknown one in shard 00001"):
        require_one_model(shards, "score")
    shards = pack(tmp_path, rows, [1, 1, 1], about={"score": about(None, None, None)})
    require_one_model(shards, "score")
