"""The study file as types: what each key means, its unit and what it accepts.

Unknown keys and wrong types are refused everywhere. Sections are frozen: a trial's
configuration is a value, and its hash is its identity.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["auto", "float32", "bfloat16"]

# Keys of `arrangement` that method: random does not read.
TMA_KEYS = frozenset({"granularity", "selection", "order", "turns", "cut", "within_turn"})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SourceOptions(Section):
    """What every reader understands."""

    max_per_task: PositiveInt | None = None  # instances; the first ones of each task are kept
    max_turns: PositiveInt = 1  # user/assistant pairs kept of a conversation (paper: 1)
    max_chars: PositiveInt | None = None  # characters of prompt and answer; longer rows are dropped


class BuiltinSource(SourceOptions):
    """The task suite that is generated in code."""

    reader: Literal["builtin"]
    split: Literal["pool", "query", "held_out", "off_target"]


class JsonlFields(Section):
    """Names of the columns of a JSON Lines file."""

    id: str = "id"
    task: str = "task"
    prompt: str = "prompt"
    completion: str = "completion"


class JsonlSource(SourceOptions):
    """One JSON object a line, one prompt and one completion each."""

    reader: Literal["jsonl"]
    path: str
    fields: JsonlFields = JsonlFields()


Source = Annotated[BuiltinSource | JsonlSource, Field(discriminator="reader")]


class Data(Section):
    pool: Source  # training instances
    query: Source  # test instances that the arrangement may see
    held_out: Source | None = None  # test instances that it never sees
    off_target: Source | None = None  # unrelated tasks, to show harm
    leakage: Literal["error", "drop", "allow"] = "error"  # pool rows that are also test rows


class Embedding(Section):
    model: str = "all-MiniLM-L6-v2"
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: PositiveInt = 256  # tokens; the rest of a text is not read
    batch_size: PositiveInt = 64  # texts
    workers: PositiveInt = 1  # Ray Data actors
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0


class Neighbours(Section):
    """Ranked lists of the pool for each query, near end and far end."""

    depth: PositiveInt = 512  # units kept in each list; deeper ones are searched when needed
    shard_rows: PositiveInt = 65_536  # units searched at once
    workers: PositiveInt = 1  # Ray Data actors


class Arrangement(Section):
    """Which part of the pool is trained on (selection), and when (order)."""

    method: Literal["tma", "random"] = "tma"
    granularity: Literal["instance", "task"] = "instance"
    selection: Literal["nearest", "farthest", "both_ends", "random", "all"] = "all"
    order: Literal["nearest_first", "farthest_first", "random"] = "nearest_first"
    rows: PositiveInt | None = None  # budget in instances; whole turns until it is reached
    turns: PositiveInt | None = None  # budget in whole turns
    cut: bool = True  # cut the last turn so that exactly `rows` instances remain
    within_turn: Literal["row", "distance"] = "row"

    @model_validator(mode="after")
    def _meaningful(self) -> Arrangement:
        if self.method == "random":
            given = sorted(TMA_KEYS & self.model_fields_set)
            if given:
                raise ValueError(f"method: random does not read {', '.join(given)}: leave them out")
        elif self.selection == "all":
            if self.rows is not None or self.turns is not None:
                raise ValueError(
                    "selection: all takes the whole pool: leave out rows and turns, or choose "
                    "selection: nearest, farthest, both_ends or random"
                )
        elif self.rows is None and self.turns is None:
            raise ValueError(f"selection: {self.selection} needs a budget: set rows or turns")
        elif self.selection == "random" and (self.rows is None or self.turns is not None):
            raise ValueError("selection: random needs a budget in rows, and takes none in turns")
        return self

    @model_serializer(mode="wrap")
    def _without_unread_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump that names keys which the method does not read could not be loaded again."""
        unread = TMA_KEYS if self.method == "random" else frozenset()
        return {key: value for key, value in handler(self).items() if key not in unread}


class Model(Section):
    name: str = "smollm2-135m"  # Hugging Face id, local path, alias or random:<preset>
    template: Literal["user_assistant"] = "user_assistant"  # "User: ...\nAssistant: ...{eos}"
    max_length: PositiveInt = 1024  # tokens of prompt and answer; the end is cut away
    precision: Precision = "auto"  # arithmetic; the master weights are always float32


class Training(Section):
    global_batch: PositiveInt = 16  # instances in one optimizer step
    micro_batch_tokens: PositiveInt = 4096  # padded tokens in one forward pass of one worker
    max_steps: PositiveInt | None = None  # optimizer steps; the whole plan if null
    learning_rate: PositiveFloat = 1e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    min_lr_ratio: Fraction = 0.1  # learning rate at the last step, as a share of the first
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.95]
    eps: PositiveFloat = 1e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: PositiveFloat | None = 1.0  # largest norm of the gradient
    loss: Literal["token_mean", "example_mean"] = "token_mean"
    workers: PositiveInt = 1  # Ray Train workers: data-parallel ranks
    cpus_per_worker: PositiveFloat | None = None  # null: the node's cores shared out
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    zero_stage: Literal[0, 1, 2, 3] = 0


class Evaluation(Section):
    every: PositiveInt = 10  # optimizer steps between measurements; step 0 and the last always


class Tracking(Section):
    uri: str | None = None  # null: SQLite beside the studies
    experiment: str | None = None  # null: the study's name


class Axis(Section):
    grid: Annotated[list[Any], Field(min_length=1)]


class Sweep(Section):
    """Trials: the product of all axes of `parameters` and all lists of `paired`."""

    parameters: dict[str, Axis] = {}  # dotted key -> its values
    # Lists of settings that change together; each setting maps dotted keys to values, and
    # may carry `label`, the trial's name.
    paired: list[Annotated[list[dict[str, Any]], Field(min_length=1)]] = []
    max_concurrent: PositiveInt = 1
    failure_retries: Annotated[int, Field(ge=0)] = 0


class TrialConfig(Section):
    """All that determines one trial's result."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0  # what numpy's legacy generator accepts
    data: Data
    embedding: Embedding = Embedding()
    neighbours: Neighbours = Neighbours()
    arrangement: Arrangement = Arrangement()
    model: Model = Model()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()


class Study(TrialConfig):
    """A complete base configuration plus what is swept over it."""

    study: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
            description="1 to 64 lower-case letters, digits, _ or -, a letter or digit first",
        ),
    ]
    output: str = "outputs"
    store: str | None = None  # null: <output>/store
    tracking: Tracking = Tracking()
    sweep: Sweep = Sweep()
