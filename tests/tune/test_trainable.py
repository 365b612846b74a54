"""How Ray Train is asked for the ranks of a trial."""

from orchestrator.training.device import WAIT_SECONDS
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from orchestrator.tune.trainable import Placement, _gang_trainer
from tests.trials.studies import demo


def test_ranks_under_ray_wait_for_one_another_as_long_as_under_any_launcher(tmp_path):
    """Ray's own half an hour is less than the hashes of a large checkpoint take."""
    (trial,) = expand(demo({}))
    spec = TrialSpec(
        trial.name, trial.key, trial.config, tmp_path, "", tmp_path, tmp_path, "", tmp_path,
        tmp_path,
    )  # fmt: skip
    trainer = _gang_trainer(spec, Placement(tmp_path, cpus=1.0, alone=False))
    assert trainer.backend_config.timeout_s == WAIT_SECONDS
