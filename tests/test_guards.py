"""Guards that stand alone: each is the only thing that keeps something out, so each has a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "orchestrator").rglob("*.py"))
LOADERS = ("from_pretrained", "from_config", "SentenceTransformer")
ADAPTERS = "PeftModel"  # brings no code, and nothing to say that it does
PICKLES = ("AutoModel", "factory", "SentenceTransformer")  # what reads weights
PACKED = "gguf_file"  # another format that is no pickle


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _loads(path: Path) -> Iterator[ast.Call]:
    """The calls that make a model, a tokenizer or a configuration of a folder."""
    for node in ast.walk(_tree(path)):
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


@pytest.mark.scenario("weights", "no-foreign-code")
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


UNPICKLERS = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
CLOCKS = ("time.time()", "datetime.now(")


def _nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """All parts of a kind of this project's programs, and the file of each."""
    for path in SOURCES:
        yield from ((path.name, node) for node in ast.walk(_tree(path)) if isinstance(node, kind))


def _calls() -> Iterator[tuple[str, str, dict[str | None, str]]]:
    """File, function and named arguments of each call."""
    for file, node in _nodes(ast.Call):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        yield file, ast.unparse(node.func), given


@pytest.mark.scenario("no-pickles")
def test_nothing_here_unpickles() -> None:
    for file, node in _nodes(ast.Import | ast.ImportFrom):
        modules = {getattr(node, "module", None), *(name.name for name in node.names)}
        assert not modules & UNPICKLERS, file
    for file, function, given in _calls():
        assert given.get("allow_pickle", "False") == "False", file
        if function == "torch.load":
            assert given["weights_only"] == "True", file
        assert not function.endswith((".read_webdataset", ".read_lance")), file


@pytest.mark.scenario("limits")
def test_programs_are_given_their_arguments_one_by_one() -> None:
    for file, function, given in _calls():
        assert "shell" not in given, file
        assert function not in ("os.system", "os.popen"), file


@pytest.mark.scenario("clock-jump")
def test_no_duration_is_taken_of_a_clock_that_can_be_set() -> None:
    """Only the age of a file is, which has no other."""
    for file, node in _nodes(ast.BinOp):
        if isinstance(node.op, ast.Sub):
            text = ast.unparse(node)
            assert not any(clock in text for clock in CLOCKS) or "st_mtime" in text, file


WRITES = (
    "write_text", "write_bytes", "copyfile", "copytree", "copy2", "savefig", "write_table",
    "save_file", "save_pretrained", "open_memmap", "ParquetWriter", "new_file", "tofile",
)  # fmt: skip
FOR_WRITING = re.compile(r"[wax]b?\+?|r\+b?|rb\+")
# What write within a folder that is given to them, and appears when it is whole.
BUILDERS = {
    "data/dataset.py", "data/references.py", "data/spool.py", "models/hub.py",
    "models/node_copy.py", "models/presets.py", "models/wheels.py", "stages/encoder.py",
    "stages/gradients.py", "stages/mapped.py", "stages/near_duplicates.py", "stages/neighbours.py",
    "stages/pool.py", "stages/target_path.py", "stages/vector_files.py", "storage/artifacts.py",
    "storage/remote.py", "training/checkpoint.py", "training/evaluation/benchmarks.py",
    "training/evaluation/losses.py", "training/export.py", "training/history.py",
    "training/tokens.py",
}  # fmt: skip
# A token in a folder that goes, a picture and a sign of life likewise, and the log, of which half a
# line is no harm.
OTHERS = {"study/local_ray.py", "tracking/mirror.py", "training/heartbeat.py", "screen.py"}


def _writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    opens = name == "open" and any(FOR_WRITING.fullmatch(str(mode)) for mode in modes)
    if ast.unparse(call.func) in ("write_text", "write_table"):  # of `artifacts`
        return False
    return opens or name in WRITES or ast.unparse(call.func) in ("np.save", "torch.save")


@pytest.mark.scenario("full-disk")
def test_files_are_written_whole_or_not_at_all() -> None:
    """In a folder that is not in its place yet, or as `temporary` of `artifacts.replacing`; so a
    disk that fills is told by the one who puts it there."""
    root = Path(__file__).parents[1] / "orchestrator"
    found = set()
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Call) and _writes(node):
                target = [ast.unparse(node.func), *map(ast.unparse, node.args)]
                if not any(text.startswith("temporary") for text in target):
                    found.add(path.relative_to(root).as_posix())
    assert found == BUILDERS | OTHERS
