"""Which file a model's weights are, its digest, and its tensors, read as data and never as code.

A checkpoint is somebody else's file. `.safetensors` holds nothing but tensors; of a `.pt` file torch's restricted
unpickler takes tensors and plain containers and refuses all else. The digest is that of the bytes, so a file that was
exchanged under the same name is another model. 1.7 GB (ViT-L/14) take a second to digest; files of a Hugging Face cache
are named by their digest already.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.hf_folder import knock
from curate.models.memory import is_memory
from curate.models.model_files import content_digest
from curate.models.settings import TOY, ModelSettings
from curate.registry import nearest

__all__ = [
    "CONFIG",
    "TOY_DIMENSIONS",
    "TOY_FILES",
    "embedding_length",
    "is_local",
    "is_toy",
    "read_tensors",
    "told_by_tag",
    "weights_digest",
    "weights_file",
]

CONFIG = "open_clip_config.json"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
TOY_FILES = {kind: Path(__file__).with_name(f"toy_{kind}.safetensors") for kind in ("clip", "matcher", "captioner")}
TOY_DIMENSIONS = 96
MOST_DIMENSIONS = 65_536
_PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")


def is_local(settings: ModelSettings) -> bool:
    """Whether the weights are a file or folder, not a tag of open_clip and not the toy."""
    looks = "/" in settings.weights or settings.weights.endswith(SUFFIXES)
    return settings.weights != TOY and (looks or Path(settings.weights).exists())


def is_toy(settings: ModelSettings) -> bool:
    """Whether it is the toy: as it comes, or trained further and in a folder whose config says `"toy": true`."""
    if settings.weights == TOY:
        return True
    try:
        return json.loads((Path(settings.weights) / CONFIG).read_text("utf-8")).get("toy") is True
    except (OSError, ValueError, AttributeError):
        return False


def weights_file(settings: ModelSettings) -> Path:
    """The file with the tensors; one of a tag is downloaded by open_clip. Raises ConfigError."""
    if settings.weights == TOY:
        return TOY_FILES[settings.kind]
    if not is_local(settings):
        return _by_tag(settings.architecture, settings.weights)
    path = Path(settings.weights)
    if path.is_dir():
        found = [path / name for name in _PREFERRED if (path / name).is_file()]
        if not found or not (path / CONFIG).is_file():
            raise ConfigError(f"the folder {path} needs {CONFIG} and one of {', '.join(_PREFERRED)}")
        return found[0]
    if not path.is_file():
        raise ConfigError(f"no weights at {path}; give the path of a file, or a tag of open_clip")
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} is not one of {', '.join(SUFFIXES)}; save the model's state as .safetensors")
    return path


def told_by_tag(settings: ModelSettings) -> Mapping[str, Any]:
    """What open_clip knows of a tag beside its address: `mean`, `std`, `quick_gelu`, ...; empty for what is no tag.

    Scores depend on it, and a file does not tell it. Raises ConfigError for a tag that open_clip does not know.
    """
    if settings.weights == TOY or is_local(settings):
        return {}
    about = _source(settings.architecture, settings.weights)
    return {name: about[name] for name in sorted(about) if name not in ("url", "hf_hub") and about[name]}


def _source(architecture: str, tag: str) -> Mapping[str, Any]:
    import open_clip

    known = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in known:
        words = f"its tags are {', '.join(known)}" if known else "open_clip has no weights for it"
        raise ConfigError(f"no weights {tag!r} for architecture {architecture!r}: {words}; or give a path")
    about: Mapping[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    return about


@lru_cache(maxsize=64)
def _by_tag(architecture: str, tag: str) -> Path:
    """The file of a tag: once it is in the cache of this machine, nothing is asked of the network."""
    import open_clip

    source = _source(architecture, tag)
    try:
        cached = _in_cache(source)
        if cached is None and source.get("hf_hub"):
            knock()
        return cached or Path(open_clip.download_pretrained(source))
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"cannot download weights {tag!r} of {architecture!r}: {first}; fetch the file by hand and give its path "
            "as `weights`"
        ) from error


def _in_cache(source: Mapping[str, Any]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, name = os.path.split(source.get("hf_hub") or "")
    for candidate in (name,) if name else _PREFERRED[:2]:
        found = try_to_load_from_cache(repository, candidate) if repository else None
        if isinstance(found, str):
            return Path(found)
    return None


def weights_digest(settings: ModelSettings) -> str:
    """SHA-256 (hex) of the tensors' file, and of the config beside it in a folder. Raises ConfigError."""
    path = weights_file(settings)
    config = path.parent / CONFIG if Path(settings.weights).is_dir() else None
    return content_digest(path) + (f"+{content_digest(config)}" if config else "")


def embedding_length(settings: ModelSettings) -> int:
    """Numbers in an embedding, told by the model's config file, without loading it. Raises ConfigError."""
    if settings.weights == TOY:
        return TOY_DIMENSIONS
    if is_local(settings):
        weights_file(settings)
    folder = Path(settings.weights)
    path = folder / CONFIG if folder.is_dir() else _architecture(settings.architecture)
    try:
        return _embed_dim(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} does not say embed_dim of a model: {error!r}") from error


@lru_cache(maxsize=64)
def _embed_dim(path: Path, changed_ns: int) -> int:
    told = json.loads(path.read_text("utf-8"))
    length = int(told.get("model_cfg", told)["embed_dim"])
    if not 1 <= length <= MOST_DIMENSIONS:
        raise ValueError(f"{length} is out of range: from 1 to {MOST_DIMENSIONS}")
    return length


@lru_cache(maxsize=64)
def _architecture(name: str) -> Path:
    """open_clip's file about an architecture. Raises ConfigError."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("models need open_clip; install the extra: pip install 'curate-vl[models]'")
    known = {path.stem: path for path in Path(spec.submodule_search_locations[0]).glob("model_configs/*.json")}
    if not name:
        raise ConfigError("no `architecture`: weights by a tag or in one file need one, such as 'ViT-B-32'")
    if name not in known:
        raise ConfigError(f"no architecture {name!r} in open_clip; {nearest(name, sorted(known))}")
    return known[name]


def read_tensors(path: Path) -> dict[str, Any]:
    """Name to tensor, on the CPU; the wrappers of a trainer's checkpoint are taken off. Raises ConfigError.

    `{"state_dict": {...}}` is unwrapped, and a leading `module.` of every name is removed.
    """
    tensors = _load(path)
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not (isinstance(tensors, dict) and tensors and all(_is_named(*item) for item in tensors.items())):
        raise ConfigError(f"{path} holds no named tensors; save the model's state_dict, as .safetensors")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _is_named(name: Any, tensor: Any) -> bool:
    return isinstance(name, str) and hasattr(tensor, "dtype")


def _load(path: Path) -> Any:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if is_memory(error):
            raise
        raise ConfigError(
            f"{path} is refused: it is damaged, or a pickle with more than weights in it ({_why(error)}); save the "
            "model's state_dict as .safetensors"
        ) from error


def _why(error: Exception) -> str:
    """What kept a file from being read, in one line. torch's own first words say how to run what is in a pickle."""
    told = str(error).strip()
    named = re.search(r"GLOBAL (\S+)", told)
    if named:
        return f"it names {named[1]}"
    if isinstance(error, LookupError | EOFError) or told.startswith("Weights only load failed"):
        return "no pickle of tensors"
    return told.splitlines()[0]
