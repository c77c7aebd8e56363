"""How many records of each source a stage of a hand-over takes in an epoch, for programs that read whole files.

They know no weights: what is in a file is read once, and a file may be read in part or several times over. So weights
become numbers of records, as many as leave the scarcest source whole and repeat none; a mixture of repeats is taken as
it is. A stage that mixes by token or by gradient cannot be said that way, and is left out and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curate.export._mixture import Share, mixtures
from curate.export._write_examples import Made, Output
from curate.storage import Storage

__all__ = ["Epochs", "epochs_of", "portions", "share_of"]

Epochs = Mapping[str, Mapping[str, int]]
"""By stage and source, records in an epoch."""


def epochs_of(source: Storage, records: Mapping[str, int]) -> tuple[Epochs, list[str]]:
    """The stages of the hand-over in `source`, and the names of those that cannot be said; nothing where it has none.

    `records`: how many were written of each source. Raises ConfigError for a file of stages that is broken.
    """
    made = [Made(Output("", name, "pairs"), {"kept": count}) for name, count in records.items()]
    found, unsaid = {}, []
    for stage, shares in mixtures(source, made).items():
        if shares[0].unit == "sample":
            found[stage] = _records(shares, records)
        else:
            unsaid.append(stage)
    return found, unsaid


def portions(records: int, wanted: int) -> tuple[int, int]:
    """How often the whole of so many records is read, and how many are then read once more."""
    return divmod(wanted, records)


def share_of(records: int, rest: int) -> float:
    """The share that InternVL makes `rest` records of again, by int(records * share): half a record more than they are,
    since int(49 * (1 / 49)) is 0."""
    return (rest + 0.5) / records


def _records(shares: Sequence[Share], records: Mapping[str, int]) -> dict[str, int]:
    times = {own.source: own.repeat for own in shares}
    if any(own.weight for own in shares):
        times = {own.source: own.weight / records[own.source] for own in shares}
        most = max(times.values())
        times = {name: value / most for name, value in times.items()}
    return {name: round(records[name] * value) for name, value in times.items()}
