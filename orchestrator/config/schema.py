"""The study file as types: what each key means, its unit and what it accepts.

Unknown keys and wrong types are refused everywhere. Sections are frozen: a trial's
configuration is a value, and its hash is its identity.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PositiveInt,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.claim import Claim
from orchestrator.config.completion import completions
from orchestrator.config.embedding import OF_TOKENS, TRAINED, Embedding
from orchestrator.config.evaluation import Evaluation
from orchestrator.config.forecast import Forecast
from orchestrator.config.section import Section, Seed, later
from orchestrator.config.sources import Data
from orchestrator.config.sweep import Sweep
from orchestrator.config.training import Model, Training
from orchestrator.redaction import secret_in
from orchestrator.storage.bucket import ADDRESS
from orchestrator.storage.files import SHARED_FOLDERS

# What MLflow connects to without a plugin.
TRACKING_SCHEMES = {"http", "https", "databricks", "sqlite", "postgresql", "mysql", "mssql"}


class Neighbours(Section):
    """Ranked lists of the pool for each query, near end and far end."""

    depth: PositiveInt = 1024
    """Units kept in each list; deeper ones are searched when needed."""
    shard_rows: PositiveInt | None = None
    """Rows of the pool searched at once; null: a worker's share of the pool."""
    workers: PositiveInt = 1
    """Ray Data tasks at a time."""


