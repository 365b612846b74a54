"""Every file that a study leaves behind: its name, and the columns of each table.

In the order of the README's "What a study leaves behind". Whoever writes or reads one of these
files takes its name and its columns from here. Not for what an artifact of the store holds beside
its instances: only the stage that builds it knows those files.
"""

from __future__ import annotations

import pyarrow as pa

from orchestrator.core.measures import MEASURES
from orchestrator.core.text_metrics import score_titles

# <output>/<study>/
STUDY_FILE = "study.yaml"  # the resolved study
RUN_FILE = "run.json"  # what it ran on, and what its shared artifacts tell of themselves
SUMMARY_FILE = "summary.csv"  # a row a trial
TRACKING_FILE = "tracking.json"  # what MLflow should hold
SEARCH_FILE = "search.jsonl"  # what a search suggested, and the value of each suggestion
TRIALS_FOLDER = "trials"  # a folder a trial
LOGS_FOLDER = "logs"
LOG_FILE = "run.log"  # of the logs: everything that libraries print
RAY_FOLDER = "ray"  # Ray Tune's and Ray Train's own files
EVALUATED_FOLDER = "evaluated"  # a folder a model that no trial of the study trained
FORECASTS_FOLDER = "forecasts"  # <forecaster>.json: what was expected before the first step
BEGUN_FILE = "begun.txt"  # names of the trials that began, for good: no forecast comes after
REPORT_FOLDER = "report"
PAGE_FILE = "index.html"  # of the report: opens from disk
TASKS_FILE = "tasks.csv"  # of the report: the loss of each arm on each task
FIGURES_FOLDER = "figures"  # of the report: the same figures as PNG

# <output>/<study>/trials/<trial>/, before its first step
CONFIG_FILE = "config.yaml"  # the resolved configuration
PLAN_FILE = "plan.parquet"  # the rows in the order of training
PLAN_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("task", pa.string()),
        ("turn", pa.int64()),
        ("unit", pa.int64()),
        ("distance", pa.float64()),  # null where the method knows none
        # Id of the query that chose the unit, null where no single one did. Older plans lack it.
        ("query", pa.string()),
    ]
)
# One more column of plans and instances, where the pool has a list of sources.
SOURCE = pa.field("source", pa.string())
MEASURES_FILE = "measures.parquet"  # how near the rows seen by a step are to each test task
MEASURES_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("rows", pa.int64()),
        ("task", pa.string()),  # null: the whole query set
        *((name, pa.float64()) for name in MEASURES),
    ]
)

# While it runs
JOURNAL_FILE = "journal.jsonl"  # an event a line; the study has one of its machine's metrics
# Only where memory ran out: how often a budget was halved.
BUDGET_FILES = {"training": "micro_batch_tokens.json", "evaluation": "evaluation_tokens.json"}
CHECKPOINTS_FOLDER = "checkpoints"  # a folder a checkpoint; removed once the trial finished
HEARTBEATS_FOLDER = "heartbeats"  # a file a rank, of which it writes each second that it lives

# At its end
REALISED_FILE = "realised.parquet"  # which rank was fed which row at which step
REALISED_SCHEMA = pa.schema(
    [("step", pa.int32()), ("rank", pa.int32()), ("row", pa.int64()), ("id", pa.string())]
)
# Which test item was evaluated, and after which step.
_ITEM = [("step", pa.int32()), ("set", pa.string()), ("id", pa.string()), ("task", pa.string())]
LOSSES_FILE = "losses.parquet"  # the loss of every test item at each step that measured it
LOSSES_SCHEMA = pa.schema([*_ITEM, ("loss", pa.float64()), ("tokens", pa.int32())])
TRAIN_LOG_FILE = "train_log.parquet"  # a line a step
TRAIN_LOG_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("lr", pa.float64()),
        ("grad_norm", pa.float64()),
        ("tokens", pa.int64()),
        ("answer_tokens", pa.int64()),  # those of them that may carry loss
        ("padded_tokens", pa.int64()),  # positions that were computed
        ("useful_share", pa.float64()),  # of what all ranks could compute while the slowest did
        ("seconds", pa.float64()),
        # In float16: repetitions of the step, and what losses are multiplied by after it.
        ("overflows", pa.int32()),
        ("loss_scale", pa.float64()),
        # At evaluated steps, since step 0; see `masters.UpdateFidelity`.
        ("update_fidelity", pa.float64()),
        ("fidelity_error", pa.float64()),
        ("changed_weights", pa.float64()),
    ]
)
GENERATIONS_FILE = "generations.parquet"  # answers and scores, only where they are asked for
# A score that the study does not ask for is null.
ANSWER_COLUMNS = [
    ("prediction", pa.string()),
    ("reference", pa.string()),
    *((name, pa.float64()) for name in score_titles()),
]
GENERATIONS_SCHEMA = pa.schema([*_ITEM, *ANSWER_COLUMNS])
BENCHMARKS_FILE = "benchmarks.parquet"  # of its saved models, only where they are asked for
BENCHMARKS_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("benchmark", pa.string()),  # what the study asked for: a task, a group or a tag
        ("task", pa.string()),  # itself, or one that it is made of
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),  # null where the harness tells none
        ("n", pa.int32()),  # items
        ("higher_is_better", pa.bool_()),  # null where the task does not say
    ]
)
BENCHMARKS_RESULT_FILE = "benchmarks.json"  # the mark beside them, with their digest
MODEL_FOLDER = "model"  # the trained model, only where it is asked for
STEP_MODELS_FOLDER = "models"  # step-<n>/: the model as it was after a step, where it is asked for
RESULT_FILE = "result.json"  # the mark of a finished trial, with the digests of its tables
STOPPED_FILE = "stopped.json"  # that a scheduler ended the trial early, and after which step
ERROR_FILE = "error.txt"  # why the trial failed, in one sentence

# Tables of every finished trial, whose digests its result holds.
RESULT_TABLES = (PLAN_FILE, REALISED_FILE, LOSSES_FILE, TRAIN_LOG_FILE)

# <output>/
DATABASE_FILE = "mlflow.db"  # MLflow's, of all studies, where it has no server
LEDGER_FILE = "ledger.jsonl"  # how right forecasts were: a line a study and forecaster
STORE_FOLDER = "store"  # shared artifacts and models
MLFLOW_FOLDER = "mlartifacts"  # files of MLflow's runs, where it has no server
SHARED_FOLDERS = (STORE_FOLDER, MLFLOW_FOLDER)  # which no study can have as its own
INSTANCES_FILE = "instances.parquet"  # of the store's data sets: all that trials train and test on
