"""The two programs that are compared, each as a command line with the same work and its best settings.

The same for both: list, resize mode, JPEG quality 95, rows per shard, two workers, SHA-256 and EXIF of each picture, a
tar and Parquet tables. img2dataset has 32 threads a worker (64 bring nothing on loopback; the bench shows it). Ours
obeys robots.txt, which img2dataset does not ask for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers import environment

__all__ = ["Contender", "Curate", "Img2dataset", "Work"]

PER_SHARD = 500
WORKERS = 2


@dataclass(frozen=True)
class Work:
    """A list of URLs to be turned into shards under `out`; `trust` is the file of certificates to trust."""

    table: Path
    out: Path
    resize_mode: str
    trust: Path


@dataclass(frozen=True)
class Contender:
    """A program, as a command with its environment, and how to read what it says of its success."""

    name: str

    def command(self, work: Work) -> list[str]:
        raise NotImplementedError

    def environment(self, work: Work) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True)
class Img2dataset(Contender):
    """img2dataset 1.47.0 from `.venv-peers`."""

    name: str = "img2dataset"
    threads: int = 32

    def command(self, work: Work) -> list[str]:
        options = {
            "url_list": work.table,
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption",
            "output_folder": work.out,
            "output_format": "webdataset",
            "processes_count": WORKERS,
            "thread_count": self.threads,
            "number_sample_per_shard": PER_SHARD,
            "image_size": 256,
            "resize_mode": work.resize_mode,
            "encode_quality": 95,
        }
        program = environment().with_name("img2dataset")
        return [str(program), *(f"--{name}={value}" for name, value in options.items())]

    def environment(self, work: Work) -> Mapping[str, str]:
        return {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled", "SSL_CERT_FILE": str(work.trust)}


@dataclass(frozen=True)
class Curate(Contender):
    """`curate run` of this checkout; `decode_factor` is `least_decode_factor`."""

    name: str = "curate"
    decode_factor: float = 2.0

    def command(self, work: Work) -> list[str]:
        config = work.table.with_name(f"{work.out.name}.toml")
        config.write_text(_toml(self._sections(work)))
        program = Path(sys.executable).with_name("curate")
        return [str(program), "run", str(config), "--out", str(work.out), "--on", "local"]

    def _sections(self, work: Work) -> dict[str, dict[str, object]]:
        return {
            "source": {"kind": "url_table", "path": str(work.table), "caption_column": "caption"},
            "shards": {"samples": PER_SHARD},
            "fetch": {
                "contact": "https://example.org/bench",
                "concurrency": 64,
                "per_host_concurrency": 32,
                "per_host_rate": 0.0,
                "allow_addresses": ["127.0.0.0/8"],
                "ca_file": str(work.trust),
            },
            "image": {
                "size_px": 256,
                "resize_mode": work.resize_mode,
                "quality": 95,
                "least_decode_factor": self.decode_factor,
            },
            "run": {"workers": WORKERS},
        }


def _toml(sections: Mapping[str, Mapping[str, object]]) -> str:
    """TOML of flat tables: JSON's literals of these types are TOML's too."""
    lines = ['pipeline = "image_text_pairs"']
    for name, values in sections.items():
        lines += [f"\n[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
