"""An order for another trainer: its rows in turn, and the settings that make it keep them."""

import json
import re
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.core.plan import digests
from orchestrator.data import readers
from orchestrator.data.readers.hf import HubSource
from orchestrator.errors import DataError
from orchestrator.stages.exports import FOLDERS, FORMATS, LINES, write_order
from orchestrator.storage.artifacts import Artifact
from tests.stages.orders import ROWS, conversation, make_order, planned_ids

SINGLE = [conversation((f"question {at}", f"answer {at}", True)) for at in range(5)]
EARLIER = ("earlier", "reply", False)
LAST = [conversation(EARLIER, (f"question {at}", f"answer {at}", True)) for at in range(5)]
ALL = [conversation(("one", "two", True), (f"q {at}", f"a {at}", True)) for at in range(5)]
MIXED = [*LAST[:4], ALL[4]]
TRAINERS = sorted(set(FOLDERS) - {"hf"})


def written(folder):
    """Lines and settings of an export."""
    lines = [json.loads(line) for line in (folder / "train.jsonl").open(encoding="utf-8")]
    return lines, yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", TRAINERS)
def test_the_rows_stand_in_the_order_of_the_plan_with_their_messages(tmp_path, form):
    order = make_order(tmp_path, SINGLE)
    folder = write_order(form, order)
    lines, _ = written(folder)
    assert folder == tmp_path / form
    assert [line["id"] for line in lines] == planned_ids(order) == [f"r{row}" for row in ROWS]
    for line, row in zip(lines, ROWS, strict=True):
        messages = line.get("messages") or line["prompt"] + line["completion"]
        assert [(each["role"], each["content"]) for each in messages] == [
            ("user", f"question {row}"), ("assistant", f"answer {row}")
        ]  # fmt: skip


# What each trainer's documentation gives for rows in turn: one pass, no packing, no row left out.
KEPT = {
    "llama-factory": {
        "disable_shuffling": True, "streaming": False, "packing": False, "val_size": 0,
        "dataloader_drop_last": False, "num_train_epochs": 1, "cutoff_len": 1024,
    },
    "axolotl": {
        "shuffle_merged_datasets": False, "curriculum_sampling": True, "sample_packing": False,
        "val_set_size": 0, "dataloader_drop_last": False, "num_epochs": 1, "sequence_len": 1024,
        "excess_length_strategy": "truncate",
    },
    "trl": {
        "train_sampling_strategy": "sequential", "shuffle_dataset": False, "packing": False,
        "dataloader_drop_last": False, "num_train_epochs": 1, "max_length": 1024,
    },
    "nemo": {
        "packed_sequence": {"packed_sequence_size": 0},
        "step_scheduler": {"global_batch_size": 2, "num_epochs": 1},
    },
}  # fmt: skip


@pytest.mark.parametrize("form", TRAINERS)
def test_the_settings_keep_the_order_and_say_what_they_cannot(tmp_path, form):
    folder = write_order(form, make_order(tmp_path, SINGLE))
    _, settings = written(folder)
    assert settings.items() >= KEPT[form].items()
    comment = re.match("(# .*\n)+", (folder / "settings.yaml").read_text())
    said = comment[0].replace("\n# ", " ")
    assert re.search(r"after its version \d+\.\d+\.\d+", said)
    assert "They cannot hold" in said
    assert "of 5 rows; its study feeds 2 a step" in said


def test_the_settings_name_the_file_that_lies_beside_them(tmp_path):
    order = make_order(tmp_path, SINGLE)
    settings = {form: written(write_order(form, order))[1] for form in TRAINERS}
    described = json.loads((tmp_path / "llama-factory" / "dataset_info.json").read_text())
    named = described[settings["llama-factory"]["dataset"]]
    assert named["file_name"] == "train.jsonl"
    assert named["tags"]["assistant_tag"] == "assistant"
    assert settings["axolotl"]["datasets"][0]["path"] == "train.jsonl"
    assert settings["trl"]["datasets"][0]["data_files"] == "train.jsonl"
    assert settings["nemo"]["dataset"]["path_or_dataset_id"] == "train.jsonl"
    assert settings["nemo"]["dataloader"]["shuffle"] is False


