"""Which model names there are, for messages about those that there are not."""

from __future__ import annotations

import difflib

from orchestrator.models.presets import PRESETS
from orchestrator.models.wheels import ALIASES

NAMES = [*ALIASES, *(f"random:{preset}" for preset in PRESETS)]


def accepted() -> str:
    """Says which names of models can be typed instead of one that is refused."""
    return (
        f"  Accepted are {', '.join(NAMES)} (a seed may follow: random:tiny-llama:1); the path of "
        "a folder with config.json, *.safetensors and a tokenizer, such as ./my-model, or its "
        "address in a bucket, such as s3://bucket/my-model; or, where "
        "the Hugging Face hub can be reached, an id such as owner/model"
    )


def suggestion(name: str) -> str:
    """The known name that was probably meant, as a sentence, or nothing."""
    known = {key.lower(): key for key in NAMES}
    # The last part, so that an id on the hub suggests the alias that holds the same model.
    close = difflib.get_close_matches(name.lower().split("/")[-1], known, n=1, cutoff=0.7)
    return f" Did you mean {known[close[0]]}?" if close else ""
