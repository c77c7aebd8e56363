"""BLIP-2 (Li et al. 2023) as a captioner: 32 queries read the picture, and OPT or Flan-T5 writes.

It is decoded as any other model of pictures and text (`curate.models.vlm`); the picture and its queries are computed
once for all captions. Without a prompt the language model goes on from the picture, which is what the published
captions come from. Folders that were saved before 2024 do not tell which token stands for the picture, and transformers
then puts it nowhere: they are refused.
"""

from __future__ import annotations

from curate.errors import ConfigError
from curate.models import vlm
from curate.models.caption_settings import CaptionerSettings
from curate.models.hf_folder import load_config, load_tokenizer, model_folder, require_model_files
from curate.models.vlm import Vlm, captioner_digest

__all__ = ["captioner_digest", "open_captioner", "require_captioner"]

TYPES = ("blip-2",)
PICTURE = "<image>"


def open_captioner(settings: CaptionerSettings) -> Vlm:
    """The model of these settings. Raises ConfigError."""
    _require_token(settings)
    return vlm.open_captioner(settings)


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError for a folder that is incomplete or too old, and as `curate.models.vlm.require_captioner`."""
    _require_token(settings)
    vlm.require_captioner(settings)


def _require_token(settings: CaptionerSettings) -> None:
    path = model_folder(settings.weights, settings.revision)
    require_model_files(path, TYPES)
    told = getattr(load_config(path), "image_token_index", None)
    tokenizer = load_tokenizer(path)
    known = tokenizer.get_vocab().get(PICTURE)
    if told is None or known is None or told != known:
        raise ConfigError(
            f"{path} does not say which token stands for the picture (image_token_index = {told} in config.json, and "
            f"{PICTURE} is {known} in its vocabulary); fetch its newest revision, or save it anew with both"
        )
