"""One model of vision tower, projector and language model, and all that the stages' losses ask of it.

Parts are named as a stage's `trainable` names them: gated layers and the heads of the contrastive and the matching loss
count as projector, open_clip's text tower as language model, and a word's vectors as embeddings. The language model
reads captions for the contrastive loss, too, without the picture, its last token standing for the text, as CLIP's own
text tower does; so one pair of small towers serves every objective.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from curate.train.stages.language import blocks_of, looking, open_language_model
from curate.train.stages.masks import ALL_PREVIOUS, cross_mask, self_mask
from curate.train.stages.projector import GatedLayer, make_projector
from curate.train.stages.rows import Rows
from curate.train.stages.settings import StageModelSettings
from curate.train.stages.vision import open_vision
from curate.train.stages.words import Words

__all__ = ["Heads", "StageModel", "open_model"]

CONTRAST_WIDTH = 96
FIRST_SCALE, FIRST_BIAS = math.log(1 / 0.07), -10.0
"""Of CLIP, and of SigLIP where the sigmoid is chosen (whose scale begins at log 10)."""


class Heads(nn.Module):
    """What the contrastive and the matching loss have of their own."""

    def __init__(self, picture_width: int, text_width: int, language_width: int, sigmoid: bool) -> None:
        super().__init__()
        self.picture = nn.Linear(picture_width, CONTRAST_WIDTH)
        self.text = nn.Linear(text_width, CONTRAST_WIDTH)
        self.match = nn.Linear(language_width, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0) if sigmoid else FIRST_SCALE))
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS)) if sigmoid else None


class StageModel(nn.Module):
    """The whole. `cross` are the gated layers, none for the prefix; `tag` is the vector of a picture's one place."""

    def __init__(self, settings: StageModelSettings, words: Words) -> None:
        super().__init__()
        self.vision, towers = open_vision(settings)
        self.language_model: Any = open_language_model(settings, words)
        width = self.language_model.width
        self.projector, self.picture_tokens = make_projector(settings, self.vision, width)
        self.crossed = settings.fusion == "cross_attention"
        self.cross_every = settings.cross_every
        self.cross = nn.ModuleList()
        if self.crossed:
            self.tag = nn.Parameter(torch.randn(width) * 0.02)
            blocks = len(blocks_of(self.language_model) or ())
            self.cross.extend(GatedLayer(width) for _ in range(0, blocks, settings.cross_every))
        self.text_tower = _text_tower(towers.module) if settings.text_tower == "open_clip" and towers else None
        self.tokenize_text = towers.tokenize if self.text_tower is not None and towers else None
        text_width = width if self.text_tower is None else self.vision.embedding
        self.heads = Heads(self.vision.embedding, text_width, width, settings.contrast == "sigmoid")
        self._padding = words.padding

    @property
    def picture_places(self) -> int:
        """Places of a row that a picture fills."""
        return 1 if self.crossed else self.picture_tokens

    def parts(self) -> dict[str, str]:
        """The part that each parameter belongs to, by its name."""
        vectors = self.language_model.word_vectors
        tops = {"vision": "vision", "text_tower": "language_model", "language_model": "language_model"}
        named = self.named_parameters()
        return {
            name: "embeddings" if tensor is vectors else tops.get(name.partition(".")[0], "projector")
            for name, tensor in named
        }

    def look(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (p, size, size, 3) to what the language model sees, (p, k, d), and the tower's vectors (p, e)."""
        tokens, vectors = self.vision(views)
        return self.projector(tokens), vectors

    def read(self, rows: Rows, seen: Tensor) -> Tensor:
        """What the last layer gives for rows whose pictures' tokens are `seen` (p, k, d): (n, l, d)."""
        x = self.language_model.embed(rows.tokens)
        shown = rows.pictures >= 0
        if self.crossed:
            x = torch.where(shown[..., None], self.tag.to(x.dtype), x)
        elif len(seen):
            own = seen.flatten(0, 1)[rows.slots.clamp(min=0)].to(x.dtype)
            x = torch.where(shown[..., None], own, x)
        rules = torch.full_like(rows.rules, ALL_PREVIOUS) if self.crossed else rows.rules
        visible = self_mask(rows.documents, rows.pictures, rules)
        with ExitStack() as ends:
            if self.crossed and rows.row_pictures.shape[1]:
                ends.enter_context(looking(self.language_model, self._look(rows, seen)))
            found: Tensor = self.language_model.read(x, rows.positions, visible)
        return found

    def _look(self, rows: Rows, seen: Tensor) -> Any:
        """What the gated layers do before a block: each row's words look at the row's pictures."""
        count = rows.row_pictures.shape[1]
        own = seen[rows.row_pictures.clamp(min=0)].flatten(1, 2)
        visible = cross_mask(rows.documents, rows.pictures, rows.rules, count)
        visible = visible.repeat_interleave(seen.shape[1], dim=2)

        def look(number: int, x: Tensor) -> Tensor:
            if number % self.cross_every:
                return x
            found: Tensor = self.cross[number // self.cross_every](x, own, visible)
            return found

        return look

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 (..., v) of the next token."""
        found: Tensor = self.language_model.logits(hidden)
        return found

    def encode_pictures(self, vectors: Tensor) -> Tensor:
        """The tower's vectors to unit float32 (p, c) for the contrastive loss."""
        return nn.functional.normalize(self.heads.picture(vectors).float(), dim=-1)

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """Captions, int64 (m, t), to unit float32 (m, c)."""
        found = self._last_token(tokens) if self.text_tower is None else self.text_tower(tokens)
        return nn.functional.normalize(self.heads.text(found).float(), dim=-1)

    def _last_token(self, tokens: Tensor) -> Tensor:
        filled = (tokens != self._padding).long()
        last = (filled * torch.arange(1, tokens.shape[1] + 1, device=tokens.device)).argmax(dim=1)
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        visible = places[:, None, :] <= places[:, :, None]
        hidden = self.language_model.read(self.language_model.embed(tokens), places, visible)
        found: Tensor = hidden[torch.arange(len(tokens), device=tokens.device), last]
        return found


class _TextTower(nn.Module):
    """open_clip's text tower, apart from its picture tower."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.inner = whole.text if hasattr(whole, "text") else whole
        self.whole = not hasattr(whole, "text")

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.inner.encode_text(tokens) if self.whole else self.inner(tokens)
        return found


def _text_tower(whole: Any) -> nn.Module:
    """A model whose text tower is spread over it (CLIP of old) keeps it, without the picture tower."""
    tower = _TextTower(whole)
    if tower.whole:
        whole.visual = None
    return tower


def open_model(settings: StageModelSettings, words: Words, seed: int) -> StageModel:
    """The model, on the CPU; what no file gives is drawn by the seed, and torch's own generator stays as it was.
    Raises ConfigError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StageModel(settings, words)
    model.float().eval()
    return model
