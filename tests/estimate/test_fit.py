"""A model that cannot be trained as the settings say is refused by its files alone."""

import json
import resource
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    ByT5Tokenizer,
    T5EncoderModel,
)

from orchestrator import models
from orchestrator.config.training import Model
from orchestrator.errors import ModelError
from orchestrator.estimate.fit import check_embedder, check_fit, check_preset, check_tokenizer
from orchestrator.models.presets import byte_tokenizer

SMALL = {
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4},
    "bart": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
             "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    "bert": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 128},
    "opt": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "word_embed_proj_dim": 32, "max_position_embeddings": 128},
    "vit": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
}  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """A folder with the config.json of an architecture, and a tokenizer of 259 ids."""

    def make(kind, **settings):
        vocabulary = {} if kind == "vit" else {"vocab_size": 259}
        AutoConfig.for_model(kind, **SMALL[kind], **vocabulary, **settings).save_pretrained(
            tmp_path
        )
        byte_tokenizer(4096).save_pretrained(tmp_path)
        return tmp_path

    return make


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return models.resolve("random:tiny-llama", tmp_path_factory.mktemp("store"))


def settings(**given):
    return Model.model_validate({"name": "./m", "max_length": 128, **given})


@pytest.mark.parametrize(
    ("kind", "architecture", "said"),
    [
        ("t5", "T5ForConditionalGeneration", "an encoder-decoder: give one that predicts"),
        ("bart", "BartForConditionalGeneration", "an encoder-decoder"),
        ("bart", None, "an encoder-decoder"),
        ("bert", "BertForMaskedLM", "an encoder, which sees the tokens"),
        ("bert", "BertLMHeadModel", "an encoder, which sees the tokens"),
        ("vit", "ViTForImageClassification", "no causal language model"),
        ("gpt2", "GPT2ForSequenceClassification", "made for another task"),
    ],
)
def test_what_predicts_no_next_token_is_refused(made, kind, architecture, said):
    folder = made(kind, architectures=architecture and [architecture])
    with pytest.raises(ModelError, match=said) as refused:
        check_fit(settings(), folder)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
@pytest.mark.parametrize("architecture", [None, "GPT2LMHeadModel", "OPTForCausalLM"])
def test_what_predicts_the_next_token_is_taken(made, kind, architecture):
    check_fit(settings(), made(kind, architectures=architecture and [architecture]))


def test_a_decoder_of_berts_kind_is_taken(made):
    check_fit(settings(), made("bert", architectures=["BertLMHeadModel"], is_decoder=True))


@pytest.mark.parametrize("kind", ["gpt2", "opt"])
def test_a_length_beyond_the_positions_is_refused_with_the_length_to_type(made, kind):
    with pytest.raises(ModelError, match=r"has 128 positions .*: set model\.max_length to 128"):
        check_fit(settings(max_length=129), made(kind))
    check_fit(settings(max_length=64), made(kind), test_length=128)
    with pytest.raises(
        ModelError, match=r"has 128 positions .*: set evaluation\.max_length to 128"
    ):
        check_fit(settings(max_length=64), made(kind), test_length=129)


def test_a_preset_is_asked_before_it_is_made():
    check_preset(settings(name="random:tiny-llama", max_length=2048))
    with pytest.raises(ModelError, match=r"set model\.max_length to 2048 or less"):
        check_preset(settings(name="random:tiny-llama:7", max_length=2049))
    with pytest.raises(
        ModelError, match=r"no linear layer c_attn\. Type all-linear, or some of do"
    ):
        check_preset(
            settings(name="random:tiny-llama", adapter={"type": "lora", "targets": ["c_attn"]})
        )
    with pytest.raises(ModelError, match="random:tiny-bert is no causal language model"):
        check_preset(settings(name="random:tiny-bert"))


def test_an_adapter_that_matches_no_layer_is_refused_with_those_that_there_are(made):
    folder = made("gpt2")
    check_fit(settings(adapter={"type": "lora", "targets": ["c_attn", "lm_head"]}), folder)
    with pytest.raises(
        ModelError, match=r"no linear layer q_proj\. .*some of c_attn, c_fc, c_proj"
    ):
        check_fit(settings(adapter={"type": "lora", "targets": ["c_attn", "q_proj"]}), folder)


def test_the_output_layer_is_a_target_by_the_name_that_it_has(made):
    def targets(*names):
        return {"type": "lora", "targets": list(names)}

    check_preset(settings(name="random:tiny-llama", adapter=targets("lm_head")))
    with pytest.raises(ModelError, match=r"no linear layer embed_out, output\. Type all-linear"):
        check_preset(settings(name="random:tiny-llama", adapter=targets("embed_out", "output")))
    check_fit(settings(adapter=targets("lm_head")), made("gpt2"))
    with pytest.raises(ModelError, match=r"no linear layer output\. Type all-linear"):
        check_fit(settings(adapter=targets("output")), made("gpt2"))


