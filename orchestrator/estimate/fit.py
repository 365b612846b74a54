"""Whether a model can be trained as the settings say, by its files: no weight is read.

Asked before a study starts, so that nothing is read or embedded for a trial that cannot begin.
Whether the files of a folder are whole, `models.check_folder` tells.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.config.training import Lora, Model
from orchestrator.errors import ModelError, first_line
from orchestrator.estimate.shapes import ModelSizes, llama_sizes, model_sizes
from orchestrator.models.presets import PRESETS, quiet
from orchestrator.training.adapters import check_targets

SAMPLE = "The quick brown fox jumps over 13 lazy dogs."
CAUSAL = "give one that predicts the next token, such as a Llama, Qwen or GPT-2"


def check_preset(model: Model, test_length: int | None = None) -> None:
    """Refuse, before it is made, a model of random weights that `check_fit` would refuse.

    Args:
        model: its name begins with `random:`.
        test_length: as in `check_fit`.
    """
    preset = PRESETS[model.name.split(":")[1]]
    if preset["model_type"] != "llama":
        raise ModelError(f"model.name: {model.name} is no causal language model: {CAUSAL}")
    positions = preset["max_position_embeddings"]
    _check_settings(model, test_length, positions, llama_sizes(preset))


def check_fit(
    model: Model, folder: Path, test_length: int | None = None, key: str = "model.name"
) -> None:
    """Refuse a model that cannot be trained as the settings say.

    Args:
        model: its settings.
        folder: where its files are.
        test_length: `evaluation.max_length`.
        key: of the study file, which names it.

    Raises:
        ModelError: no causal language model, or not all of its weights; a tokenizer that is broken
            or has more ids than the model has embeddings; a length beyond its positions; an adapter
            beside no layer.
    """
    config = _config(folder, key)
    _check_causal(config, folder, key)
    check_tokenizer(folder, key, fed=True)
    from transformers import AutoModelForCausalLM

    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    _check_settings(model, test_length, positions, model_sizes(folder))
    check_weights(folder, AutoModelForCausalLM, f"{key}: {folder}")


def check_tokenizer(folder: Path, key: str, *, fed: bool = False) -> None:
    """Refuse a tokenizer that cannot be read, reads nothing, or has ids without an embedding.

    Args:
        folder: of a model, whatever it is for.
        key: of the study file, which names it.
        fed: whether rows are fed as `training.tokens` has them.

    Raises:
        ModelError: naming the folder; one of Python alone, too, where rows are fed.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        ids = set(tokenizer(SAMPLE)["input_ids"]) - set(tokenizer.all_special_ids)
        vocabulary = tokenizer.get_vocab()
    except Exception as error:  # libraries in Rust raise what they like
        raise ModelError(
            f"{key}: the tokenizer in {folder} cannot be read ({first_line(error)}): fetch its "
            "files again, or write them with tokenizer.save_pretrained(FOLDER)"
        ) from error
    if not ids:
        raise ModelError(
            f"{key}: the tokenizer in {folder} knows no word of a plain sentence, as one whose "
            "tokenizer.json is missing: fetch it, or write it with "
            "tokenizer.save_pretrained(FOLDER)"
        )
    if fed and not tokenizer.is_fast:
        # Only the tokenizers in Rust tell which characters a token stands for, and so which of
        # them carry loss.
        raise ModelError(
            f"{key}: the tokenizer in {folder} is a {type(tokenizer).__name__}, which has no "
            "tokenizer.json and cannot say where in the text its tokens are: type the name of a "
            "model with a tokenizer.json, such as a Llama, Qwen or GPT-2"
        )
    rows = getattr(_config(folder, key).get_text_config(), "vocab_size", None)
    last, token = max((id, token) for token, id in vocabulary.items())
    if rows and last >= rows:
        raise ModelError(
            f"{key}: the tokenizer in {folder} gives ids up to {last:,} ({token!a}), the model has "
            f"embeddings for {rows:,}: enlarge it once with "
            f"model.resize_token_embeddings({last + 1}) and save_pretrained, or take the "
            "tokenizer that it was made with"
        )


