"""What a machine lacks is said before a study starts."""

from importlib.util import find_spec

import pytest
import torch

from orchestrator.config.training import Lora, Model, Training
from orchestrator.errors import ResourceError
from orchestrator.estimate.available import check_available
from orchestrator.training.device import pick_precision

QLORA = Model(adapter=Lora(type="qlora"))
NEEDY = {
    "qlora": (QLORA, Training(), "bitsandbytes"),
    "adamw_8bit": (Model(), Training(optimizer="adamw_8bit"), "bitsandbytes"),
    "flash_attention_2": (Model(attention="flash_attention_2"), Training(), "flash_attn"),
    "liger": (Model(liger=True), Training(), "liger_kernel"),
}


@pytest.mark.parametrize("feature", NEEDY)
def test_a_gpu_feature_without_a_gpu_names_both_ways_out(feature):
    model, training, _ = NEEDY[feature]
    with pytest.raises(ResourceError, match=rf"{feature}.*set training.gpus_per_worker to 1, or"):
        check_available(model, training)


@pytest.mark.parametrize("feature", NEEDY)
def test_a_package_that_is_not_installed_is_named(feature):
    model, training, module = NEEDY[feature]
    if find_spec(module):
        pytest.skip(f"{module} is installed here")
    with pytest.raises(ResourceError, match=r"which is not installed: pip install"):
        check_available(model, training.model_copy(update={"gpus_per_worker": 1}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "auto"])
def test_flash_attention_is_refused_where_the_arithmetic_is_float32(precision):
    with pytest.raises(ResourceError) as caught:
        check_available(Model(attention="flash_attention_2", precision=precision), Training())
    refused = "computes in 16 bits only" in str(caught.value)
    assert refused == (pick_precision(precision, gpu=False) == "float32")


@pytest.mark.parametrize(("avx", "amx"), [(False, False), (True, False), (False, True)])
def test_a_cpu_computes_in_bfloat16_where_it_multiplies_it(monkeypatch, avx, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert pick_precision("auto", gpu=False) == ("bfloat16" if avx or amx else "float32")
    assert pick_precision("float32", gpu=False) == "float32"


def test_float16_is_refused_without_a_gpu_and_a_loss_scale_without_float16():
    with pytest.raises(ResourceError, match=r"float16 runs on a GPU only: set training.gpus_per_w"):
        check_available(Model(precision="float16"), Training(loss_scale=6400))
    with pytest.raises(ResourceError, match=r"loss_scale is 6400.*set model.precision to float16"):
        check_available(Model(precision="bfloat16"), Training(loss_scale=6400))


def test_all_that_is_missing_is_said_at_once():
    with pytest.raises(ResourceError) as caught:
        check_available(
            Model(adapter=Lora(type="qlora"), liger=True),
            Training(optimizer="adamw_8bit", zero_stage=3),
        )
    assert len(str(caught.value).splitlines()) == 4


def test_what_runs_anywhere_is_let_through():
    check_available(Model(adapter=Lora(type="lora")), Training(zero_stage=3, offload="parameters"))
