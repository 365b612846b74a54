"""Rows that lie end to end in one sequence see nothing of one another, in any model."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.config.training import Model
from orchestrator.training import attention
from orchestrator.training.attention import why_padded
from orchestrator.training.batches import collate
from orchestrator.training.device import Device
from orchestrator.training.losses import token_losses
from orchestrator.training.tokens import Tokens

VOCABULARY = 64
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
PACKING = {
    "llama": SMALL,
    "mistral": SMALL | {"sliding_window": 4},
    "qwen3": SMALL | {"head_dim": 8},
    "gemma3_text": SMALL | {"head_dim": 8, "sliding_window": 4},
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": SMALL,
}
# Convolutions over the rows, and positions told by distances alone.
NOT_PACKING = {
    "lfm2": SMALL | {"layer_types": ["conv", "full_attention"]},
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
}
CPU = Device(torch.device("cpu"), torch.float32)


def made(kind, settings):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    model.set_attn_implementation("sdpa")
    return model.eval()


def rows_of(lengths):
    starts = np.cumsum([0, *lengths])
    ids = np.random.default_rng(1).integers(3, VOCABULARY, starts[-1]).astype(np.int32)
    return Tokens(ids, np.ones(starts[-1], np.bool_), starts)


@pytest.mark.parametrize("kind", PACKING)
def test_packed_rows_have_the_losses_and_gradients_of_padded_ones(kind):
    model, rows = made(kind, PACKING[kind]), rows_of([9, 3, 14, 1, 6])
    assert why_padded(model, Model(), CPU) is None
    losses, gradients = [], []
    for packed in (True, False):
        model.zero_grad()
        batch = collate(rows, np.arange(5), packed=packed)
        losses.append(token_losses(model, batch))
        losses[-1].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NOT_PACKING)
def test_a_model_that_does_not_keep_rows_apart_is_found_out_and_left_as_it_was(kind):
    model = made(kind, NOT_PACKING[kind])
    before = model.config._attn_implementation
    why = why_padded(model, Model(), CPU)
    assert why == "what this model says of a row depends on the row before it"
    assert model.config._attn_implementation == before


def test_attention_that_forgets_where_rows_end_is_found_out(monkeypatch):
    real = attention.packed_attention

    def forgetful(*arguments, cu_seq_lens_q=None, **settings):
        return real(*arguments[:4], None, **settings)

    model = made("llama", SMALL)
    monkeypatch.setattr(attention, "packed_attention", forgetful)
    assert why_padded(model, Model(), CPU) is not None


def test_a_window_that_only_the_mask_knows_is_found_out_where_rows_may_be_longer():
    settings = SMALL | {"sliding_window": 12, "use_sliding_window": True, "max_window_layers": 0}
    settings |= {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    model = made("qwen2_moe", settings)
    assert why_padded(model, Model(max_length=12), CPU) is None
    why = why_padded(model, Model(max_length=13), CPU)
    assert why == "this model keeps its window in a mask alone"


def test_what_cannot_pack_says_why():
    model = made("llama", SMALL)
    on_gpu = Device(torch.device("cuda"), torch.float32)
    assert why_padded(model, Model(attention="eager"), CPU) == "model.attention is eager"
    assert "compiled for each length" in why_padded(model, Model(compile=True), CPU)
    assert "in 16 bits only" in why_padded(model, Model(), on_gpu)
    model.config.attention_chunk_size = 512
    assert "shorter than rows of 1,024 tokens" in why_padded(model, Model(max_length=1024), CPU)
    assert why_padded(model, Model(max_length=512), CPU) is None
