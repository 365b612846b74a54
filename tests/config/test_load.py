from pathlib import Path

import pytest
import yaml

from orchestrator.config import dump_yaml, load_study
from orchestrator.config.schema import Study, TrialConfig
from orchestrator.config.strict_yaml import parse
from orchestrator.errors import ConfigError
from orchestrator.trials import expand
from tests.config.conftest import BASE

READERS = "builtin, flan_mini, hf, jsonl, niv2, no_robots, p3, parquet, sharegpt or ultrachat"


def test_a_study_needs_only_a_name_and_data(study):
    loaded = study()
    assert (loaded.study, loaded.data.pool.path) == ("demo", "pool.jsonl")
    assert loaded.training == Study.model_fields["training"].default


@pytest.mark.scenario("study-files")
def test_a_key_given_twice_is_refused_with_both_lines(faults):
    (fault,) = faults("training:\n  workers: 1\n  clip: 1.0\n  workers: 2\n")
    assert fault == "study.yaml line 8: workers is given twice, first in line 6: keep one"
    assert "given twice" in faults('"study": other\n')[0]


@pytest.mark.scenario("study-files", "limits")
def test_a_file_over_one_megabyte_is_refused_unread(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(BASE + "# " + "x" * 2_000_000)
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        load_study(path)


def test_files_that_are_no_text_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "study.yaml"
    with pytest.raises(ConfigError, match=r"study\.yaml does not exist: give the path"):
        load_study(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_study(tmp_path)
    path.write_text(BASE, encoding="utf-16")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_study(path)
    with pytest.raises(ConfigError, match=r"did you mean .*/study\.yaml\?"):
        load_study(tmp_path / "stduy.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_study(path).study == "demo"


@pytest.mark.scenario("study-files")
@pytest.mark.parametrize(
    "text",
    [
        'evaluation: {eval: \'__import__("os").system("x")\'}\n',
        "sweep: {parameters: {seed: {grid: [0, {eval: '1+1'}]}}}\n",
        "sweep: {paired: [[{eval: '1+1'}]]}\n",
    ],
)
def test_a_dictionary_that_ray_tune_would_run_is_refused_anywhere(faults, text):
    assert any("line 5" in fault and "run as code" in fault for fault in faults(text))


@pytest.mark.scenario("study-files")
def test_an_override_cannot_bring_in_a_dictionary_that_ray_tune_would_run(faults):
    found = faults("", "evaluation.eval=1+1", "sweep.parameters.seed.grid=[{eval: a}]")
    assert sum("run as code" in fault for fault in found) == 2
    assert all(fault.startswith("--set ") for fault in found if "run as code" in fault)


@pytest.mark.scenario("study-files")
def test_all_faults_are_found_at_once_with_their_places(faults):
    found = faults(
        "training:\n  global_bach: 8\n  clip: -1\n  betas: [1, 2, 3]\n"
        "arrangement: {method: tmb, cut: no, rows: 1.5}\n"
        "learning_rate: 1e-5\n"
        "seed: yes\n",
        "data.pool.max_per_task=0",
        "study=2024",
    )
    assert set(found) == {
        "study.yaml line 6: training.global_bach is not a key: did you mean global_batch?",
        "study.yaml line 7: training.clip is -1: give a number above 0 or null",
        "study.yaml line 8: training.betas is [1, 2, 3]: give a list of 2, each a number "
        "from 0 to 1",
        "study.yaml line 9: arrangement.method: method 'tmb' does not exist: did you mean tma?",
        'study.yaml line 9: arrangement.cut is "no": give true or false',
        "study.yaml line 9: arrangement.rows is 1.5: give a whole number above 0 or null",
        "study.yaml line 10: learning_rate is not a key: did you mean training.learning_rate?",
        'study.yaml line 11: seed is "yes": give a whole number from 0 to 4294967295',
        "--set data.pool.max_per_task: data.pool.max_per_task is 0: give a whole number "
        "above 0 or null",
        '--set study: study is 2024: give text, in quotes: "2024"',
    }


@pytest.mark.scenario("names")
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.pool=5", f"data.pool is 5: give a mapping with reader: {READERS}"),
        ("data.pool={path: x}", f"data.pool.reader is missing: give {READERS}"),
        ("data.pool.reader=csv", f'data.pool.reader is "csv": give {READERS}'),
        ("data.pool={reader: jsonl}", "data.pool.path is missing: give text"),
        ("data.pool.jsonl=1", "data.pool.jsonl is not a key: the keys here are max_per_task"),
        ("data.held_out.path=x", "data.held_out.reader is missing"),
        ("data={}", f"data.query is missing: give a mapping with reader: {READERS}"),
        ("training.learning_rate=.nan", "training.learning_rate is NaN: give a number above 0"),
        ("training.learning_rate=.inf", "training.learning_rate is Infinity: give a number"),
        ("training.workers=true", "training.workers is true: give a whole number above 0"),
        ("study=Demo Study", 'study is "Demo Study": give 1 to 64 lower-case letters'),
        ("study=../x", 'study is "../x": give 1 to 64'),
        ("seed=-1", "seed is -1: give a whole number from 0"),
        ("training=[1]", "training is [1]: give a mapping of global_batch, micro_batch_tokens"),
        ("arrangement=[1]", "arrangement is [1]: give a mapping of method, granularity, arm"),
        ("arrangement.selection=nearest", "needs a budget: set rows, answer_tokens, turns or"),
        ("sweep.paired=[[]]", "sweep.paired.0 is []: give a list of 1 or more"),
    ],
)
def test_a_fault_names_the_key_as_written_its_value_and_what_is_accepted(faults, override, said):
    found = faults("", override)
    assert any(fault.startswith("--set ") and said in fault for fault in found), found


def test_a_key_with_control_characters_does_not_reach_the_terminal(faults):
    assert not any("\x1b" in fault for fault in faults('"\\e[2J": 1\ntraining: {"\\e[2J": 1}\n'))


def test_an_override_sets_one_key_and_leaves_its_neighbours(study):
    plain = study("training: {workers: 2}\n")
    changed = study("training: {workers: 2}\n", "training.learning_rate=1e-3", "model.name=a=b")
    assert changed.training.learning_rate == 1e-3
    assert changed.training.workers == 2
    assert changed.model.name == "a=b"
    assert changed.data == plain.data


def test_an_override_may_be_a_mapping_null_or_the_last_of_several(study):
    loaded = study(
        "",
        "data.pool={reader: builtin, split: pool}",
        "data.pool.max_per_task=3",
        "data.held_out={reader: jsonl, path: x}",
        "data.held_out=null",
        "data.off_target.reader=jsonl",
        "data.off_target.path=y",
        "seed=1",
        "seed=2",
    )
    assert (loaded.data.pool.reader, loaded.data.pool.max_per_task) == ("builtin", 3)
    assert (loaded.data.held_out, loaded.data.off_target.path) == (None, "y")
    assert loaded.seed == 2


def test_a_bare_list_is_a_grid_and_a_bare_value_is_told_to_be_a_list(study, faults):
    loaded = study("sweep: {parameters: {seed: [0, 1]}}\n", "sweep.parameters.training.clip=[1.0]")
    axes = loaded.sweep.parameters
    assert (axes["seed"].grid, axes["training.clip"].grid) == ([0, 1], [1.0])
    (fault,) = faults("sweep: {parameters: {seed: 3}}\n")
    assert (
        "line 5: sweep.parameters.seed: 3 is no axis: give a list of values, such as [3]" in fault
    )


def test_a_base_that_its_sweep_completes_is_valid_and_is_kept_as_it_was_written(study, tmp_path):
    budgets = "arrangement: {arm: min}\nsweep: {paired: [[{arrangement.turns: 2}, %s]]}\n"
    loaded = study(budgets % "{arrangement.rows: 5}")
    found = [
        (each.config.arrangement.turns, each.config.arrangement.rows) for each in expand(loaded)
    ]
    assert found == [(2, None), (None, 5)]
    (tmp_path / "resolved.yaml").write_text(dump_yaml(loaded))
    assert load_study(tmp_path / "resolved.yaml") == loaded


def test_what_is_wrong_beside_a_base_that_its_sweep_completes_is_told_alone(faults):
    sweep = "sweep: {parameters: {arrangement.turns: [1, 5]}}\n"
    (fault,) = faults("seed: -1\narrangement: {arm: min}\n" + sweep)
    assert "line 5: seed is -1" in fault
    (fault,) = faults("arrangement: {arm: min, turns: 0}\n" + sweep)
    assert "line 5: arrangement.turns is 0" in fault


def test_an_override_of_an_axis_keeps_its_dotted_key_whole(study):
    loaded = study(
        "", "sweep.parameters.training.workers={grid: [1]}", "sweep.parameters.seed.grid=[1, 2]"
    )
    assert {key: axis.grid for key, axis in loaded.sweep.parameters.items()} == {
        "training.workers": [1],
        "seed": [1, 2],
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed", "write --set key=value"),
        ("=1", "write --set key=value"),
        ("training..clip=1", "write --set key=value"),
        ("study.x.y=1", 'study is "demo", which has no key x'),
        ("seed=*x", "--set seed: *x is a YAML alias"),
        ("seed=!!int 3", "is a YAML tag"),
        ("seed=[1", "not readable as YAML"),
        ("seed=" + "[" * 50, "nested deeper"),
        (".".join("a" * 5000) + "=1", "no key has more than 20 parts"),
    ],
)
def test_a_malformed_override_is_a_fault_of_its_own(faults, override, said):
    assert any(fault.startswith("--set") and said in fault for fault in faults("", override))


