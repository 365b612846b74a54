"""Each mistake ends in one sentence that says what to type, and never in a traceback.

To add one: a row of `MISTAKES`, with a function that makes it in the folder of a good study.
"""

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig, AutoTokenizer

from orchestrator import models
from orchestrator.cli import main
from orchestrator.models.presets import byte_tokenizer
from orchestrator.storage.lfs import SIGNATURE

ROWS = [
    {"id": f"i{n}", "task": f"t{n % 2}", "prompt": f"question {n}", "completion": "yes"}
    for n in range(8)
]
QUERIES = [
    {**row, "id": f"q{n}", "task": "q", "prompt": f"other {n}"} for n, row in enumerate(ROWS)
]
STUDY = {
    "study": "small",
    "data": {
        "pool": {"reader": "jsonl", "path": "train.jsonl"},
        "query": {"reader": "jsonl", "path": "test.jsonl"},
    },
    "embedding": {"model": "random:tiny-bert"},
    "arrangement": {"arm": "min", "rows": 4},
    "model": {"name": "random:tiny-llama"},
    "training": {"global_batch": 2},
}
POINTER = SIGNATURE + b"v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


@dataclass(frozen=True)
class Mistake:
    """What somebody did, and what is said.

    Attributes:
        name: of the test.
        said: a part of the sentence.
        make: called with the folder of the study, and with a Llama's folder.
        options: of the command.
        commands: that tell it.
        environment: variables that are set.
    """

    name: str
    said: str
    make: object = lambda folder, llama: None
    options: tuple[str, ...] = ()
    commands: tuple[str, ...] = ("run", "estimate")
    environment: dict[str, str] = field(default_factory=dict)


def copied(spoil):
    """A model folder ./model, a good one but for what `spoil` does to it."""

    def make(folder, llama):
        shutil.copytree(llama, folder / "model")
        spoil(folder / "model")

    return make


def architecture(kind, **settings):
    """A model folder ./model of another architecture."""

    def spoil(folder):
        AutoConfig.for_model(kind, vocab_size=259, **settings).save_pretrained(folder)
        byte_tokenizer(4096).save_pretrained(folder)

    return copied(spoil)


def file(name, data):
    return lambda folder, llama: (folder / name).write_bytes(data)