def test_axolotl_is_told_of_each_answer_whether_it_is_learned(tmp_path):
    lines, settings = written(write_order("axolotl", make_order(tmp_path, MIXED)))
    key = settings["datasets"][0]["message_field_training"]
    marks = {line["id"]: [message.get(key) for message in line["messages"]] for line in lines}
    assert marks["r0"] == [None, False, None, True]
    assert marks["r4"] == [None, True, None, True]


def test_trainers_without_marks_learn_the_last_answers_where_these_alone_carry_loss(tmp_path):
    order = make_order(tmp_path, LAST)
    found = {form: written(write_order(form, order)) for form in TRAINERS}
    assert found["llama-factory"][1]["mask_history"] is True
    assert found["nemo"][1]["dataset"]["mask_history"] is True
    lines, settings = found["trl"]
    assert settings["completion_only_loss"] is True
    assert [len(line["prompt"]) for line in lines] == [3] * 5
    assert [line["completion"][0]["content"] for line in lines] == [f"answer {row}" for row in ROWS]


def test_trainers_without_marks_learn_all_answers_where_all_carry_loss(tmp_path):
    order = make_order(tmp_path, ALL)
    found = {form: written(write_order(form, order)) for form in TRAINERS}
    assert found["llama-factory"][1]["mask_history"] is False
    assert found["nemo"][1]["dataset"]["mask_history"] is False
    lines, settings = found["trl"]
    assert settings["assistant_only_loss"] is True
    assert [len(line["messages"]) for line in lines] == [4] * 5


@pytest.mark.parametrize("form", ["llama-factory", "nemo", "trl"])
def test_answers_without_loss_that_a_trainer_cannot_be_told_of_are_refused(tmp_path, form):
    with pytest.raises(DataError) as refused:
        write_order(form, make_order(tmp_path, MIXED))
    assert "has no mark for an answer without loss" in str(refused.value)
    assert "message 2 of 'r0' does not" in str(refused.value)
    assert "not so in 'r4'): give --format axolotl" in str(refused.value)
    assert not (tmp_path / form).exists()


def with_roles(tmp_path, *roles):
    """An order whose first row is of other roles."""
    order = make_order(tmp_path, SINGLE)
    messages = [{"role": role, "content": f"said {at}"} for at, role in enumerate(roles)]
    calls = [at for at, role in enumerate(roles[:-1]) if role == "assistant"]
    order.rows[0] = order.rows[0]._replace(messages=messages, unlearned=calls)
    return order


CALL = ("user", "assistant", "tool", "assistant")


@pytest.mark.parametrize(
    ("form", "roles"),
    [
        ("llama-factory", ("system", *CALL)), ("nemo", ("system", "user", "system", "assistant")),
        *((form, ("user", "system", *CALL[1:3], *CALL[2:])) for form in ("axolotl", "trl", "hf")),
    ],
)  # fmt: skip
def test_system_and_tool_turns_are_passed_on(tmp_path, form, roles):
    folder = write_order(form, with_roles(tmp_path, *roles))
    if form == "hf":
        first = pq.read_table(folder / "train.parquet").slice(0, 1).to_pylist()[0]
    else:
        first = written(folder)[0][0]
    messages = first.get("messages") or first["prompt"] + first["completion"]
    assert [message["role"] for message in messages] == list(roles)


@pytest.mark.parametrize(
    ("form", "roles", "said"),
    [
        ("llama-factory", ("user", "system", "assistant"), "leaves out a row whose roles"),
        ("llama-factory", (*CALL[:3], *CALL[2:]), "leaves out a row whose roles"),
        ("nemo", CALL, "asks tool messages for the id of their call"),
    ],
)
def test_turns_that_a_trainer_would_stumble_over_are_refused(tmp_path, form, roles, said):
    with pytest.raises(DataError, match=f"{said}.* as those of 'r4': give --format axolotl"):
        write_order(form, with_roles(tmp_path, *roles))
    assert not (tmp_path / form).exists()


