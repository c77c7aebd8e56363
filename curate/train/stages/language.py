"""The language model of a stage model: a tiny one of the toy's layers, or any causal one of a local folder.

Both are asked the same: vectors of tokens in, vectors of the last layer out, with a mask that says which token sees
which, and places that count from the start of each document of a row. So packing, pictures among words and gated
layers are written once. The gated layers hang before the blocks by torch's hooks, since a block of transformers cannot
be rewritten and must not be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from curate.errors import ConfigError
from curate.models.toy_clip import DIMENSIONS, Layer
from curate.train.stages.settings import StageModelSettings
from curate.train.stages.words import Words

__all__ = ["FolderLanguageModel", "LanguageModel", "TinyLanguageModel", "blocks_of", "looking", "open_language_model"]

_STD = 0.02

Look = Callable[[int, Tensor], Tensor]
"""What is done to the vectors (n, l, d) before a block of that number."""


class LanguageModel(Protocol):
    """`width` numbers a token, texts of up to `places` tokens; `word_vectors` (v, d) are its words'."""

    width: int
    places: int

    @property
    def word_vectors(self) -> Tensor: ...

    def embed(self, tokens: Tensor) -> Tensor:
        """int64 (n, l) to (n, l, d)."""

    def read(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """Vectors (n, l, d), their places int64 (n, l), and what each sees, bool (n, l, l), to what the last layer
        gives, (n, l, d)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., d) to float32 (..., v)."""


class TinyLanguageModel(nn.Module):
    """A decoder of the toy's layers; the words' vectors serve as the output's too."""

    width = DIMENSIONS

    def __init__(self, words: int, layers: int, places: int) -> None:
        super().__init__()
        self.places = places
        self.words = nn.Embedding(words, DIMENSIONS)
        nn.init.normal_(self.words.weight, std=_STD)
        self.positions = nn.Parameter(torch.randn(places, DIMENSIONS) * _STD)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm = nn.LayerNorm(DIMENSIONS)

    @property
    def word_vectors(self) -> Tensor:
        found: Tensor = self.words.weight
        return found

    def embed(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.words(tokens)
        return found

    def read(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        x = x + self.positions[positions]
        hidden = ~visible[:, None]
        for layer in self.layers:
            x = layer(x, hidden)
        found: Tensor = self.norm(x)
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        return (hidden @ self.words.weight.T.to(hidden.dtype)).float()


class FolderLanguageModel(nn.Module):
    """A causal language model of transformers, in float32."""

    def __init__(self, folder: Path) -> None:
        from curate.models.hf_folder import load_model

        super().__init__()
        self.inner = load_model(folder, "AutoModelForCausalLM", attention="eager")
        self.width = int(self.inner.get_input_embeddings().weight.shape[1])
        self.places = int(getattr(self.inner.config, "max_position_embeddings", 2_048))

    @property
    def word_vectors(self) -> Tensor:
        found: Tensor = self.inner.get_input_embeddings().weight
        return found

    def embed(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.inner.get_input_embeddings()(tokens)
        return found

    def read(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        least = torch.finfo(x.dtype).min
        mask = torch.zeros(visible.shape, dtype=x.dtype, device=x.device).masked_fill(~visible, least)[:, None]
        answer = self.inner.base_model(
            inputs_embeds=x, attention_mask=mask, position_ids=positions, use_cache=False, return_dict=True
        )
        found: Tensor = answer.last_hidden_state
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.inner.get_output_embeddings()(hidden).float()
        return found


def open_language_model(settings: StageModelSettings, words: Words) -> Any:
    """The language model, a module with what `LanguageModel` says. Raises ConfigError."""
    if settings.language_model == "tiny":
        return TinyLanguageModel(words.size, settings.layers, settings.places)
    folder = Path(settings.language_model)
    if not folder.is_dir():
        raise ConfigError(f'language_model = {settings.language_model!r} is no folder here; name one, or write "tiny"')
    found = FolderLanguageModel(folder)
    rows = int(found.inner.get_input_embeddings().weight.shape[0])
    if words.size > rows:
        raise ConfigError(f"the tokenizer has {words.size:,} words and {folder} vectors for {rows:,}; take its own")
    return found


def blocks_of(module: nn.Module) -> nn.ModuleList | nn.Sequential | None:
    """Its blocks: the longest list of modules in it; None where there is none."""
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList | nn.Sequential)]
    stacked = [part for part in lists if len({type(each) for each in part}) == 1]
    return max(stacked, key=len, default=None)


@contextmanager
def looking(language_model: nn.Module, look: Look) -> Iterator[None]:
    """Has `look` called before each block while this lasts."""
    blocks = blocks_of(language_model)
    if blocks is None:
        raise ConfigError(f"{type(language_model).__name__} has no blocks for gated layers to stand before")
    handles = [
        block.register_forward_pre_hook(_before(number, look), with_kwargs=True) for number, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(number: int, look: Look) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    def hook(
        module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if given:
            return (look(number, given[0]), *given[1:]), named
        return given, {**named, "hidden_states": look(number, named["hidden_states"])}

    return hook
