"""The table of adapter types: what everybody asks of it."""

import subprocess
import sys
from typing import get_args

import pytest

from orchestrator.config.training import Lora, Model, Training
from orchestrator.errors import ResourceError
from orchestrator.estimate.available import check_available
from orchestrator.training.adapters import ADAPTERS, adapter_type


def test_the_table_holds_the_types_that_a_study_file_can_name():
    assert ADAPTERS.keys() == {"none", *get_args(Lora.model_fields["type"].annotation)}
    assert adapter_type(Model().adapter) == ADAPTERS["none"]


def test_the_table_is_read_without_an_engine():
    code = (
        "import sys, orchestrator.training.adapters\n"
        "print({'torch', 'transformers', 'peft'} & sys.modules.keys())"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout == "set()\n"


def test_qlora_is_refused_under_zero_3_and_lora_is_not():
    training = Training(zero_stage=3, gpus_per_worker=1)
    with pytest.raises(ResourceError) as caught:
        check_available(Model(adapter=Lora(type="qlora")), training)
    assert (
        "model.adapter.type: qlora has 4-bit weights, which ZeRO-3 cannot share out: set "
        "training.zero_stage to 2, or model.adapter.type to lora"
    ) in str(caught.value)
    check_available(Model(adapter=Lora(type="lora")), training)
