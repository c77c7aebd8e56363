"""Which licence a hand-over has as a whole: the one that all its sources name, or none.

A config's `licence` is free text. It is taken for a licence of the SPDX list (or of its address at Creative Commons)
where it is written like one; "as each page says" is no licence that a machine could know. Nothing is weighed: data of
two licences is under both, and the card says which source has which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["card_licence", "hub_licence", "spdx_address"]

CREATIVE = [
    f"CC-BY{kind}-{version}"
    for kind, versions in {
        "": ("2.0", "2.5", "3.0", "4.0"),
        "-SA": ("3.0", "4.0"),
        "-NC": ("2.0", "3.0", "4.0"),
        "-ND": ("4.0",),
        "-NC-ND": ("3.0", "4.0"),
        "-NC-SA": ("2.0", "3.0", "4.0"),
    }.items()
    for version in versions
]
SPDX = (
    *("CC0-1.0", *CREATIVE),
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "GPL-2.0", "GPL-3.0", "AGPL-3.0", "LGPL-3.0", "MPL-2.0"),
    *("CDLA-Sharing-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "C-UDA-1.0"),
    *("ODC-By-1.0", "ODbL-1.0", "PDDL-1.0", "etalab-2.0", "Unlicense"),
)
"""Licences that data has and that the hub of Hugging Face knows (its list "Licenses", 2025)."""
OTHERWISE = {"ODC-By-1.0": "odc-by", "ODbL-1.0": "odbl", "PDDL-1.0": "pddl", "C-UDA-1.0": "c-uda"}
"""Those that the hub names in another way than in small letters."""
BY_NAME = {name.lower(): name for name in SPDX} | {hub: name for name, hub in OTHERWISE.items()}
ADDRESS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses/(by(?:-nc)?(?:-sa|-nd)?)|publicdomain/(zero))/([1-4]\.[05])"
    r"(?:/(?:deed(?:\.[a-z_]{2,7})?|legalcode)?)?"
)


def hub_licence(licence: str) -> str:
    """The hub's name of a licence, "" for one that it does not know."""
    name = _spdx(licence)
    return OTHERWISE.get(name, name.lower())


def spdx_address(licence: str) -> str:
    """The address of a licence in the SPDX list, "" for one that is not there."""
    name = _spdx(licence)
    return f"https://spdx.org/licenses/{name}" if name else ""


def card_licence(licences: Iterable[str]) -> Mapping[str, str]:
    """The entries `license` and `license_name` of a card for the licences of all sources ("" where none is told)."""
    every = {" ".join(own.split()) for own in licences}
    known = {hub_licence(own) for own in every}
    if len(known) == 1 and "" not in known:
        return {"license": known.pop()}
    if every == {""}:
        return {"license": "unknown"}
    only = re.sub(r"[^0-9a-z.]+", "-", every.pop().lower()).strip("-.")[:60] if len(every) == 1 else "several"
    return {"license": "other", "license_name": only or "as-told-by-its-source"}


def _spdx(licence: str) -> str:
    words = licence.strip()
    found = ADDRESS.fullmatch(words.lower())
    if found:
        words = f"CC0-{found[3]}" if found[2] else f"CC-{found[1]}-{found[3]}"
    return BY_NAME.get(re.sub(r"[\s_]+", "-", words).lower(), "")