class Tracking(Section):
    """What goes to MLflow, and where that is."""

    uri: str | None = None
    """Address of the server, without a password or a token; null: SQLite beside the studies."""
    experiment: str | None = None
    """Its name in MLflow; null: the study's."""
    flush_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds to wait for what is unsent when training is over."""
    system_metrics: bool = False
    """Those of the machine that drives the study, every ten seconds."""
    register_model: Annotated[str, Field(pattern=r"^[^/:'\\]+$")] | None = None
    """Name in MLflow's registry for the models that training.save_model keeps; null: none."""

    @field_validator("uri")
    @classmethod
    def _names_a_server(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        address = urlsplit(uri)
        scheme = address.scheme or uri
        if scheme.partition("+")[0] not in TRACKING_SCHEMES:
            raise ValueError(
                "type the address of an MLflow server, such as http://127.0.0.1:5000, or of a "
                "database, such as sqlite:////home/me/mlflow.db"
            )
        hidden = secret_in(uri) or (address.username and scheme.startswith("http") and "the user")
        if hidden:
            raise ValueError(
                f"leave {hidden} out, the address is shown and kept: set them as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, a "
                "database's where its client looks for them, such as PGPASSWORD"
            )
        return uri


class TrialConfig(Section):
    """All that determines one trial's result."""

    seed: Seed = 0
    """Decides all that is drawn at random in a trial."""
    data: Data
    """Says where instances come from."""
    embedding: Embedding = Embedding()
    """How they become vectors."""
    neighbours: Neighbours = Neighbours()
    """How the nearest of them are found."""
    arrangement: Arrangement = Arrangement()
    """Which of them are trained on, and when."""
    model: Model = Model()
    """What is fine-tuned."""
    training: Training = Training()
    """How it is fine-tuned."""
    evaluation: Evaluation = Evaluation()
    """What is measured, and when."""

    @property
    def test_length(self) -> int | None:
        """Tokens of a test item at most; None: as of a row that is trained on."""
        length = self.evaluation.max_length
        return None if length == self.model.max_length else length

    @model_validator(mode="before")
    @classmethod
    def _embeds_as_it_trains(cls, given: Any) -> Any:
        """Puts the trained model's name in the place of `trained`, and its `max_length` where
        vectors are made of what it is fed; a study leaves that to its trials, which may differ."""
        embedding = given.get("embedding") if isinstance(given, dict) else None
        model = given.get("model", {}) if isinstance(given, dict) else None
        if cls is not TrialConfig or not isinstance(embedding, dict) or not isinstance(model, dict):
            return given
        changes = {}
        if embedding.get("model") == TRAINED:
            name, revision = model.get("name", Model().name), model.get("revision")
            changes["model"] = name if revision is None else f"{name}@{revision}"
        if embedding.get("pooling") in OF_TOKENS and "max_length" not in embedding:
            changes["max_length"] = model.get("max_length", Model().max_length)
        return {**given, "embedding": {**embedding, **changes}}

    @model_validator(mode="after")
    def _has_what_vectors_are_of(self) -> TrialConfig:
        if self.embedding.held_out_vectors is not None and self.data.held_out is None:
            raise ValueError(
                "embedding.held_out_vectors are of data.held_out, which is not given: leave them "
                "out, or give it"
            )
        if self.embedding.pooling == "path" and self.data.held_out is None:
            raise ValueError(
                "embedding.pooling: path trains on the answers of data.query, so that no loss on "
                "it can judge the arrangement: give data.held_out, or take another pooling"
            )
        if self.arrangement.method == "searched" and self.data.held_out is None:
            raise ValueError(
                "arrangement.method: searched lowers the foreseen loss of data.query, so that no "
                "loss on it can judge the plan: give data.held_out, or take another method"
            )
        return self


class Study(TrialConfig):
    """A complete base configuration plus what is swept over it."""

    study: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
            description="1 to 64 lower-case letters, digits, _ or -, a letter or digit first",
        ),
    ]
    """Name of the study, and of its folder."""
    output: str = "outputs"
    """Folder for all results; on a cluster one that all nodes share."""
    store: str | None = None
    """Folder for artifacts that studies share; null: `<output>/store`."""
    remote_store: str | None = None
    """Folder in object storage for artifacts that clusters share, such as `s3://bucket/folder` or
    `gs://bucket/folder`; null: none."""
    tracking: Tracking = Tracking()
    """What goes to MLflow."""
    sweep: Sweep = Sweep()
    """What the trials differ in."""
    claim: Claim | None = None
    """What the study is to find out, for its report."""
    forecast: Forecast | None = later(None)
    """What is foretold of its arms before the first step, and scored at the end; null: nothing."""
    _incomplete: dict[str, Any] = PrivateAttr(default={})
    """Sections that the sweep completes, as they were written; None of one that was not."""

    @model_validator(mode="wrap")
    @classmethod
    def _completed_by_its_sweep(
        cls, given: Any, validated: ModelWrapValidatorHandler[Study]
    ) -> Study:
        """Accepts a base that lacks what every trial is given by the sweep, such as a budget.

        It holds what one of the combinations sets, and is written as it was given.
        """
        try:
            return validated(given)
        except ValidationError as error:
            fewest = error
            for tree, sections in completions(given):
                try:
                    study = validated(tree)
                except ValidationError as other:
                    fewest = min(fewest, other, key=ValidationError.error_count)
                    continue
                study._incomplete = {name: given.get(name) for name in sections}
                return study
        raise fewest

    @model_serializer(mode="wrap")
    def _as_it_was_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = {**handler(self)}
        written |= {key: self._incomplete[key] for key in self._incomplete.keys() & written.keys()}
        lacking = {key for key, value in self._incomplete.items() if value is None}
        return {key: value for key, value in written.items() if key not in lacking}

    @field_validator("study")
    @classmethod
    def _leaves_other_folders_alone(cls, name: str) -> str:
        if name in SHARED_FOLDERS:
            raise ValueError(
                f"{name} is the folder beside the studies that they share: give another name"
            )
        return name

    @field_validator("remote_store")
    @classmethod
    def _is_in_a_bucket(cls, address: str | None) -> str | None:
        if address is not None and not ADDRESS.fullmatch(address):
            raise ValueError(
                "type s3://bucket/folder or gs://bucket/folder, and nothing more: who may use it "
                "the environment says, as in AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS"
            )
        return address
