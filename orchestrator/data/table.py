"""Instances as the rows of an Arrow table, which costs a process that passes them on next to
nothing: only who looks at the text of one makes an object of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.data.instance import Instance, opening_text

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
WORDS = pa.list_(pa.string())
COLUMNS = {
    "id": pa.string(),
    "task": pa.string(),
    "messages": pa.list_(MESSAGE),
    "unlearned": pa.list_(pa.int32()),  # positions in messages of answers without loss
    "notes": WORDS,
    "unread": WORDS,
    "metadata": WORDS,
    "references": WORDS,
}


def table_of(instances: Sequence[Instance], **more: pa.Array) -> pa.Table:
    """Makes a table of instances, with `COLUMNS` and more."""
    said = list(chain.from_iterable(instance.messages for instance in instances))
    texts = [
        pa.array([message[key] for message in said], pa.string()) for key in ("role", "content")
    ]
    ends = accumulate((len(instance.messages) for instance in instances), initial=0)
    columns = {
        name: pa.array([getattr(instance, name) for instance in instances], kind)
        for name, kind in COLUMNS.items()
        if name != "messages"
    }
    columns["messages"] = pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.StructArray.from_arrays(texts, fields=list(MESSAGE))
    )
    return pa.table({name: columns[name] for name in COLUMNS} | more)


def instances_of(table: pa.Table) -> list[Instance]:
    """Makes the instances of a table again."""
    made = []
    for row in table.select(list(COLUMNS)).to_pylist():
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        made.append(Instance(**values))
    return made


def first_prompts(table: pa.Table) -> list[str]:
    """Returns what stands before the first answer of each instance, which has at least one."""
    messages = table["messages"]
    first, second = (pc.list_element(messages, place) for place in (0, 1))
    prompts: list[str] = pc.struct_field(first, "content").to_pylist()
    # Only where more stands before the answer, it is made Python objects.
    roles = (pc.struct_field(message, "role").to_numpy() for message in (first, second))
    users, assistants = (
        role == name for role, name in zip(roles, ("user", "assistant"), strict=True)
    )
    for place in np.flatnonzero(~(users & assistants)):
        prompts[place] = opening_text(messages[int(place)].as_py())
    return prompts


def word_counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Counts the words of a column of them, or of lists of them."""
    words: Any = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if not len(words):
        return {}
    return {each["values"]: each["counts"] for each in pc.value_counts(words).to_pylist()}
