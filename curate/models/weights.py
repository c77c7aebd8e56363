"""Which file a model's weights are, its digest, and its tensors, read as data and never as code.

A checkpoint is somebody else's file. `.safetensors` holds nothing but tensors; of a `.pt` file torch's restricted
unpickler takes tensors and plain containers and refuses all else. The digest is that of the bytes, so a file that was
exchanged under the same name is another model. 1.7 GB (ViT-L/14) take a second to digest; files of a Hugging Face cache
are named by their digest already.
"""

from __future__ import annotations

import importlib.util
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.settings import TOY, ModelSettings
from curate.registry import nearest
from curate.source.model_file import file_digest

__all__ = ["CONFIG", "TOY_FILES", "embedding_length", "is_local", "read_tensors", "weights_digest", "weights_file"]

CONFIG = "open_clip_config.json"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
TOY_FILES = {kind: Path(__file__).with_name(f"toy_{kind}.safetensors") for kind in ("clip", "matcher")}
TOY_DIMENSIONS = 96
_PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")


def is_local(settings: ModelSettings) -> bool:
    """Whether the weights are a file or folder, not a tag of open_clip and not the toy."""
    looks = "/" in settings.weights or settings.weights.endswith(SUFFIXES)
    return settings.weights != TOY and (looks or Path(settings.weights).exists())


def weights_file(settings: ModelSettings) -> Path:
    """The file with the tensors; one of a tag is downloaded by open_clip. Raises ConfigError."""
    if settings.weights == TOY:
        return TOY_FILES[settings.kind]
    if not is_local(settings):
        return _by_tag(settings)
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


def _by_tag(settings: ModelSettings) -> Path:
    import open_clip

    known = open_clip.list_pretrained_tags_by_model(settings.architecture)
    if settings.weights not in known:
        words = f"its tags are {', '.join(known)}" if known else "open_clip has no weights for it"
        raise ConfigError(
            f"no weights {settings.weights!r} for architecture {settings.architecture!r}: {words}; or give a path"
        )
    try:
        source = open_clip.get_pretrained_cfg(settings.architecture, settings.weights)
        return Path(open_clip.download_pretrained(source))
    except Exception as error:
        raise ConfigError(
            f"cannot download weights {settings.weights!r} of {settings.architecture!r}: {error}; fetch the file by "
            "hand and give its path as `weights`"
        ) from error


def weights_digest(settings: ModelSettings) -> str:
    """SHA-256 (hex) of the tensors' file, and of the config beside it in a folder. Raises ConfigError."""
    path = weights_file(settings)
    config = path.parent / CONFIG if Path(settings.weights).is_dir() else None
    return _digest(path) + (f"+{_digest(config)}" if config else "")


def embedding_length(settings: ModelSettings) -> int:
    """Numbers in an embedding, told by the model's config file, without loading it. Raises ConfigError."""
    if settings.weights == TOY:
        return TOY_DIMENSIONS
    folder = Path(settings.weights)
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("models need open_clip; install the extra: pip install 'curate-vl[models]'")
    path = Path(spec.submodule_search_locations[0]) / "model_configs" / f"{settings.architecture}.json"
    path = folder / CONFIG if folder.is_dir() else path
    try:
        told = json.loads(path.read_text("utf-8"))
        return int(told.get("model_cfg", told)["embed_dim"])
    except FileNotFoundError:
        known = sorted(found.stem for found in path.parent.glob("*.json"))
        raise ConfigError(
            f"no architecture {settings.architecture!r} in open_clip; {nearest(settings.architecture, known)}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} does not say embed_dim of a model: {error}") from error


def _digest(path: Path) -> str:
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name
    try:
        about = real.stat()
        return _digest_of(real, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"cannot read the weights {path}: {error.strerror}") from error


@lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return file_digest(path)


def read_tensors(path: Path) -> dict[str, Any]:
    """Name to tensor, on the CPU; the wrappers of a trainer's checkpoint are taken off. Raises ConfigError.

    `{"state_dict": {...}}` is unwrapped, and a leading `module.` of every name is removed.
    """
    tensors = _load(path)
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not tensors or not all(hasattr(t, "dtype") for t in tensors.values()):
        raise ConfigError(f"{path} holds no named tensors; save the model's state_dict, as .safetensors")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _load(path: Path) -> Any:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"{path} is refused: it is damaged, or a pickle with more than weights in it ({first}); save the model's "
            "state_dict as .safetensors"
        ) from error
