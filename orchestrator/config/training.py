"""The `model` and `training` sections: what is fine-tuned, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from orchestrator.config.deepspeed import contradictions
from orchestrator.config.section import Fraction, Section

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class Lora(Section):
    """Low-rank adapters beside frozen weights (peft)."""

    # What each needs and does stands in training/adapters.py
    type: Literal["lora", "qlora"]  # qlora: the frozen weights in 4 bits (bitsandbytes, GPU)
    r: PositiveInt = 16  # rank
    alpha: PositiveFloat = 32.0  # the update is scaled by alpha / r
    dropout: Fraction = 0.0
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"


class Model(Section):
    name: str = "smollm2-135m"  # Hugging Face id, local path, alias or random:<preset>
    cache: str | None = None  # folder on each node's own disk for a copy; null: read where it is
    adapter: Literal["none"] | Lora = "none"  # none: all weights are trained
    # user_assistant: "User: {prompt}\nAssistant: {answer}", the authors'; chat: the tokenizer's
    # own; or a text with {prompt} and {answer}. An end-of-text token follows each answer
    template: str = "user_assistant"
    max_length: PositiveInt = 1024  # tokens of prompt and answer; the end is cut away
    # Arithmetic; the master weights are always float32. auto: bfloat16 where the hardware
    # multiplies it, else float32. float16 (GPU) is the paper's
    precision: Precision = "auto"
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    gradient_checkpointing: bool = False  # a third more arithmetic, far fewer activations
    compile: bool = False  # torch.compile
    liger: bool = False  # fused kernels of liger-kernel (GPU)

    @field_validator("template")
    @classmethod
    def _writes_both(cls, template: str) -> str:
        prompt, answer = template.find("{prompt}"), template.find("{answer}")
        once = template.count("{prompt}") == template.count("{answer}") == 1
        if template not in ("user_assistant", "chat") and not (once and prompt < answer):
            raise ValueError(
                "type user_assistant, chat, or a text that holds {prompt} once and then "
                '{answer} once, such as "Question: {prompt}\\nAnswer: {answer}"'
            )
        if "{eos}" in template or "{bos}" in template:
            raise ValueError("leave {bos} and {eos} out: the model's own marks are always added")
        return template


class Checkpoint(Section):
    """What a killed trial continues from."""

    every: PositiveInt | None = None  # optimizer steps; null: a killed trial starts again
    keep: Annotated[int, Field(ge=1, le=2)] = 2  # newest ones


class Training(Section):
    global_batch: PositiveInt = 16  # instances in one optimizer step
    micro_batch_tokens: PositiveInt = 4096  # padded tokens in one forward pass of one worker
    max_steps: PositiveInt | None = None  # optimizer steps; the whole plan if null
    learning_rate: PositiveFloat = 1e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0  # the rate rises linearly to its peak
    min_lr_ratio: Fraction = 0.1  # learning rate at the last step, as a share of the peak
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"  # 8 bits a state: bitsandbytes, GPU
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.95]
    eps: PositiveFloat = 1e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: PositiveFloat | None = 1.0  # largest norm of the gradient
    # Over the global batch: token_mean, sum of token losses / answer tokens; example_mean, the
    # mean of each instance's mean; authors, the mean over micro-batches of each one's token mean
    loss: Literal["token_mean", "example_mean", "authors"] = "token_mean"
    workers: PositiveInt = 1  # Ray Train workers: data-parallel ranks
    cpus_per_worker: PositiveFloat | None = None  # null: the node's cores shared out
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    # Ray's labels of the nodes that may hold a rank, as ray.io/accelerator-type: A100 or
    # ray.io/market-type: on-demand
    node_labels: dict[str, str] = {}
    # In float16: what losses are multiplied by before the backward pass, so that small gradients
    # do not vanish; null: as much as does not overflow. The authors: 6400. A step that overflows is
    # repeated with less
    loss_scale: PositiveFloat | None = None
    zero_stage: Literal[0, 1, 2, 3] = 0
    offload: Literal["none", "optimizer", "parameters"] = "none"  # to the host; parameters: both
    deepspeed: dict[str, Any] = {}  # DeepSpeed's own keys, beside those made from the fields here
    checkpoint: Checkpoint = Checkpoint()
    save_model: bool = False  # the trained model or adapter, in transformers' or peft's format

    @field_validator("deepspeed")
    @classmethod
    def _adds_to_the_fields(cls, given: dict[str, Any]) -> dict[str, Any]:
        if faults := contradictions(given):
            raise ValueError("; ".join(faults))
        return given

    @model_validator(mode="after")
    def _offload_has_partitions(self) -> Training:
        least = {"none": 0, "optimizer": 1, "parameters": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(
                f"offload: {self.offload} needs zero_stage {least} or more, and it is "
                f"{self.zero_stage}: set training.zero_stage to {max(2, least)}"
            )
        if self.offload != "none" and self.optimizer == "adamw_8bit":
            raise ValueError(
                "offload and optimizer: adamw_8bit exclude each other, 8-bit states are updated on "
                "the GPU: set training.offload to none, or training.optimizer to adamw"
            )
        return self
