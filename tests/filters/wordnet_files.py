"""A WordNet of a dozen words, in the files and with the byte offsets that its readers expect."""

from collections.abc import Mapping, Sequence
from pathlib import Path

LICENSE = "  1 WordNet 3.0 Copyright by nobody: a toy for tests.  \n"
SYNSETS: Mapping[str, Sequence[str]] = {  # per file, in its order; the first of each has the same offset
    "noun": ("dog", "cat", "church", "man", "scout", "glass", "le", "hot_dog", "handle"),
    "verb": ("bark", "run", "glass_over"),
    "adj": ("big",),
    "adv": ("fast",),
}
SENSES: Mapping[str, Mapping[str, Sequence[str]]] = {  # words with other synsets than their own, in order of senses
    "noun": {"hound": ("dog",), "scoundrel": ("man", "dog"), "run": ("scout", "dog"), "café": ("church",)},
    "verb": {"dog": ("run",)},
    "adj": {"fast": ("big",)},
    "adv": {},
}
IRREGULAR = {"noun": "geese cat\nmen man\nmice\nless church\n", "verb": "ran run\nbarked run\n", "adj": "", "adv": ""}
TYPES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
FRAMES = {"verb": " 01 + 02 00"}


def write_wordnet(folder: Path) -> dict[str, dict[str, int]]:
    """Write the files; returns the offset of each synset by part and word."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets: dict[str, dict[str, int]] = {}
    for part, words in SYNSETS.items():
        data, own = LICENSE.encode(), offsets.setdefault(part, {})
        for word in words:
            own[word] = len(data)
            data += f"{len(data):08d} 00 {TYPES[part]} 01 {word} 0 000{FRAMES.get(part, '')} | a gloss  \n".encode()
        (folder / f"data.{part}").write_bytes(data)
        senses = {word: (word,) for word in words} | dict(SENSES[part])
        lines = [index_line(word, TYPES[part], [own[w] for w in senses[word]]) for word in sorted(senses)]
        (folder / f"index.{part}").write_text(LICENSE + "".join(lines), "utf-8")
        (folder / f"{part}.exc").write_text(IRREGULAR[part], "utf-8")
    (folder / "lexnames").write_text("00\tall\t1\n")
    (folder / "index.sense").write_text("")
    (folder / "ids.txt").write_text(f"n{offsets['noun']['dog']:08d}\n")
    return offsets


def index_line(word: str, kind: str, offsets: Sequence[int]) -> str:
    """With two kinds of pointers, which a reader passes over."""
    numbers = " ".join(f"{offset:08d}" for offset in offsets)
    return f"{word} {kind} {len(offsets)} 2 @ ~ {len(offsets)} 0 {numbers}  \n"
