"""Sentences as vectors whose cosine says how alike they are in meaning, by an encoder of `transformers`.

As all-MiniLM-L6-v2 (Reimers and Gurevych 2019; 22 M parameters, 384 numbers) defines it: the mean of the last layer
over the tokens of a sentence, of unit length. A text is encoded once however often it comes, and texts of like length
go together: 134 alt texts a second and core, where batches of 32 as they come make 69, and the numbers are equal to
2e-7.

What asks for an encoder knows `TextEncoder` alone. A CLIP text tower fits it as it is, an `embed` and a `fingerprint`;
`open_text_encoder` is where a `spec` of another kind would be told apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.device import device
from curate.models.memory import is_memory
from curate.source.model_file import config_digest

__all__ = ["MINILM", "SentenceEncoder", "TextEncoder", "open_text_encoder", "text_encoder_fingerprint"]

Rows = npt.NDArray[np.float32]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""SIEVE's encoder, on the hub."""
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*/config.json")
"""What a sentence encoder is made of: settings, weights, vocabularies. No pickle, no code."""
SETTINGS = "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
TOKENS_TOGETHER = 16_384
"""Padded tokens of a batch; halved when a device has not the memory."""
MOST_TOKENS = 512
UNUSED_LAYERS = ("pooler.", "embeddings.position_ids")
"""Parts of a model whose weights a sentence encoder need not bring."""


class TextEncoder(Protocol):
    """What a scorer asks of an encoder of texts."""

    @property
    def fingerprint(self) -> str:
        """Changes with everything that changes an embedding."""
        ...

    def embed(self, texts: Sequence[str]) -> Rows:
        """One row per text, float32 (n, d) of unit length."""
        ...


@lru_cache(maxsize=2)
def open_text_encoder(spec: str) -> TextEncoder:
    """The encoder in a folder, or of that id on the Hugging Face hub, once per process. Raises ConfigError."""
    return SentenceEncoder(_folder(spec), text_encoder_fingerprint(spec))


@lru_cache(maxsize=8)
def text_encoder_fingerprint(spec: str) -> str:
    """Of all files of a sentence encoder, by what is in them; no model is loaded. Raises ConfigError."""
    folder = _folder(spec)
    names = sorted({str(path.relative_to(folder)) for pattern in FILES for path in folder.glob(pattern)})
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise ConfigError(
            f"encoder = {spec!r} needs config.json and model.safetensors, and has {', '.join(names) or 'neither'}; "
            "weights in a pickle (.bin) are not loaded: save them as .safetensors"
        )
    return fingerprint(["sentence encoder", 1, [[n, config_digest(str(folder / n), "encoder")] for n in names]])


class SentenceEncoder:
    """The encoder of a local folder, on a GPU where there is one. Raises ConfigError for what is none."""

    def __init__(self, folder: Path, name: str) -> None:
        import torch

        _require_mean(folder)
        self._torch, self._where, self.fingerprint = torch, device("auto"), name
        self._together = TOKENS_TOGETHER
        self._tokenizer, model, found = _load(folder)
        _require_all(folder, found)
        self._model = model.to(self._where).eval()
        self._most = _most_tokens(folder, self._tokenizer, model.config)
        try:
            self.embed(["a"])
        except Exception as error:
            raise ConfigError(f"{folder} is a model that does not encode a text by itself: {error}") from error

    def embed(self, texts: Sequence[str]) -> Rows:
        """float32 (n, d) of unit length. Of a text the first tokens are read, as many as the model takes."""
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = self._distinct(list(place))
        return distinct[[place[text] for text in texts]]

    def _distinct(self, texts: Sequence[str]) -> Rows:
        if not texts:
            return np.zeros((0, self._model.config.hidden_size), np.float32)
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._most)["input_ids"]
        order = sorted(range(len(texts)), key=lambda row: -len(tokens[row]))
        rows = np.empty((len(texts), self._model.config.hidden_size), np.float32)
        start = 0
        while start < len(order):
            part = order[start : start + max(1, self._together // max(1, len(tokens[order[start]])))]
            try:
                rows[part] = self._batch([tokens[row] for row in part])
                start += len(part)
            except (RuntimeError, MemoryError) as error:
                if len(part) == 1 or not is_memory(error):
                    raise
                self._together //= 2
        return rows

    def _batch(self, tokens: Sequence[Sequence[int]]) -> Rows:
        """Embeddings of token lists, the longest first."""
        torch = self._torch
        batch = self._tokenizer.pad({"input_ids": list(tokens)}, return_tensors="pt").to(self._where)
        with torch.inference_mode():
            layer = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(layer.dtype)
            mean = (layer * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            found: Rows = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return found


def _folder(spec: str) -> Path:
    """The folder of an encoder; one of the hub is downloaded by its client, unless it is in its cache."""
    if spec and Path(spec).is_dir():
        return Path(spec)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", spec) or spec.startswith("."):
        raise ConfigError(f"encoder = {spec!r} is no folder here, and no id of the hub such as {MINILM!r}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(spec, allow_patterns=list(FILES)))
    except Exception as error:
        raise ConfigError(
            f"encoder = {spec!r} cannot be downloaded: {error}; fetch it by hand and give the path of its folder"
        ) from error


def _load(folder: Path) -> tuple[Any, Any, Mapping[str, Any]]:
    """Tokenizer, model and what was amiss with its weights, for `_require_all`; quietly. Raises ConfigError."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    loud = logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        safe = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        model, found = AutoModel.from_pretrained(
            folder,
            **safe,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise ConfigError(f"{folder} is no sentence encoder that transformers can load: {error}") from error
    finally:
        logging.set_verbosity(level)
        if loud:
            logging.enable_progress_bar()
    return tokenizer, model, found


def _require_mean(folder: Path) -> None:
    """Raise ConfigError for a model that says it is to be pooled in another way."""
    pooling = _json(folder / POOLING)
    others = [name for name, used in pooling.items() if name.startswith("pooling_mode_") and used]
    if pooling and others != ["pooling_mode_mean_tokens"]:
        raise ConfigError(
            f"{folder / POOLING} asks for {', '.join(others) or 'no pooling'}; only the mean is known here"
        )


def _require_all(folder: Path, found: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the file had every weight that is used, in the right shape."""
    missing = sorted(name for name in found["missing_keys"] if not name.startswith(UNUSED_LAYERS))
    odd = sorted(str(key[0]) for key in found["mismatched_keys"])
    if missing or odd:
        first = (missing or odd)[0]
        raise ConfigError(
            f"the weights in {folder} are not those of its config.json: {len(missing)} missing, {len(odd)} of another "
            f"shape, such as {first}"
        )


def _most_tokens(folder: Path, tokenizer: Any, config: Any) -> int:
    """As sentence-transformers has it: what its settings say, else what tokenizer and model can take."""
    said = _json(folder / SETTINGS).get("max_seq_length")
    limits = (said, tokenizer.model_max_length, getattr(config, "max_position_embeddings", None), MOST_TOKENS)
    return min(limit for limit in limits if isinstance(limit, int) and limit > 0)


def _json(path: Path) -> dict[str, Any]:
    """A settings file that need not be there. Raises ConfigError for one that is no JSON object."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no JSON object")
    return found