def test_ids_beyond_the_embeddings_are_refused(llama, tmp_path):
    shutil.copytree(llama, tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(tmp_path / "m")
    with pytest.raises(
        ModelError, match=r"ids up to 259 \('<tool>'\), the model has embeddings for 259"
    ):
        check_fit(settings(), tmp_path / "m")
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.resize_token_embeddings(260)
    model.save_pretrained(tmp_path / "m")
    check_fit(settings(), tmp_path / "m")


@pytest.mark.parametrize("text", ["", "{broken", '{"version": "1.0"}', None])
@pytest.mark.parametrize("kind", ["LlamaTokenizer", "PreTrainedTokenizerFast", "NoSuchTokenizer"])
def test_a_tokenizer_that_is_broken_or_not_there_is_refused(llama, tmp_path, text, kind):
    shutil.copytree(llama, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
    (tmp_path / "m" / "tokenizer_config.json").write_text(
        json.dumps(config | {"tokenizer_class": kind})
    )
    if text is None:
        (tmp_path / "m" / "tokenizer.json").unlink()
    else:
        (tmp_path / "m" / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"^embedding.model: the tokenizer in .*/m (cannot|knows)"):
        check_tokenizer(tmp_path / "m", "embedding.model")


def test_a_tokenizer_of_python_alone_is_refused_for_a_model_that_is_trained(llama, tmp_path):
    shutil.copytree(llama, tmp_path / "m", ignore=shutil.ignore_patterns("tokenizer*"))
    ByT5Tokenizer(extra_ids=0).save_pretrained(tmp_path / "m")
    with pytest.raises(
        ModelError, match=r"/m is a ByT5Tokenizer, .*: type the name of a model with"
    ):
        check_fit(settings(), tmp_path / "m")
    check_tokenizer(tmp_path / "m", "embedding.model")


@pytest.mark.parametrize("changes", [{"model_type": "nosuch"}, {"num_attention_heads": 5}])
def test_a_configuration_of_which_no_model_can_be_built_is_refused(llama, tmp_path, changes):
    shutil.copytree(llama, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=r"^model.name: .*config.json"):
        check_fit(settings(), tmp_path / "m")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda w: w.pop("model.norm.weight"), "lacks the weights model.norm.weight"),
        (lambda w: w.pop("lm_head.weight"), "lacks the weights lm_head.weight"),
        (
            lambda w: w.update({"model.embed_tokens.weight": torch.zeros(200, 64)}),
            r"model\.embed_tokens\.weight of shape \(200, 64\), its config\.json says \(259, 64\)",
        ),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_printed(
    llama, tmp_path, spoil, said, capfd
):
    shutil.copytree(llama, tmp_path / "m")
    weights = load_file(llama / "model.safetensors")
    spoil(weights)
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    capfd.readouterr()
    with pytest.raises(ModelError, match=said):
        check_fit(settings(), tmp_path / "m")
    assert "".join(capfd.readouterr()) == ""


def test_only_headers_of_weights_are_read(tmp_path):
    """A file with a hole of 8 GB in place of its numbers."""
    config = AutoConfig.for_model(
        "llama", vocab_size=259, hidden_size=4096, num_hidden_layers=1, num_attention_heads=32,
        intermediate_size=160_000, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    byte_tokenizer(2048).save_pretrained(tmp_path)
    with torch.device("meta"):
        state = AutoModelForCausalLM.from_config(config).state_dict()
    header, at = {}, 0
    for name, tensor in state.items():
        size = 4 * tensor.numel()
        offsets = [at, at + size]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        at += size
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    assert at > 8e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_fit(settings(), tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6  # kilobytes


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return models.resolve("random:tiny-bert", tmp_path_factory.mktemp("store"))


def spoiled(folder, target, spoil):
    """A copy of a model whose weights were changed."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    spoil(weights)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def without(part):
    def spoil(weights):
        for name in [name for name in weights if part in name]:
            del weights[name]

    return spoil


def test_an_embedding_model_without_all_of_its_weights_is_refused(bert, llama, tmp_path):
    check_embedder(bert, "embedding.model")
    check_embedder(llama, "embedding.model")  # its output layer is not asked for
    check_embedder(spoiled(bert, tmp_path / "pooler", without("pooler")), "embedding.model")
    lacking = spoiled(bert, tmp_path / "attention", without("attention"))
    with pytest.raises(ModelError, match=r"^embedding.model: .*attention lacks the weights"):
        check_embedder(lacking, "embedding.model")
    path = bert / "config.json"
    shutil.copytree(bert, tmp_path / "wide")
    wide = json.loads(path.read_text()) | {"intermediate_size": 48}
    (tmp_path / "wide" / "config.json").write_text(json.dumps(wide))
    with pytest.raises(ModelError, match=r"wide has .* of shape .*, its config\.json says"):
        check_embedder(tmp_path / "wide", "embedding.model")


def test_an_encoder_that_was_saved_without_its_decoder_embeds(made):
    folder = made("t5", architectures=["T5EncoderModel"])
    T5EncoderModel(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    check_embedder(folder, "embedding.model")


def test_what_gives_no_vectors_of_texts_is_refused(made):
    with pytest.raises(ModelError, match=r"is a vit, which gives no vectors of texts: name a sent"):
        check_embedder(made("vit"), "embedding.model")


def test_a_sentence_model_without_the_folder_of_a_module_is_refused(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "m", ignore=shutil.ignore_patterns("1_Pooling"))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in kinds.items()
    ]
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"/m lacks 1_Pooling/config\.json, a module that its"):
        check_embedder(tmp_path / "m", "embedding.model")
    (tmp_path / "m" / "1_Pooling").mkdir()
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text("{}")
    check_embedder(tmp_path / "m", "embedding.model")
