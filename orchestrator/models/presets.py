"""Weights that need no hub: random ones of a named shape, and a GGUF file made safetensors.

torch and transformers take seconds to import, and the table below is read to check a name: they
are imported inside the functions that need them, so that the command line starts fast.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
BYTE_VOCABULARY = 3 + 256  # the special tokens, then every byte

# Name -> model_type and the settings that differ from that type's defaults in transformers.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny-llama": {
        "model_type": "llama",
        "vocab_size": BYTE_VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "dtype": "float32",
    },
    "tiny-bert": {
        "model_type": "bert",
        "vocab_size": BYTE_VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
        "dtype": "float32",
    },
    "llama-2-7b": {
        "model_type": "llama",
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11_008,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    },
}


def preset_config(preset: str) -> PreTrainedConfig:
    """The transformers configuration of a preset; its special token ids are `byte_tokenizer`'s."""
    from transformers import AutoConfig

    settings = dict(PRESETS[preset])
    model_type = settings.pop("model_type")
    return AutoConfig.for_model(
        model_type, **settings, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )


def byte_tokenizer(max_length: int, sentence: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with one token a byte of UTF-8: any text comes back from its ids unchanged.

    Args:
        max_length: tokens that the model accepts.
        sentence: put `<s>` and `</s>` around a text, so that even the empty one has tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: id for id, token in enumerate([PAD, BOS, EOS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if sentence:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A {EOS}", special_tokens=[(t, vocabulary[t]) for t in (BOS, EOS)]
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def save_random(preset: str, seed: int, folder: Path, scratch: Path) -> str:
    """Write random weights of a preset, with configuration and tokenizer, to `folder`.

    The same seed gives the same weights, and the caller's random state is left as it was. The
    preset `tiny-bert` becomes a sentence-transformers model: mean pooling, vectors of length 1.

    Args:
        preset: a key of `PRESETS`.
        seed: of the weights.
        folder: an existing folder that receives the model's files.
        scratch: an existing folder for intermediate files; the caller removes it.

    Returns:
        The version of torch that drew the weights.
    """
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    config = preset_config(preset)
    encoder = config.model_type == "bert"
    plain = scratch / "encoder" if encoder else folder
    factory: Any = AutoModel if encoder else AutoModelForCausalLM
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        factory.from_config(config, dtype=config.dtype, trust_remote_code=False).save_pretrained(
            plain
        )
        byte_tokenizer(config.max_position_embeddings, sentence=encoder).save_pretrained(plain)
    if encoder:
        _save_sentence_model(plain, config.hidden_size, folder)
    return f"torch {torch.__version__}"


def _save_sentence_model(encoder: Path, dimension: int, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with quiet():
        modules = [Transformer(str(encoder)), Pooling(dimension, "mean"), Normalize()]
        model = SentenceTransformer(modules=modules, device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a causal language model's GGUF file as float32 safetensors with its tokenizer.

    Takes half a minute for 135 million parameters: done once, so that no trial pays for it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    factory: Any = AutoModelForCausalLM
    with quiet():
        quantized = factory.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
        )
        # The weights are plain float32 by now, but transformers refuses to save a model that
        # still carries a quantizer: a fresh model of the same shape takes them over.
        config = quantized.config
        del config.quantization_config
        model = factory.from_config(config, dtype=torch.float32, trust_remote_code=False)
        model.load_state_dict(quantized.state_dict())
        model.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, trust_remote_code=False
        )
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers' warnings and progress bars, and restore its settings afterwards."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The GGUF reader draws its bar with tqdm directly, whatever transformers' setting.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
