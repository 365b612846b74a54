"""What `import orchestrator` gives: the plans of the command, on what Python holds already."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse

import orchestrator
from orchestrator.config.arrangement import Arrangement
from orchestrator.core.arrangements import METHODS
from orchestrator.core.plan import digests
from orchestrator.errors import ConfigError, UserError
from orchestrator.storage.files import PLAN_SCHEMA
from orchestrator.study.arrays import ArraySettings, arrange_arrays
from tests.core.pools import unit_rows

ROWS = 40
RNG = np.random.default_rng(3)
POOL, QUERIES = 2 * unit_rows(RNG, ROWS), unit_rows(RNG, 5)
TASKS = [f"task {number}" for number in RNG.integers(0, 4, ROWS)]
TEXTS = [f"Add {number} and {number * number}." for number in range(12)]
ASKED = ["Add 4 and 16.", "Write a poem about the sea."]
MODEL = "random:tiny-bert"
ENGINES = ("ray", "torch", "mlflow", "transformers", "deepspeed")


def in_a_process_of_its_own(code):
    """What some lines print, the last of them the engines that were imported by then."""
    told = f"{code}\nimport sys\nprint([name for name in {ENGINES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_package_is_imported_without_any_library():
    code = "import orchestrator, sys\nprint({'numpy', 'pyarrow', 'pydantic'} & set(sys.modules))"
    assert in_a_process_of_its_own(code) == ["set()", "[]"]


def test_a_plan_of_arrays_a_study_and_results_are_had_without_an_engine():
    code = """