def enlarged(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    tokenizer.save_pretrained(folder)


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


MODEL = ("--set", "model.name=./model")
GPT2 = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
MISTAKES = [
    # Files that are not what their name says.
    Mistake("a pointer for data", "train.jsonl is a Git LFS pointer", file("train.jsonl", POINTER),
            commands=("run", "arrange")),
    Mistake("an archive for data", "train.jsonl is a ZIP archive: unpack it",
            file("train.jsonl", b"PK\x03\x04" + bytes(99)), commands=("run", "arrange")),
    Mistake("a table of commas", "reader: hf, name: FOLDER",
            file("train.jsonl", b"id,prompt,completion\n1,a,b\n"), commands=("run", "arrange")),
    Mistake("half an archive", "cannot be read after byte",
            file("train.jsonl", b"\x1f\x8b\x08\x00" + bytes(20)), commands=("run", "arrange")),
    Mistake("half an array", "inside the record that starts at byte",
            file("train.jsonl", json.dumps(ROWS).encode()[:-9]), commands=("run", "arrange")),
    # Models that cannot work.
    Mistake("an encoder-decoder", "is T5ForConditionalGeneration (t5), an encoder-decoder",
            architecture("t5", architectures=["T5ForConditionalGeneration"]), MODEL),
    Mistake("an encoder", "an encoder, which sees the tokens", architecture("bert", **BERT), MODEL),
    Mistake("an unknown architecture", "config.json: The checkpoint you are trying to load",
            copied(lambda m: (m / "config.json").write_text('{"model_type": "nosuch"}')), MODEL),
    Mistake("positions", "has 64 positions (max_position_embeddings): set model.max_length to 64",
            architecture("gpt2", **GPT2), MODEL),
    Mistake("positions of a preset", "set model.max_length to 2048 or less",
            options=("--set", "model.max_length=4096")),
    Mistake("ids", "gives ids up to 259 ('<tool>'), the model has embeddings for 259",
            copied(enlarged), MODEL),
    Mistake("an adapter", "has no linear layer c_attn. Type all-linear, or some of down_proj",
            options=("--set", "model.adapter={type: lora, targets: [c_attn]}")),
    Mistake("a pointer for weights", "model.safetensors is a Git LFS pointer",
            copied(lambda m: (m / "model.safetensors").write_bytes(POINTER)), MODEL),
    Mistake("a pointer for a tokenizer", "tokenizer.json is a Git LFS pointer",
            copied(lambda m: (m / "tokenizer.json").write_bytes(POINTER)), MODEL),
    Mistake("half of the weights", "model.safetensors is no whole safetensors file",
            copied(cut), MODEL),
    Mistake("a broken tokenizer", "the tokenizer in",
            copied(lambda m: (m / "tokenizer.json").write_text('{"model": ')), MODEL),
    Mistake("no vocabulary", "save_pretrained(FOLDER)",
            copied(lambda m: (m / "tokenizer.json").unlink()), MODEL),
    Mistake("an embedder's pointer", "embedding.model: the model folder ./model: model.safetensors",
            copied(lambda m: (m / "model.safetensors").write_bytes(POINTER)),
            ("--set", "embedding.model=./model"), ("run", "estimate", "arrange")),
    # The place.
    Mistake("a file for the output", "afile cannot be written (is a file): give another with --out",
            file("afile", b""), ("--set", "output=afile"), ("run", "estimate", "arrange")),
    Mistake("a file for the store", "afile cannot be written (is a file): give another with --set",
            file("afile", b""), ("--set", "store=afile"), ("run", "estimate", "arrange")),
    Mistake("a folder of the kernel", "/proc/x cannot be made",
            options=("--set", "output=/proc/x"), commands=("run", "estimate", "arrange")),
    Mistake("a long folder for Ray", "set RAY_TMPDIR to a short folder of your own",
            environment={"RAY_TMPDIR": "/tmp/" + "x" * 90},
            commands=("run", "estimate", "arrange")),
    Mistake("a module on the path", "torch.py would be imported in place of the library torch",
            file("torch.py", b""), ("--set", "seed=1"), environment={"RAY_ADDRESS": "auto"}),
    Mistake("a file for Ray", "set RAY_TMPDIR to a short folder of your own",
            file("ray", b""), environment={"RAY_TMPDIR": "."}),

    Mistake("benchmarks of a folder that is none", "nowhere is no folder",
            options=("--set", "evaluation.benchmarks.tasks=[quiz]", "--set",
                     "training.save_model=true", "--set", "evaluation.benchmarks.path=nowhere")),

    # Other models.
    Mistake("a study that is nowhere", "nowhere does not exist: give the path of a study",
            options=("--on", "nowhere"), commands=("evaluate",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return models.resolve("random:tiny-llama", tmp_path_factory.mktemp("store"))


@pytest.mark.scenario("read-only")
@pytest.mark.parametrize(
    ("mistake", "command"),
    [
        pytest.param(each, command, id=f"{each.name} - {command}")
        for each in MISTAKES
        for command in each.commands
    ],
)
def test_a_mistake_is_a_sentence(mistake, command, llama, tmp_path, monkeypatch, capfd):
    for name, rows in (("train.jsonl", ROWS), ("test.jsonl", QUERIES)):
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    mistake.make(tmp_path, llama)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name, value in mistake.environment.items():
        monkeypatch.setenv(name, value)
    out = ["--out", "plans"] if command == "arrange" else []
    monkeypatch.setattr(
        sys, "argv", ["orchestrator", command, "study.yaml", *out, *mistake.options]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    printed = "".join(capfd.readouterr())
    assert ended.value.code == 2, printed
    assert mistake.said in printed
    assert "Traceback" not in printed
    for log in Path(tmp_path).rglob("*.log"):
        assert "Traceback" not in log.read_text()
