"""The study file as types: what each key means, its unit and what it accepts.

Unknown keys and wrong types are refused everywhere. Sections are frozen: a trial's
configuration is a value, and its hash is its identity.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, field_validator

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.claim import Claim
from orchestrator.config.evaluation import Evaluation
from orchestrator.config.section import Section, Seed
from orchestrator.config.sources import Data
from orchestrator.config.sweep import Sweep
from orchestrator.config.training import Model, Training
from orchestrator.storage.bucket import ADDRESS

# What MLflow connects to without a plugin.
TRACKING_SCHEMES = {"http", "https", "databricks", "sqlite", "postgresql", "mysql", "mssql"}


class Embedding(Section):
    model: str = "all-MiniLM-L6-v2"  # a sentence-transformers model, or a causal LM
    # auto: what the model was made with; a causal LM: weighted_mean, over the last hidden states
    # with weights that rise with the position (RDS+, arXiv 2503.01807)
    pooling: Literal["auto", "mean", "weighted_mean"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_length: PositiveInt = 256  # tokens; the rest of a text is not read
    text: Literal["prompt", "answer", "both"] = "both"  # of an instance; both: "prompt answer"
    keep: Literal["start", "end"] = "start"  # which part of a text longer than max_length is read
    # Padded tokens in one forward pass; null: 1,024 on a CPU, 16,384 on a GPU.
    batch_tokens: PositiveInt | None = None
    workers: PositiveInt = 1  # Ray Data actors
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0


class Neighbours(Section):
    """Ranked lists of the pool for each query, near end and far end."""

    depth: PositiveInt = 1024  # units kept in each list; deeper ones are searched when needed
    shard_rows: PositiveInt | None = None  # searched at once; null: a worker's share of the pool
    workers: PositiveInt = 1  # Ray Data tasks at a time


class Tracking(Section):
    uri: str | None = None  # of MLflow, without a password; null: SQLite beside the studies
    experiment: str | None = None  # null: the study's name
    flush_seconds: Annotated[float, Field(ge=0)] = 30.0  # for what is unsent when training is over
    system_metrics: bool = False  # of the machine that drives the study, every ten seconds
    # Name in MLflow's registry for the models that training.save_model keeps; null: none
    register_model: Annotated[str, Field(pattern=r"^[^/:'\\]+$")] | None = None

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
        if address.password or (address.username and scheme.startswith("http")):
            raise ValueError(
                "leave user and password out, the address is shown and kept: set them as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, a "
                "database's where its client looks for them, such as PGPASSWORD"
            )
        return uri


class TrialConfig(Section):
    """All that determines one trial's result."""

    seed: Seed = 0
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
    remote_store: str | None = None  # folder in object storage for artifacts that clusters share
    tracking: Tracking = Tracking()
    sweep: Sweep = Sweep()
    claim: Claim | None = None

    @field_validator("remote_store")
    @classmethod
    def _is_in_a_bucket(cls, address: str | None) -> str | None:
        if address is not None and not ADDRESS.fullmatch(address):
            raise ValueError(
                "type s3://bucket/folder or gs://bucket/folder, and nothing more: who may use it "
                "the environment says, as in AWS_PROFILE or GOOGLE_APPLICATION_CREDENTIALS"
            )
        return address
