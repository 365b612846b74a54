"""Guards that stand alone: each is the only thing that keeps something out, so each has a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "orchestrator").rglob("*.py"))
LOADERS = ("from_pretrained", "from_config", "SentenceTransformer")
ADAPTERS = "PeftModel"  # brings no code, and nothing to say that it does
PICKLES = ("AutoModel", "factory", "SentenceTransformer")  # what reads weights
PACKED = "gguf_file"  # another format that is no pickle


def _loads(path: Path) -> Iterator[ast.Call]:
    """The calls that make a model, a tokenizer or a configuration of a folder."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            named = ast.unparse(node.func)
            if named.rpartition(".")[2] in LOADERS and not named.startswith(ADAPTERS):
                yield node


LOADS = [
    pytest.param(call, id=f"{path.name}:{call.lineno}")
    for path in SOURCES
    for call in _loads(path)
    if call.args  # of modules that were loaded before: nothing is read
]


def test_some_calls_load_models() -> None:
    assert len(LOADS) >= 15


@pytest.mark.parametrize("call", LOADS)
def test_code_that_comes_with_a_model_is_refused_wherever_one_is_loaded(call: ast.Call) -> None:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert given.get("trust_remote_code") == "False"
    reads = not ast.unparse(call.func).endswith("from_config")
    if reads and ast.unparse(call.func).startswith(PICKLES) and PACKED not in given:
        told = given.get("use_safetensors", "") == "True" or "WEIGHTS" in given.get(
            "model_kwargs", ""
        )
        assert told, "or weights may be pickles"
