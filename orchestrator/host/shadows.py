"""Modules of the working folder that are called like a library, and would be imported instead.

Only where the folder stands on Python's path: Ray puts it there for jobs and on the workers of a
cluster that is joined, PYTHONPATH for everything. Workers on this machine alone are spared it.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from orchestrator.errors import ResourceError

LIBRARIES = {
    "accelerate", "aiohttp", "bitsandbytes", "datasets", "deepspeed", "faiss", "fsspec", "gguf",
    "huggingface_hub", "jinja2", "liger_kernel", "matplotlib", "mlflow", "numpy", "optuna", "ot",
    "packaging", "pandas", "peft", "pip", "plotly", "psutil", "pyarrow", "pydantic", "ray",
    "requests", "rich", "rouge_score", "safetensors", "scipy", "sentence_transformers", "sklearn",
    "sqlalchemy", "tokenizers", "torch", "tqdm", "transformers", "triton", "typer", "yaml",
}  # fmt: skip


def check_modules(folder: Path, *, joins: bool) -> None:
    """Refuse a working folder whose modules would hide libraries.

    Args:
        folder: in which the study runs.
        joins: it runs on a cluster, which looks for modules in that folder first.

    Raises:
        ResourceError: naming the first of them.
    """
    folder = folder.resolve()
    on_path = [path for path in sys.path if Path(path or ".").resolve() == folder]
    if not (joins or on_path):
        return
    elsewhere = [path for path in sys.path if path not in on_path]
    for module in sorted(folder.iterdir()):
        name = module.stem if module.suffix == ".py" else module.name
        known = name in LIBRARIES or name in sys.stdlib_module_names
        own = module.suffix == ".py" or (module / "__init__.py").is_file()
        if known and own and PathFinder.find_spec(name, elsewhere):
            raise ResourceError(
                f"{module} would be imported in place of the library {name}, because Python looks "
                f"into the working folder first ({_reason(joins)}): rename it, or start the study "
                "from another folder"
            )


def _reason(joins: bool) -> str:
    if joins:
        return "as the jobs and workers of a cluster do"
    return f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"
