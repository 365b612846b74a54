"""Every study of experiments/ is valid, at paper scale and with the laptop's overlay."""

from pathlib import Path

import pytest

from orchestrator.config import dump_yaml, load_study
from orchestrator.estimate.evaluating import SetSize, evaluation_share
from orchestrator.trials import expand

FOLDER = Path("experiments")
OVERLAYS = {
    "beyond_tma_7b",
    "laptop",
    "llama2_7b_full_1gpu",
    "llama2_7b_full_8gpu",
    "llama2_7b_lora_1gpu",
    "sampled_evaluation",
}
STUDIES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in OVERLAYS)
SMALL = {"quickstart", "beyond_tma"}
PAPER = [name for name in STUDIES if name not in SMALL]


@pytest.mark.parametrize("name", PAPER)
def test_a_study_at_paper_scale_trains_llama_2_7b_with_the_papers_settings(name):
    for trial in expand(load_study(FOLDER / f"{name}.yaml")):
        config = trial.config
        assert config.model.name == "meta-llama/Llama-2-7b-hf"
        assert config.embedding.model == "all-MiniLM-L6-v2"
        training = config.training
        assert (training.global_batch, training.learning_rate) == (16, 1e-6)
        assert (training.betas, training.eps, training.weight_decay) == ([0.9, 0.95], 1e-5, 0.0)
        assert (training.min_lr_ratio, training.clip) == (0.1, 1.0)
        assert training.schedule == "cosine" or trial.arm.endswith("_constant")


@pytest.mark.parametrize("name", PAPER)
def test_the_laptop_overlay_makes_any_study_small_and_gives_each_arm_two_seeds(name):
    study = load_study(FOLDER / f"{name}.yaml", overlays=[FOLDER / "laptop.yaml"])
    trials = expand(study)
    arms: dict[str, int] = {}
    for trial in trials:
        arms[trial.arm] = arms.get(trial.arm, 0) + 1
        config = trial.config
        assert config.model.name == "smollm2-135m"
        assert config.training.gpus_per_worker == config.embedding.gpus_per_worker == 0
        assert config.training.max_steps == 8
        assert config.data.query.reader == "builtin"
    assert min(arms.values()) >= 2
    if study.claim:
        assert set(study.claim.arms) <= set(arms)


@pytest.mark.parametrize("name", STUDIES)
def test_the_table_of_experiments_names_each_study_with_its_command(name):
    table = (FOLDER / "README.md").read_text()
    assert f"[{name}.yaml]({name}.yaml)" in table
    assert f"experiments/{name}.yaml" in (FOLDER / f"{name}.yaml").read_text()


@pytest.mark.parametrize("overlay", [None, "llama2_7b_lora_1gpu", "llama2_7b_full_8gpu"])
def test_sampled_evaluation_takes_less_than_15_percent_of_the_computing_on_flan_mini(overlay):
    # As the paper's: 30,000 rows, 5 items of each of 225 test tasks, as long as the rows.
    rows, items, tasks, tokens = 30_000, 1_125, 225, 267
    overlays = [FOLDER / f"{name}.yaml" for name in (overlay, "sampled_evaluation") if name]
    study = load_study(FOLDER / "tma_flan_mini.yaml", overlays=overlays)
    for trial in expand(study):
        steps = rows // trial.config.training.global_batch
        sets = [SetSize(items, tasks, items * tokens)]
        assert evaluation_share(trial.config, sets, steps, rows * tokens) < 0.15


@pytest.mark.parametrize("overlay", [None, "beyond_tma_7b"])
def test_the_honest_test_feeds_every_arm_equally_much_over_five_seeds(overlay):
    overlays = [FOLDER / f"{overlay}.yaml"] if overlay else []
    study = load_study(FOLDER / "beyond_tma.yaml", overlays=overlays)
    arms: dict[str, set[tuple[int, int, int]]] = {}
    for trial in expand(study):
        data, arrangement = trial.config.data, trial.config.arrangement
        drawn = (data.pool.seed, data.query.seed, data.held_out.seed)
        arms.setdefault(trial.arm, set()).add(drawn)
        assert (arrangement.rows, arrangement.equal_lengths) == (study.arrangement.rows, True)
        if trial.arm in ("rds", "gradient", "path"):
            assert trial.config.embedding.model == trial.config.model.name
    assert [*arms] == study.claim.arms
    assert set(map(len, arms.values())) == {5}


@pytest.mark.parametrize("name", STUDIES)
def test_the_study_that_a_run_leaves_has_the_trials_of_the_one_that_was_run(name, tmp_path):
    given = load_study(FOLDER / f"{name}.yaml", ["model.max_length=640"])
    (tmp_path / "study.yaml").write_text(dump_yaml(given))
    left = expand(load_study(tmp_path / "study.yaml"))
    assert [trial.key for trial in left] == [trial.key for trial in expand(given)]