@pytest.mark.scenario("secrets")
def test_the_fault_of_an_override_does_not_repeat_a_password(faults):
    assert "hunter2" not in "".join(faults("", "tracking.url=http://me:hunter2@host"))


@pytest.mark.scenario("secrets")
@pytest.mark.parametrize(
    "address",
    ["s3://team", "team/shared", "s3://key:hunter2@team/shared", "s3://team/shared?key=hunter2",
     "https://team/shared", "s3://téam/shared"],
)  # fmt: skip
def test_a_remote_store_is_a_folder_in_a_bucket_and_holds_no_secret(faults, study, address):
    (fault,) = faults(f"remote_store: {address}\n")
    assert "remote_store: type s3://bucket/folder or gs://bucket/folder" in fault
    assert "hunter2" not in fault
    assert study("remote_store: gs://team/shared/\n").remote_store == "gs://team/shared/"


SWEPT = """
arrangement: {selection: both_ends, order: farthest_first, rows: 5}
training: {learning_rate: 1e-5}
model: {name: '1e-5'}
sweep:
  parameters: {data.pool.max_per_task: {grid: [null, 3]}}
  paired: [[{label: 'no', seed: 1}, {arrangement.method: random}]]
"""


@pytest.mark.parametrize("extra", ["", "arrangement: {method: random, rows: 3}\n", SWEPT])
def test_a_dumped_study_loads_back_as_an_equal_one_with_the_same_trials(study, tmp_path, extra):
    loaded = study(extra)
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_yaml(loaded), encoding="utf-8")
    again = load_study(path)
    assert again == loaded
    assert expand(again) == expand(loaded)
    for trial in expand(loaded):
        assert TrialConfig.model_validate(parse(dump_yaml(trial.config))[0]) == trial.config


def test_a_dump_keeps_the_order_of_the_schema_and_every_default_but_of_later_keys(study):
    dumped = yaml.safe_load(dump_yaml(study()))
    assert list(dumped) == [key for key in Study.model_fields if key != "forecast"]
    assert dumped["training"]["global_batch"] == 16


def test_keys_that_a_method_does_not_read_are_refused_where_they_are_written(faults):
    (fault,) = faults("arrangement: {method: random, order: random, cut: false}\n")
    assert fault == (
        "study.yaml line 5: arrangement: method: random does not read cut, order: leave them out"
    )


def test_the_exit_of_a_fault_is_one_error_that_lists_all(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("study: A\nx: 1\n")
    with pytest.raises(ConfigError, match="3 faults in the settings:") as caught:
        load_study(path)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("name", ["store", "mlartifacts"])
def test_a_study_is_not_called_as_the_folders_that_studies_share(faults, name):
    (fault,) = faults("", f"study={name}")
    assert f"{name} is the folder beside the studies that they share" in fault
