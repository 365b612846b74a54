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
from orchestrator.config.section import Fraction, Section, later

REVISION = r"[A-Za-z0-9][\w./-]*"  # commit, branch or tag of a repository
Precision = Literal["auto", "float32", "bfloat16", "float16"]


class Lora(Section):
    """Low-rank adapters beside frozen weights (peft)."""

    # What each type needs and does stands in training/adapters.py.
    type: Literal["lora", "qlora"]
    """qlora: the frozen weights in 4 bits (bitsandbytes, GPU)."""
    r: PositiveInt = 16
    """Rank."""
    alpha: PositiveFloat = 32.0
    """The update is scaled by alpha / r."""
    dropout: Fraction = 0.0
    """Share of what enters the adapter that is dropped in training."""
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Names of the layers that get an adapter."""


class Model(Section):
    """What is fine-tuned, and what it reads."""

    name: str = "smollm2-135m"
    """Hugging Face id, local path, alias or `random:<preset>`; see
    [models](../README.md#models)."""
    revision: (
        Annotated[
            str, Field(pattern=f"^{REVISION}$", description="the name of a commit, branch or tag")
        ]
        | None
    ) = None
    """Commit, branch or tag of a Hugging Face id, such as `step3000`; null: its main branch."""
    cache: str | None = None
    """On a cluster: folder on each node's own disk, to which the model is copied from shared
    storage; null: it is read where it is."""
    adapter: Literal["none"] | Lora = "none"
    """none: all weights are trained."""
    template: str = "user_assistant"
    """user_assistant: `User: {prompt}\\nAssistant: {answer}`, the authors'; chat: the tokenizer's
    own; or a text with {prompt} and {answer}. An end-of-text token follows each answer."""
    max_length: PositiveInt = 1024
    """Tokens of prompt and answer; the end is cut away. Of test items `evaluation.max_length`."""
    precision: Precision = "auto"
    """Arithmetic; the master weights are always float32. auto: bfloat16 where the hardware
    multiplies it, else float32. float16 (GPU) is the paper's. See
    [arithmetic](../README.md#arithmetic)."""
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    """Which of transformers' implementations."""
    gradient_checkpointing: bool = False
    """A third more arithmetic, far fewer activations."""
    compile: bool = False
    """torch.compile."""
    liger: bool = False
    """Fused kernels of liger-kernel (GPU)."""

    @property
    def reference(self) -> str:
        """The name with its revision, as `orchestrator.models` takes it."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

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

    every: PositiveInt | None = None
    """Optimizer steps between two of them; null: a killed trial starts again."""
    keep: Annotated[int, Field(ge=1, le=2)] = 2
    """The newest ones."""


class SavedModels(Section):
    """Models that are kept beside the one at the end."""

    at: Annotated[list[PositiveInt], Field(min_length=1)]
    """Optimizer steps after which the model is kept, too; those beyond the end are left out."""


class Training(Section):
    """How the model is fine-tuned: batches, optimizer, and what a rank runs on."""

    global_batch: PositiveInt = 16
    """Instances in one optimizer step."""
    micro_batch_tokens: PositiveInt = 4096
    """Tokens in one forward pass of one worker, where rows lie end to end; those of a model that
    does not keep them apart are padded."""
    epochs: PositiveInt = 1
    """Passes over the arranged rows. Each ends with a short batch of its own, and learning rate,
    certificate and estimate are over all of them."""
    reorder: Literal["none", "each"] = "none"
    """none: each pass is the plan again; each: every later one is arranged anew, by a seed drawn
    from the trial's, so that what is random is drawn again. What is not comes in the same order."""
    max_steps: PositiveInt | None = None
    """Optimizer steps; null: the whole plan, all passes."""
    learning_rate: PositiveFloat = 1e-5
    """Its peak."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warmup."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """The rate rises linearly to its peak."""
    min_lr_ratio: Fraction = 0.1
    """Learning rate at the last step, as a share of the peak."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """adamw_8bit: 8 bits a state (bitsandbytes, GPU)."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.95]
    """Adam's."""
    eps: PositiveFloat = 1e-5
    """Adam's."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's."""
    clip: PositiveFloat | None = 1.0
    """Largest norm of the gradient; null: any."""
    loss: Literal["token_mean", "example_mean", "authors"] = "token_mean"
    """Over the global batch. token_mean: sum of token losses / answer tokens; example_mean: the
    mean of each instance's mean; authors: the mean over micro-batches of each one's token mean."""
    workers: PositiveInt = 1
    """Ray Train workers: data-parallel ranks."""
    cpus_per_worker: PositiveFloat | None = None
    """null: the node's cores shared out."""
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    """GPUs of a rank; 0: it computes on the CPU."""
    node_labels: dict[str, str] = {}
    """Ray's labels of the nodes that may hold a rank, as `ray.io/accelerator-type: A100` or
    `ray.io/market-type: on-demand`."""
    loss_scale: PositiveFloat | None = None
    """In float16: what losses are multiplied by before the backward pass, so that small gradients
    do not vanish; null: as much as does not overflow. The authors: 6400. A step that overflows is
    repeated with less."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO: what the workers share out among them."""
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """What is kept in the host's memory; parameters: both."""
    deepspeed: dict[str, Any] = {}
    """DeepSpeed's own keys, where no field here decides them."""
    checkpoint: Checkpoint = Checkpoint()
    """What a killed trial continues from."""
    hang_timeout: PositiveFloat = later(120.0)
    """Seconds after which a frozen rank is ended, so that its trial fails or goes on from a
    checkpoint (`sweep.failure_retries`); and one that hangs, once they have passed beyond the
    longest step, evaluation or checkpoint that the trial has needed so far."""
    save_model: bool | SavedModels = False
    """Keep the trained model or adapter, in transformers' or peft's format; `{at: [100, 500]}`:
    also as it was after these steps."""

    @field_validator("deepspeed")
    @classmethod
    def _adds_to_the_fields(cls, given: dict[str, Any]) -> dict[str, Any]:
        if faults := contradictions(given):
            raise ValueError("; ".join(faults))
        return given

    @property
    def reserved_cpus(self) -> float:
        """Cores that Ray reserves for a rank."""
        return 1.0 if self.cpus_per_worker is None else self.cpus_per_worker

    def saves_after(self, step: int, last: int) -> bool:
        """Whether the model is kept after a step before the `last` one of its trial."""
        at = self.save_model.at if isinstance(self.save_model, SavedModels) else []
        return step < last and step in at

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
