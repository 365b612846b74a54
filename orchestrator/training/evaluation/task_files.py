"""Task files of the user's own for lm-evaluation-harness: whether they ask for code to be run.

A task file is data only as long as it names no function (`!function` imports a Python file), no
file outside its folder, no metric that is fetched as a script, and no pickled data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

PLAIN = ("str", "int", "float", "bool", "null", "seq", "map", "timestamp", "merge")
TAGS = {f"tag:yaml.org,2002:{name}" for name in PLAIN}
PICKLES = ("pandas",)  # a loader of `datasets`


def code_faults(folder: Path, metrics: set[str]) -> list[str]:
    """What the task files in a folder ask for that may run code; a sentence each.

    Args:
        metrics: names of those that are installed; any other would be fetched as a script.
    """
    waiting, faults = sorted(folder.rglob("*.yaml")), []
    for path in waiting:
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError) as error:
            faults.append(f"{path} cannot be read ({' '.join(str(error).split())[:200]})")
            continue
        for key, node in _nodes(root):
            where = f"{path}, line {node.start_mark.line + 1}"
            if node.tag not in TAGS:
                faults.append(f"{where}: {node.tag} {node.value} names code")
            elif key == "class" or (key == "hf_evaluate" and node.value != "false"):
                faults.append(f"{where}: {key} names code")
            elif key == "metric" and node.value not in metrics:
                faults.append(f"{where}: metric {node.value} is not installed, and is fetched code")
            elif key == "dataset_path" and node.value in PICKLES:
                faults.append(f"{where}: dataset_path {node.value} reads pickles, which run code")
            elif key == "include" and isinstance(node, yaml.ScalarNode):
                included = (path.parent / node.value).resolve()
                if not included.is_relative_to(folder.resolve()):
                    faults.append(f"{where}: include {node.value} lies outside of {folder}")
                elif included not in waiting:  # files of any name
                    waiting.append(included)
    return faults


def _nodes(node: yaml.Node | None, key: str = "") -> Iterator[tuple[str, yaml.Node]]:
    """Every node of a document, with the key that it stands under."""
    if node is None:
        return
    yield key, node
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _nodes(name)
            yield from _nodes(value, str(name.value))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value, key)
