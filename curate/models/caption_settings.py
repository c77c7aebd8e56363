"""The tables `[models.NAME]` of models that write texts (`kind = "captioner"`) and of models that read a text together
with its picture (`kind = "matcher"`). Imports no torch.

`[models.synthetic]` writes `synthetic_captions` and what belongs to each; `[models.itm]` with
`captions = ["synthetic"]` writes `itm_probability` of the web's caption and `itm_synthetic_probability`, one for each
synthetic one. The decoding stands in the captioner's table, because it is part of what a caption is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from curate.config import require_range
from curate.models.captioner import Sampling
from curate.models.settings import TOY, Precision, require_once

__all__ = ["CaptionerSettings", "MatcherSettings"]


@dataclass(frozen=True)
class CaptionerSettings(Sampling):
    """One captioner. Raises ValueError for what does not go together.

    `weights`: `toy`; the folder of a model as transformers saves it, or its id on the Hugging Face hub (then with
    `revision`, a commit, where the newest is not wanted); or, with `architecture` such as `coca_ViT-L-14`, a tag of
    open_clip, a file or a folder with `open_clip_config.json`. `engine`: `own` decodes here, `vllm` by vLLM where that
    is installed. `captions`: how many of each picture. `method` to `prompt`: as `curate.models.captioner.Sampling`.
    `seed`: another one gives other captions. `boxes`: also where the words are, of models that tell.
    `precision`, `batch`, `device`: as `curate.models.settings.ModelSettings`; `batch` counts pictures.
    """

    kind: Literal["captioner"] = "captioner"
    weights: str = TOY
    architecture: str = ""
    revision: str = ""
    engine: Literal["own", "vllm"] = "own"
    precision: Precision = "bf16"
    captions: int = 1
    seed: int = 0
    boxes: bool = False
    batch: int = field(default=0, metadata={"runtime": True})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("batch", self.batch, 0, 65_536)
        require_range("captions", self.captions, 1, 256)
        require_range("seed", self.seed, 0, 2**63 - 1)
        if not self.weights:
            raise ValueError('weights = "" is no model; name a folder, an id of the hub, or "toy"')
        if self.weights == TOY and (self.architecture or self.revision or self.engine != "own" or self.boxes):
            raise ValueError('weights = "toy" takes no architecture, revision, engine or boxes')
        super().__post_init__()
        if self.method == "greedy" and self.captions != 1:
            raise ValueError("method = 'greedy' gives one caption a picture; draw with 'nucleus' for more")
        if self.method == "beam" and self.captions > self.beams:
            raise ValueError(f"captions = {self.captions} is above beams = {self.beams}")

    @property
    def sampling(self) -> Sampling:
        """How captions are drawn."""
        return Sampling(**{own.name: getattr(self, own.name) for own in fields(Sampling)})


@dataclass(frozen=True)
class MatcherSettings:
    """One matcher. Raises ValueError for what does not go together.

    `weights`, `revision`: as those of a captioner (BLIP's and BLIP-2's image-text matching models, or the toy).
    `head`: `itm` the matching head; `vqa` the probability of the answer "Yes" to `question`, in which `{text}` stands
    for the text (VQAScore, Lin et al. 2024), of any image-text-to-text model. `captions`: names of captioners of the
    config whose texts it judges beside the web's. Other settings as `curate.models.settings.ModelSettings`.
    """

    kind: Literal["matcher"] = "matcher"
    weights: str = TOY
    revision: str = ""
    head: Literal["itm", "vqa"] = "itm"
    question: str = 'Does this figure show "{text}"? Please answer yes or no.'
    precision: Precision = "bf16"
    captions: tuple[str, ...] = ()
    batch: int = field(default=0, metadata={"runtime": True})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("batch", self.batch, 0, 65_536)
        if not self.weights:
            raise ValueError('weights = "" is no model; name a folder, an id of the hub, or "toy"')
        if self.weights == TOY and (self.revision or self.head != "itm"):
            raise ValueError('weights = "toy" takes no revision, and has the head "itm" alone')
        require_once(self.captions)
        if "{text}" not in self.question:
            raise ValueError(f"question = {self.question!r} needs {{text}}, where the text is to stand")
