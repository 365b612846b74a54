"""The GPU benchmark's script: whole on a CPU with a small model, and honest without a GPU."""

import subprocess
import sys

import pytest
import torch

SCRIPT = [sys.executable, "tests/benchmarks/llama2_7b.py"]


def run(*arguments):
    return subprocess.run([*SCRIPT, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_small_model_runs_through_the_same_loop_and_claims_no_mfu_on_a_cpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = run("--layers", "2", "--hidden", "64", "--steps", "2", "--global-batch", "4",
               "--adapter", "lora")  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = dict(line.rsplit(None, 1) for line in done.stdout.splitlines()[-6:-1])
    assert float(figures["real tokens a second"]) > 0
    assert float(figures["useful share of computed tokens"]) > 0.99
    assert "MFU" not in done.stdout
    assert "planned: " in done.stdout


@pytest.mark.slow
def test_without_a_gpu_the_real_shape_is_refused_in_a_sentence():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = run()
    assert done.returncode == 1
    assert done.stderr.startswith("LLaMA-2-7B needs a GPU, and this machine has none")
