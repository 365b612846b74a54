"""What is small is read for an estimate, and is not taken for what the store has."""

import pytest

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.errors import DataError
from orchestrator.estimate.amounts import trial_amounts
from orchestrator.estimate.small import CHARACTERS_A_TOKEN, READ_BYTES, is_small, mean_tokens
from orchestrator.estimate.stored import StoreLookup
from orchestrator.storage.artifacts import write_json
from orchestrator.study.estimate import check_data, memory_faults
from orchestrator.study.identity import outcome_before, spec_key
from orchestrator.trials import Trial, expand
from tests.estimate.base import BASE, POOL, config


def test_small_data_and_its_tokens_are_read_and_counted_and_the_store_stays_as_it_is(
    store, tmp_path
):
    empty, read = tmp_path / "store", StoreLookup(tmp_path / "store", tmp_path)
    amounts, known = trial_amounts(config(), read), trial_amounts(config(), StoreLookup(store))
    assert not read.dataset(config().data).reused
    assert (amounts.rows, amounts.measured) == (known.rows, known.measured)
    about = mean_tokens(read.dataset(config().data).path)
    assert amounts.tokens.mark == "~"
    assert amounts.tokens.count == POOL * about  # no tokenizer is here
    assert not empty.exists()
    empty.mkdir()
    (empty / "models").symlink_to(store / "models")
    assert trial_amounts(config(), StoreLookup(empty, tmp_path)).tokens == known.tokens
    assert known.tokens.count == pytest.approx(POOL * about * CHARACTERS_A_TOKEN, rel=0.2)


def test_data_is_small_by_the_bytes_of_its_files_and_never_where_it_has_to_be_fetched(tmp_path):
    path = tmp_path / "pool.jsonl"
    with path.open("wb") as file:
        file.truncate(READ_BYTES + 1)
    assert is_small(config().data)
    assert not is_small(config(data={"pool": {"reader": "jsonl", "path": str(path)}}).data)
    assert not is_small(config(data={"pool": {"reader": "hf", "name": "owner/data"}}).data)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {"global_batch": 101}}, "fewer than one global batch of 101"),
        ({"data": {"query": {"reader": "jsonl", "path": "none.jsonl"}}}, "none.jsonl: no such"),
        ({"data": {"query": {"reader": "builtin", "split": "pool"}}}, "the pool holds test items"),
    ],
)
def test_data_that_a_run_would_refuse_is_refused(tmp_path, sections, said):
    trial = Trial("t", config(**sections), {}, "key", "arm")
    with pytest.raises(DataError, match=said):
        check_data([trial], StoreLookup(tmp_path / "store", tmp_path), tmp_path)


def test_weights_beyond_the_memory_are_refused_unless_a_cluster_is_joined(tmp_path, monkeypatch):
    study, store = Study.model_validate({"study": "demo", **BASE}), StoreLookup(tmp_path)
    assert not memory_faults(study, expand(study), store)
    monkeypatch.setattr("orchestrator.estimate.room.memory", lambda: 1000)
    (fault,) = memory_faults(study, expand(study), store)
    assert fault.startswith("model.name: the weights of random:tiny-llama do not fit")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert not memory_faults(study, expand(study), store)


def test_a_trial_is_done_if_it_ended_with_this_data_whatever_its_folder_is_called(store, tmp_path):
    settings = config(arrangement={"method": "random"})
    trial, found = Trial("t", settings, {}, "key", "arm"), StoreLookup(store)
    layout = Layout(tmp_path, "study", store, None)
    key = spec_key(trial, found.tokens(settings), None, None, None, None, None)
    folder = layout.trial("t")
    folder.mkdir(parents=True)
    assert not outcome_before(trial, layout, found).ended
    write_json(folder / "result.json", {"key": key, "files": {}})
    assert outcome_before(trial, layout, found).ended
    write_json(folder / "result.json", {"key": "of other data", "files": {}})
    assert not outcome_before(trial, layout, found).ended
    # The store lost what determines the trial: its name alone tells.
    assert outcome_before(trial, layout, StoreLookup(tmp_path / "none")).ended
