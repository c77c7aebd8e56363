"""How instructions leave: a picture and its column of turns become a conversation, as every chat source has them.

The picture stands first in what the user says first, where LLaVA, TRL and LLaMA-Factory expect it. Columns come from a
table or from the `.json` of a sample, where Arrow's lists of structs are lists of objects; JSON in a string is taken as
well, for tables that others write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from curate.errors import ShardError
from curate.instruct.dialogue import ROLES
from curate.instruct.stage import instruction_columns
from curate.sample import Conversation, Picture, Sample, Text, Turn

__all__ = ["conversation_of", "turns_of"]


def conversation_of(sample: Sample, name: str) -> Conversation | None:
    """The conversation NAME of a sample whose `columns` have `NAME_conversation`; None where that is null.

    It has the sample's key and its columns but for `NAME_conversation`: where it came from, its kind, who made it.
    Raises ShardError where the column is missing, or holds no conversation.
    """
    column = instruction_columns(name)[0]
    if column not in sample.columns:
        raise ShardError(f"{sample.key} has no column {column}; run [instructions.{name}] first, or name another")
    said = turns_of(sample.columns[column], f"{column} of {sample.key}")
    if not said:
        return None
    picture = Picture(_text(sample.columns.get("url")), sample.image, sample.extension, "success")
    turns = [Turn(role, (Text(text),)) for role, text in said]
    first = Turn(turns[0].role, (picture, *turns[0].parts))
    kept = {key: value for key, value in sample.columns.items() if key != column}
    return Conversation(sample.key, (first, *turns[1:]), kept)


def turns_of(value: object, where: str) -> list[tuple[str, str]]:
    """Roles and texts of a value of a column `NAME_conversation`; empty for null. `where` names it in the ShardError
    that is raised for what is no conversation: turns of user and assistant, one after the other."""
    if value is None:
        return []
    turns = _parsed(value)
    if turns is None or not all(isinstance(turn, Mapping) for turn in turns):
        raise ShardError(f"{where} is no list of turns; make the column anew")
    said = [(turn.get("role"), turn.get("text")) for turn in turns]
    for number, (role, text) in enumerate(said):
        if role != ROLES[number % 2] or not isinstance(text, str):
            raise ShardError(f"{where}: turn {number} is not a text of the {ROLES[number % 2]}; make the column anew")
    if len(said) % 2:
        raise ShardError(f"{where} ends with a question; make the column anew")
    return [(str(role), str(text)) for role, text in said]


def _parsed(value: object) -> Sequence[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