import numpy as np, orchestrator
rng = np.random.default_rng(0)
print(len(orchestrator.plan(rng.normal(size=(30, 4)), rng.normal(size=(3, 4)), arm="nft", rows=9)))
print(len(orchestrator.Study.load("experiments/quickstart.yaml").trials))
orchestrator.read_results
"""
    assert in_a_process_of_its_own(code) == ["9", "4", "[]"]


def test_what_the_package_gives_is_named_and_nothing_else():
    assert {"Plan", "Study", "plan", "read_results"} <= set(dir(orchestrator))
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'plans'"):
        orchestrator.plans  # noqa: B018


@pytest.mark.parametrize("granularity", ["instance", "task", {"clusters": 6}])
@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"given", "length_matched", "searched"}))
def test_a_plan_of_arrays_is_the_file_that_arrange_writes_of_them(tmp_path, method, granularity):
    settings = {"granularity": granularity, "rows": 15}
    if "selection" in METHODS[method].reads:
        settings["selection"] = "both_ends"
    plan = orchestrator.plan(POOL, QUERIES, tasks=TASKS, method=method, seed=5, **settings)
    plan.save(tmp_path / "here" / "plan.parquet")

    np.save(tmp_path / "pool.npy", POOL)
    np.save(tmp_path / "queries.npy", QUERIES)
    (tmp_path / "tasks.json").write_text(str(TASKS).replace("'", '"'))
    chosen = ArraySettings(
        seed=5, arrangement=Arrangement.model_validate({"method": method, **settings})
    )
    arrange_arrays(
        tmp_path / "pool.npy", tmp_path / "queries.npy", tmp_path / "tasks.json", chosen,
        tmp_path / "plan.parquet", None,
    )  # fmt: skip
    saved = pq.read_table(tmp_path / "here" / "plan.parquet")
    assert saved.equals(pq.read_table(tmp_path / "plan.parquet"), check_metadata=True)
    assert saved.schema.equals(PLAN_SCHEMA)
    assert saved["row"].to_pylist() == plan.rows.tolist()
    assert len(plan) == saved.num_rows == 15


def test_rows_keep_the_ids_and_tasks_that_they_were_given():
    ids = [f"mine/{row}" for row in range(ROWS)]
    plan = orchestrator.plan(POOL, QUERIES, ids=ids, tasks=TASKS, arm="max", rows=9)
    assert plan.ids == [ids[row] for row in plan.rows]
    assert plan.table()["id"].to_pylist() == plan.ids
    assert plan.table()["task"].to_pylist() == [TASKS[row] for row in plan.rows]


def test_a_given_order_names_rows_by_the_ids_that_they_were_given(tmp_path):
    order, ids = tmp_path / "order.txt", [str(row) for row in reversed(range(ROWS))]
    order.write_text("0\n7\n39\n")
    given = {"method": "given", "options": {"path": order}}
    plan = orchestrator.plan(POOL, QUERIES, ids=ids, **given)
    assert (plan.ids, plan.rows.tolist()) == (["0", "7", "39"], [39, 32, 0])
    assert orchestrator.plan(POOL, QUERIES, **given).rows.tolist() == [0, 7, 39]
    with pytest.raises(UserError, match="3 not in the pool: line 1 '0', line 2 '7', line 3 '39'"):
        orchestrator.plan(POOL, QUERIES, ids=[f"mine/{name}" for name in ids], **given)


def test_the_digest_is_that_of_a_trial_with_one_row_a_step_and_tells_orders_apart():
    near = orchestrator.plan(POOL, QUERIES, arm="nft", rows=12)
    far = orchestrator.plan(POOL, QUERIES, arm="fft", rows=12)
    assert set(near.ids) == set(far.ids)
    assert near.digest != far.digest
    assert near.digest == orchestrator.plan(POOL, QUERIES, arm="nft", rows=12).digest
    assert near.digest == digests([[name] for name in near.ids])["order_sha256"]


def test_numbers_of_numpy_and_tuples_are_settings_and_lists_are_vectors():
    plan = orchestrator.plan(POOL, QUERIES, selection="nearest", turn_window=(0, np.int64(2)))
    same = orchestrator.plan(
        POOL.tolist(), QUERIES.tolist(), selection="nearest", turn_window=[0, 2]
    )
    assert plan.rows.tolist() == same.rows.tolist()
    assert len(plan)


@pytest.mark.slow
def test_texts_are_embedded_in_this_process_and_equal_ones_are_equally_near(tmp_path):
    twice = [*TEXTS, TEXTS[3], ASKED[0]]
    plan = orchestrator.plan(twice, ASKED, model=MODEL, store=tmp_path, arm="min", rows=14)
    distance = dict(zip(plan.rows.tolist(), plan.distance.tolist(), strict=True))
    assert plan.rows[0] == 4  # the query itself, and its copy is in a later turn
    assert distance[4] == pytest.approx(-1, abs=1e-6)
    assert distance[13] == distance[4]
    (folder,) = (tmp_path / "models").iterdir()
    again = orchestrator.plan(np.array(twice), tuple(ASKED), model=str(folder), arm="min", rows=14)
    assert again.digest == plan.digest


@pytest.mark.parametrize("method", ["random", "given", "cluster", "round_robin"])
def test_texts_that_are_arranged_without_vectors_need_no_model(tmp_path, method):
    (tmp_path / "order.txt").write_text("text 5\ntext 2\n")
    settings = {"method": method, "ids": [f"text {row}" for row in range(len(TEXTS))]}
    if method == "given":
        settings["options"] = {"path": tmp_path / "order.txt"}
    tasks = TASKS[: len(TEXTS)]
    plan = orchestrator.plan(TEXTS, ASKED, tasks=tasks, store=tmp_path / "none", **settings)
    vectors = POOL[: len(TEXTS)]
    assert plan.digest == orchestrator.plan(vectors, QUERIES, tasks=tasks, **settings).digest
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("setting", [{"method": "length_matched", "rows": 3}, {"answer_tokens": 9}])
def test_tokens_of_texts_are_said_to_need_the_model_of_a_study(setting):
    with pytest.raises(UserError, match="only a study has a model that says what a token is"):
        orchestrator.plan(TEXTS, ASKED, model=MODEL, selection="nearest", **setting)


def test_a_search_is_said_to_need_the_model_of_a_study():
    with pytest.raises(UserError, match="foresees the training of a model, and only a study has"):
        orchestrator.plan(TEXTS, ASKED, model=MODEL, method="searched", rows=3)


@pytest.mark.slow
def test_texts_can_be_sorted_by_their_bigrams(tmp_path):
    plan = orchestrator.plan(
        ["the sea is deep", "one and two", "a poem about the sea"], ASKED[1:], model=MODEL,
        store=tmp_path, method="measure", measure="bigram_kl",
    )  # fmt: skip
    assert plan.rows.tolist() == [2, 0, 1]


NAN = POOL.copy()
NAN[4, 2] = np.nan


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pool": POOL[0]}, r"pool holds float32 of shape \(8,\): give floating-point numbers"),
        ({"queries": QUERIES[:, :3]}, "pool has 8 dimensions, queries 3: embed both with the same"),
        ({"pool": NAN}, "pool: row 4 is zero, infinite or not a number: leave it out"),
        ({"queries": np.zeros((2, 8))}, "queries: row 0 is zero"),
        ({"pool": POOL.astype(int)}, "pool holds int64"),
        ({"pool": []}, r"pool holds float64 of shape \(0,\)"),
        ({"pool": [[1.0], [2.0, 3.0]]}, "pool is a list that is no array of numbers: give a list"),
        ({"pool": sparse.csr_array(POOL)}, r"pool is a csr_array .* its \.toarray\(\)"),
        ({"pool": iter(TEXTS)}, "pool is a list_iterator that is no array"),
        ({"queries": "Add 1 and 2."}, "queries is a str that is no array .* give a list of texts"),
        ({"pool": TEXTS}, "one of pool and queries holds texts, the other vectors"),
        ({"pool": TEXTS, "queries": ASKED}, "hold texts: name the model .* or give their vectors"),
        ({"pool": ["a", None], "queries": ASKED}, "pool: row 1 is null: give a text a row"),
        ({"pool": TEXTS, "queries": ASKED, "model": "all-MiniLM"}, "Did you mean all-MiniLM-L6"),
        ({"model": MODEL}, "model 'random:tiny-bert' embeds texts, and these are vectors"),
        ({"tasks": TASKS[1:]}, "tasks has 39 entries, the pool 40 rows"),
        ({"ids": list(range(ROWS))}, "ids: row 0 is 0: give a text a row"),
        ({"ids": ["a"] * ROWS}, 'ids: "a" is given 40 times: give each row its own'),
        (
            {"granularity": "task"},
            "deals or takes from tasks: give tasks, a list with the task of each",
        ),
        ({"method": "tmaa"}, r"plan\(\): .*method 'tmaa' does not exist: did you mean tma"),
        ({"row": 3}, r"plan\(\): arrangement\.row is not a key: did you mean rows"),
        ({"arm": "min"}, "needs a budget: set rows, answer_tokens, turns or turn_window"),
        ({"arm": "min", "rows": 41}, r"arrangement\.rows is 41, pool holds 40 rows: set 40"),
        ({"method": "random", "arm": "min", "rows": 3}, "method: random does not read"),
        ({"method": "measure", "measure": "bigram_kl"}, "bigram_kl needs texts"),
        ({"seed": -1}, r"plan\(\): seed is -1: give a whole number"),
        ({"options": {"folds": object()}}, r"plan\(\): <object .*is a object: give numbers, text"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(given, said):
    with pytest.raises(UserError, match=said):
        orchestrator.plan(**{"pool": POOL, "queries": QUERIES} | given)


@pytest.mark.parametrize(
    ("name", "said"),
    [("plan.csv", r"plan\.csv: name a file that ends in \.parquet"), ("afile/p.parquet", "afile")],
)
def test_a_place_where_no_plan_can_be_saved_is_told(tmp_path, name, said):
    (tmp_path / "afile").write_text("")
    with pytest.raises(UserError, match=said):
        orchestrator.plan(POOL, QUERIES).save(tmp_path / name)


def test_a_study_is_loaded_as_the_command_loads_it():
    study = orchestrator.Study.load(
        "experiments/granularity.yaml", "experiments/laptop.yaml",
        {"training.max_steps": np.int64(3), "training.learning_rate": 1e-6, "output": "elsewhere"},
    )  # fmt: skip
    assert {trial.config.training.max_steps for trial in study.trials} == {3}
    assert study.config.training.learning_rate == 1e-6
    assert study.config.model.name == "smollm2-135m"  # of the overlay
    assert study.folder.parts[-2:] == ("elsewhere", study.config.study)


def test_what_is_wrong_with_a_study_is_told_all_at_once():
    with pytest.raises(ConfigError) as raised:
        orchestrator.Study.load(
            "experiments/quickstart.yaml", settings={"seed": "one", "training.batch": 3}
        )
    assert len(raised.value.faults) == 2
    with pytest.raises(ConfigError, match="--set: <object"):
        orchestrator.Study.load("experiments/quickstart.yaml", settings={"seed": object()})