def check_embedder(folder: Path, key: str) -> None:
    """Refuse a model that has no vectors of texts to give, or not all of its weights.

    Args:
        folder: of a sentence-transformers model, or of one of transformers alone.
        key: of the study file, which names it.

    Raises:
        ModelError: naming the folder.
    """
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto import modeling_auto as known

    if (folder / "modules.json").is_file() and not _check_sentence_modules(folder, key):
        return
    config = _config(folder, key)
    # Of T5 and its kin the encoder alone is used, and often alone is there.
    encoder = known.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(config.model_type, "")
    factory: Any = AutoModelForTextEncoding if encoder.endswith("EncoderModel") else AutoModel
    made = factory._model_mapping.get(type(config), None)
    if made is None or getattr(made, "main_input_name", "") != "input_ids":
        raise ModelError(
            f"{key}: {folder} is a {config.model_type}, which gives no vectors of texts: name a "
            "sentence-transformers model, an encoder such as a BERT, or a causal language model"
        )
    # The vectors are means of states, which a pooler is not asked for.
    check_weights(folder, factory, f"{key}: {folder}", unused="pooler")


def _check_sentence_modules(folder: Path, key: str) -> bool:
    """Whether the first module lies in the folder itself; refuses one that is not there."""
    modules = json.loads((folder / "modules.json").read_bytes())
    for module in modules:
        place = folder / module.get("path", "")
        # Of a Normalize nothing is written, and an empty folder is lost on the hub.
        if not module["type"].endswith(".Normalize") and not (place / "config.json").is_file():
            raise ModelError(
                f"{key}: {folder} lacks {place.relative_to(folder)}/config.json, a module that its "
                "modules.json names: fetch it again, or write it with "
                "SentenceTransformer.save_pretrained(FOLDER)"
            )
    return bool(modules) and not modules[0].get("path")


def check_weights(folder: Path, factory: Any, what: str, unused: str = "") -> None:
    """Refuse weights that are not those of the model that `config.json` describes.

    The model is loaded as it will be, with numbers of no storage: only headers are read.

    Args:
        folder: of the model.
        factory: one of transformers' classes, which knows the parts of the model.
        what: how an error calls it.
        unused: a part of the model that may be missing.

    Raises:
        ModelError: naming weights that are missing, or of another shape.
    """
    from orchestrator.training.model import check_loaded

    there = any(folder.glob("*.safetensors"))
    if not there or getattr(_config(folder, what), "quantization_config", None):
        return
    try:
        with quiet():
            _, loading = factory.from_pretrained(
                folder,
                device_map="meta",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # whatever stands in its files
        raise ModelError(f"{what} cannot be loaded: {first_line(error)}") from error
    if mismatched := sorted(loading["mismatched_keys"]):
        name, shape, expected = mismatched[0]
        raise ModelError(
            f"{what} has {name} of shape {tuple(shape)}, its config.json says {tuple(expected)}: "
            "take the config.json that the weights were saved with"
        )
    missing = [name for name in loading["missing_keys"] if unused not in name.split(".")]
    check_loaded({"missing_keys": missing}, what)


def _config(folder: Path, key: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # of an unknown architecture, or of a value that it refuses
        raise ModelError(
            f"{key}: transformers does not take {folder}/config.json: {first_line(error)}"
        ) from error


def _check_causal(config: Any, folder: Path, key: str) -> None:
    from transformers.models.auto import modeling_auto as known

    kind, (architecture, *_) = config.model_type, config.architectures or [config.model_type]
    if getattr(config, "is_encoder_decoder", False):
        what = "an encoder-decoder"
    elif kind not in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        what = "no causal language model"
    elif kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(
        config, "is_decoder", False
    ):
        what = "an encoder, which sees the tokens that it is to predict"
    elif "For" in architecture and not architecture.endswith(
        ("ForCausalLM", "ForConditionalGeneration", "ForPreTraining")
    ):
        what = "made for another task than the next token"
    else:
        return
    raise ModelError(f"{key}: {folder} is {architecture} ({kind}), {what}: {CAUSAL}")


def _check_settings(
    model: Model, test_length: int | None, positions: int | None, sizes: ModelSizes | None
) -> None:
    lengths = {"model.max_length": model.max_length, "evaluation.max_length": test_length or 0}
    for key, length in lengths.items():
        if positions and 0 < positions < length:
            raise ModelError(
                f"{key} is {length:,}, and {model.name} has {positions:,} "
                f"positions (max_position_embeddings): set {key} to {positions} or less"
            )
    if sizes and isinstance(model.adapter, Lora) and isinstance(model.adapter.targets, list):
        linear = [name for name, _, _ in sizes.linears]
        check_targets([*linear, *sizes.outputs], model.adapter.targets)