@pytest.mark.parametrize("form", TRAINERS)
def test_a_line_is_a_line_to_whatever_reads_it(tmp_path, form):
    """Also to `str.splitlines`, which ends lines at U+0085, U+2028 and U+2029."""
    odd = [conversation(("a\u2028b\u0085c\u2029d\nzwölf", "日本", True)), *SINGLE[1:]]
    text = (write_order(form, make_order(tmp_path, odd)) / "train.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["id"] for line in lines] == [f"r{row}" for row in ROWS]
    (held,) = (line for line in lines if line["id"] == "r0")
    messages = held.get("messages") or held["prompt"] + held["completion"]
    assert messages[0]["content"] == "a\u2028b\u0085c\u2029d\nzwölf"


def test_a_folder_for_datasets_is_read_in_order_and_back_as_it_was(tmp_path):
    order = make_order(tmp_path, MIXED)
    folder = write_order("hf", order)
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"][:] == planned_ids(order)
    again = HubSource(reader="hf", name=str(folder), max_turns=9, fields={"messages": "messages"})
    table = pa.concat_tables(readers.read(again, readers.Counts()))
    assert table["id"].to_pylist() == planned_ids(order)
    kept = {row.id: (row.messages, row.unlearned) for row in order.rows}
    for row in table.to_pylist():
        assert (row["messages"], row["unlearned"]) == kept[row["id"]]


def test_the_card_carries_certificate_leakage_and_how_it_was_made(tmp_path):
    order = make_order(tmp_path, SINGLE)
    info = order.dataset.info | {"leakage": {"exact duplicate of query": 1234}}
    allowed = order.config.data.model_copy(update={"leakage": "allow"})
    near = tmp_path / "near"
    near.mkdir()
    pq.write_table(pa.table({"row": np.array([0, 0, 3, 99])}), near / "pairs.parquet")
    counts = {"threshold": 0.9, "counts": {"query": 3}}
    told = type(order)(
        order.plan,
        order.config.model_copy(update={"data": allowed}),
        Artifact(tmp_path, "d" * 64, info, reused=False),
        Artifact(near, "n" * 64, counts, reused=False),
    )
    card = (write_order("hf", told) / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "train.parquet"}]
    certificate = digests([["r4", "r0"], ["r3", "r1"], ["r2"]])
    assert f"| order_sha256 | {certificate['order_sha256']} |" in card
    assert f"| set_sha256 | {certificate['set_sha256']} |" in card
    assert "| pool | 5 |\n| query | 1 |" in card
    assert "| exact duplicate of query | 1,234 |" in card
    assert "cosine of 0.9 or more with that of a\ntest item: 2. In the whole pool" in card
    assert "| the method notes | two clusters |" in card
    study = yaml.safe_load(re.search("````yaml\n(.*)````", card, re.DOTALL)[1])
    assert study == told.config.model_dump(mode="json")


def test_the_certificate_of_several_passes_is_that_of_the_trial_that_makes_them(tmp_path):
    order = make_order(tmp_path, SINGLE, rows=[4, 0, 3, 3, 4, 0], epochs=2)
    card = (write_order("hf", order) / "README.md").read_text()
    certificate = digests([["r4", "r0"], ["r3"], ["r3", "r4"], ["r0"]])
    assert "The rows are of 2 passes, each of which ends with a batch of its own." in card
    assert "2 a step, in 4 steps" in card
    assert f"| order_sha256 | {certificate['order_sha256']} |" in card
    assert "in 2 passes" in (write_order("trl", order) / "settings.yaml").read_text()


def test_a_card_says_where_nothing_leaks_and_where_nothing_was_compared(tmp_path):
    card = (write_order("hf", make_order(tmp_path, SINGLE)) / "README.md").read_text()
    assert "No row of the pool shares a task or a prompt with a test item." in card
    assert "were not looked for: no text was embedded" in card


def test_an_export_takes_the_place_of_an_older_one_and_leaves_other_files_alone(tmp_path):
    write_order("trl", make_order(tmp_path, SINGLE))
    (tmp_path / "trl" / "model").mkdir()
    folder = write_order("trl", make_order(tmp_path, SINGLE, rows=[1, 0]))
    assert [line["id"] for line in written(folder)[0]] == ["r1", "r0"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "model", "settings.yaml", "train.jsonl"
    ]  # fmt: skip


def test_the_help_names_every_form():
    helped = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "arrange", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": ""},
    ).stdout
    said = re.search(r"as others read it: ([^│.]*)\.", " ".join(helped.split()))
    assert said[1].split(", ") == list(FORMATS) == [*LINES, *FOLDERS]
