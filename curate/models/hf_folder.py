"""Models as transformers saves them: a folder that a stranger made, read as data and never as code.

transformers fills what a folder lacks with random numbers and drops what it has besides, both with a warning at most; a
config can name another model, a file elsewhere, a kernel or a class on the hub, which it then loads. Here each of those
is an error that says what to change. Code that comes with a model is never run, pickles are never read, and nothing is
asked of the network once a model is on this machine. The shapes in the headers of the files are held against the
architecture before anything is loaded (.1 s for BLIP), so that a folder whose config and weights do not go
together takes neither the time nor the memory.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.hf_config import CONFIG, require_local, settings_json, told_config
from curate.models.hf_headers import Header, headers, not_real
from curate.models.memory import is_memory
from curate.models.model_files import content_digest

__all__ = [
    "folder_digest",
    "knock",
    "load_config",
    "load_image_processor",
    "load_model",
    "load_processor",
    "load_tokenizer",
    "model_folder",
    "require_model_files",
]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
"""What is fetched of a model on the hub: settings, vocabularies, templates of chats, weights. No pickle, no code."""
ELSEWHERE = ("*/*", "consolidated*", "adapter_*")
"""Not fetched: folders in the folder, and weights in a second layout."""
VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
ROOM = 1.5
"""An architecture may have this many times the numbers of its file, and not more: the rest would be random."""
KNOCK_S = 10.0
"""How long to wait for the hub. Its own client tries 12 times, in 46 s, where there is no network."""

_quiet = threading.Lock()


def model_folder(weights: str, revision: str = "") -> Path:
    """The folder of a model: the one at that path, or that of an id such as `Salesforce/blip-itm-base-coco` on the
    Hugging Face hub, fetched once. Raises ConfigError."""
    if weights and Path(weights).is_dir():
        if revision:
            raise ConfigError(f"revision = {revision!r} is for an id of the hub, and {weights} is a folder: remove it")
        return Path(weights)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", weights):
        raise ConfigError(f"weights = {weights!r} is no folder here, and no id of the hub such as 'owner/model'")
    return _from_hub(weights, revision)


@lru_cache(maxsize=64)
def _from_hub(name: str, revision: str) -> Path:
    """The folder in the hub's cache; only what is not whole there is asked of the network."""
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"allow_patterns": list(FILES), "ignore_patterns": list(ELSEWHERE)}
    wanted["revision"] = revision or None
    try:
        cached = Path(snapshot_download(name, local_files_only=True, **wanted))
        if _is_whole(cached):
            return cached
    except Exception:  # noqa: S110, BLE001 - it is not there
        pass
    try:
        knock()
        return Path(snapshot_download(name, **wanted))
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        at = f" at revision {revision!r}" if revision else ""
        raise ConfigError(
            f"cannot download the model {name!r}{at}: {first or type(error).__name__}; fetch it by hand and give the "
            "path of its folder as `weights`"
        ) from error


def knock() -> None:
    """Raise at once what keeps the hub from answering."""
    from huggingface_hub import constants, get_session

    if not constants.HF_HUB_OFFLINE:
        get_session().head(constants.ENDPOINT, timeout=KNOCK_S)


def _is_whole(folder: Path) -> bool:
    """Whether a download was not broken off: the weights come last, being the largest."""
    try:
        _weights(folder)
        return (folder / CONFIG).is_file()
    except ConfigError:
        return False


def folder_digest(path: Path) -> str:
    """16 hex digits of all that transformers may read of a folder: settings, vocabularies, templates, weights; by what
    is in them. 1 s for 1.8 GB, once per file; files of the hub's cache are named by their digest. Raises ConfigError.
    """
    weights = {file.name for file in _weights(path)}
    names = {file.name for pattern in FILES[:-1] for file in path.glob(pattern) if file.is_file()}
    return fingerprint(["transformers", 1, [[name, content_digest(path / name)] for name in sorted(names | weights)]])


def _weights(folder: Path) -> list[Path]:
    """The files with the tensors, those that transformers takes. Raises ConfigError for what is missing."""
    if any(re.fullmatch(r"shard-\d{5}-model-.*\.safetensors", file.name) for file in folder.glob("shard-*")):
        raise ConfigError(f"{folder} is the checkpoint of a distributed training; save the model by save_pretrained")
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        words = "; weights in a pickle are not read: save them with safe_serialization" if pickled else ""
        raise ConfigError(f"{folder} has no {WEIGHTS} and no {INDEX}{words}")
    files = sorted({str(name) for name in _placed(folder).values()})
    odd = [name for name in files if Path(name).name != name or not name.endswith(".safetensors")]
    if odd or not files:
        raise ConfigError(f"{folder / INDEX} names {odd[0] if odd else 'no file'}: it is broken; fetch it anew")
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        raise ConfigError(f"{folder} lacks {len(absent)} of {len(files)} files of its index, such as {absent[0]}")
    return [folder / name for name in files]


def _placed(folder: Path) -> Mapping[str, str]:
    found = settings_json(folder / INDEX).get("weight_map")
    if not isinstance(found, dict):
        raise ConfigError(f"{folder / INDEX} has no weight_map; fetch it anew")
    return found


def load_config(path: Path) -> Any:
    """transformers' config of a folder. Raises ConfigError, also for a type of model that it does not know."""
    from transformers import CONFIG_MAPPING, AutoConfig

    require_local(path)
    told = told_config(path)
    if told["model_type"] not in CONFIG_MAPPING:
        own = "brings code of its own, which is never run" if told.get("auto_map") else "is not known to transformers"
        raise ConfigError(
            f"{path} is a model of type {told['model_type']!r}, which {own}; name one that transformers has itself"
        )
    return _loaded(AutoConfig, path, "settings of a model")


def load_tokenizer(path: Path) -> Any:
    """Its tokenizer. Raises ConfigError."""
    from transformers import AutoTokenizer

    _require_vocabulary(path)
    return _loaded(AutoTokenizer, path, "tokenizer")


def _require_vocabulary(path: Path) -> None:
    require_local(path)
    if not any((path / name).is_file() for name in VOCABULARIES):
        raise ConfigError(f"{path} has no vocabulary, such as {VOCABULARIES[0]} or {VOCABULARIES[1]}")


def load_image_processor(path: Path) -> Any:
    """How its pictures are made ready, by Pillow: torchvision's resize gives other pixels. Raises ConfigError."""
    from transformers import AutoImageProcessor

    require_local(path)
    return _loaded(AutoImageProcessor, path, "preprocessing of pictures", backend="pil")


def load_processor(path: Path) -> Any:
    """Its tokenizer and preprocessing in one, by Pillow. Raises ConfigError."""
    from transformers import AutoProcessor

    _require_vocabulary(path)
    return _loaded(AutoProcessor, path, "processor", backend="pil")


def _loaded(kind: Any, path: Path, what: str, **options: Any) -> Any:
    """What an Auto class of transformers reads of a folder."""
    try:
        with _silence():
            return kind.from_pretrained(str(path.absolute()), local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:
        if is_memory(error):
            raise
        raise ConfigError(f"{path} has no {what} that transformers can read: {_first_line(error)}") from error


def load_model(
    path: Path,
    cls_name: str,
    *,
    may_lack: Sequence[str] = (),
    may_have: Sequence[str] = (),
    attention: str | None = None,
    dtype: Any = None,
) -> Any:
    """The model of class `cls_name` of transformers (an Auto class too), in eval mode, on the CPU, in float32 unless
    `dtype` says otherwise. `may_lack`, `may_have`: patterns (`queue.*`) of tensors that the file may lack, and are
    random then, or have besides; tensors that share their memory with another need not be named. `attention`: `eager`
    or `sdpa`, else what transformers prefers. Raises ConfigError for what does not fit and for values that are not
    finite.
    """
    import torch

    require_model_files(path, (), cls_name, may_lack=may_lack, may_have=may_have, vocabulary=False)
    try:
        with _silence():
            model, found = _class(cls_name).from_pretrained(
                str(path.absolute()),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype or torch.float32,
                attn_implementation=attention,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:
        if is_memory(error):
            raise
        raise ConfigError(f"{path} cannot be loaded as {cls_name}: {_first_line(error)}") from error
    _require_fit(path, cls_name, found, may_lack, may_have)
    broken = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ConfigError(f"{path} is broken: {_some(broken)} with values that are not finite; save or fetch it anew")
    return model.eval()


def require_model_files(
    path: Path,
    model_types: Collection[str],
    cls_name: str = "",
    *,
    may_lack: Sequence[str] = (),
    may_have: Sequence[str] = (),
    vocabulary: bool = True,
) -> None:
    """Raise ConfigError unless the folder holds a whole model of one of these types (any, where none is named), with a
    vocabulary, whose tensors are those of class `cls_name` by name and shape. Reads the headers of the weights alone.
    """
    found = told_config(path)["model_type"]
    if model_types and found not in model_types:
        raise ConfigError(f"{path} is a model of type {found!r}; one of {', '.join(sorted(model_types))} is needed")
    config = load_config(path)
    if vocabulary:
        _require_vocabulary(path)
    told = _headers(path)
    if cls_name:
        _require_shapes(path, cls_name, config, told, (tuple(may_lack), tuple(may_have)))


def _headers(path: Path) -> dict[str, Header]:
    """Of every tensor. Raises ConfigError for a file that is damaged or cut off, and for one that lacks some."""
    found = headers(_weights(path))
    lost = [] if (path / WEIGHTS).is_file() else sorted(set(_placed(path)) - set(found))
    if lost:
        raise ConfigError(f"{path} lacks {_some(lost)} that its index names; fetch it anew")
    return found


def _require_shapes(
    path: Path, cls_name: str, config: Any, told: Mapping[str, Header], spared: tuple[Sequence[str], ...]
) -> None:
    """Has transformers load tensors of these shapes that take no memory, which knows the names of older versions."""
    import torch

    kind = _class(cls_name)
    try:
        with _silence():
            with torch.device("meta"):
                built = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
            wanted = sum(parameter.numel() for parameter in built.parameters())
            there = sum(torch.Size(header.shape).numel() for header in told.values())
            if wanted > ROOM * there:
                raise ConfigError(
                    f"the config of {path} asks for {wanted:,} numbers as {cls_name}, and its file has {there:,}: "
                    "they do not go together"
                )
            if odd := not_real(told, built):
                raise ConfigError(f"{path} has {_some(odd)} of whole or 8-bit numbers; name the model it was made from")
            empty = {name: torch.zeros(()).expand(header.shape) for name, header in told.items()}
            _, found = type(built).from_pretrained(
                None,
                config=config,
                state_dict=empty,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path} is no {cls_name}: {_first_line(error)}") from error
    _require_fit(path, cls_name, found, *spared)


def _class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _require_fit(
    path: Path, cls_name: str, found: Mapping[str, Any], may_lack: Sequence[str], may_have: Sequence[str]
) -> None:
    missing = _without(found["missing_keys"], may_lack)
    extra = _without(found["unexpected_keys"], may_have)
    shaped = sorted(str(key[0]) for key in found["mismatched_keys"])
    if not (missing or extra or shaped):
        return
    words = [f"lacks {_some(missing)}"] * bool(missing)
    words += [f"has {_some(extra)} besides"] * bool(extra)
    words += [f"has {_some(shaped)} of another shape"] * bool(shaped)
    told = told_config(path)
    named = told.get("architectures")
    saved = ", ".join(map(str, named)) if named and isinstance(named, list) else "no class"
    own = " and brings code of its own, which is never run" if told.get("auto_map") else ""
    raise ConfigError(
        f"the weights in {path} are not those of {cls_name}: the folder {' and '.join(words)}; its config names "
        f"{saved}{own}"
    )


def _without(names: Collection[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns))


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} tensors ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """transformers without its bars and warnings: what they say is checked here. One thread at a time."""
    from transformers.utils import logging

    with _quiet:
        loud, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if loud:
                logging.enable_progress_bar()
