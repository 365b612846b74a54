"""The `embedding` section: a model that reads texts, or vectors that are there already."""

import pytest

from orchestrator.config import dump_yaml
from orchestrator.config.embedding import OWN_VECTORS, Embedding
from orchestrator.config.strict_yaml import parse
from orchestrator.trials import expand

OWN = {"vectors": "pool.npy", "query_vectors": "query.npy"}


def test_a_section_without_vectors_is_written_as_before_there_were_any():
    dumped = Embedding(model="owner/model", text="prompt").model_dump()
    assert dumped == {
        "model": "owner/model", "pooling": "auto", "dtype": "float32", "max_length": 256,
        "text": "prompt", "keep": "start", "batch_tokens": None, "workers": 1,
        "gpus_per_worker": 0,
    }  # fmt: skip


def test_a_section_with_vectors_names_no_model_and_loads_back():
    given = Embedding(**OWN, ids="ids.txt", model="owner/model", workers=3)
    dumped, _, faults = parse(dump_yaml(given))
    assert not faults
    assert dumped.keys() == OWN_VECTORS
    assert {key: value for key, value in dumped.items() if value} == OWN | {"ids": "ids.txt"}
    assert dump_yaml(Embedding.model_validate(dumped)) == dump_yaml(given)


def test_trials_with_the_same_vectors_are_one_whatever_model_the_base_names(study):
    first, second = (
        expand(study("", *(f"embedding.{key}={value}" for key, value in OWN.items()), *more))
        for more in ([], ["embedding.model=owner/model", "embedding.workers=4"])
    )
    assert [trial.key for trial in first] == [trial.key for trial in second]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            "{vectors: pool.npy}",
            "embedding: vectors is for vectors of your own, of the pool and of the query set: give "
            "query_vectors, or leave vectors out",
        ),
        (
            "{ids: ids.txt, query_ids: q.txt}",
            "embedding: ids and query_ids are for vectors of your own, of the pool and of the "
            "query set: give vectors and query_vectors, or leave ids and query_ids out",
        ),
        (
            "{vectors: pool.npy, query_vectors: query.npy, held_out_ids: ids.txt}",
            "embedding: held_out_ids names the rows of held_out_vectors: give it, too",
        ),
        (
            "{vectors: pool.npy, query_vectors: query.npy, text: prompt, max_length: 9}",
            "embedding: vectors are given, so that no model reads texts as max_length and text "
            "say: leave them out",
        ),
        (
            "{vectors: pool.npy, query_vectors: query.npy, held_out_vectors: held.npy}",
            "embedding.held_out_vectors are of data.held_out, which is not given: leave them out, "
            "or give it",
        ),
        (
            "{pooling: path}",
            "embedding.pooling: path trains on the answers of data.query, so that no loss on it "
            "can judge the arrangement: give data.held_out, or take another pooling",
        ),
        (
            "{path: {clusters: 3}}",
            "embedding: pooling: auto does not read path: leave it out, or set pooling: path",
        ),
        (
            "{pooling: path, gradient: {rank: 4}, keep: end}",
            "embedding: pooling: path does not read gradient and keep: leave them out, or set "
            "pooling: gradient",
        ),
        (
            "{pooling: gradient, text: prompt}",
            "embedding: pooling: gradient does not read text: leave it out",
        ),
        ("{vectors: 3}", 'embedding.vectors is 3: give text, in quotes: "3"'),
    ],
)
def test_a_section_without_meaning_is_one_fault_that_says_what_to_type(faults, section, said):
    (fault,) = faults("", f"embedding={section}")
    assert fault.endswith(said)


def test_the_trained_model_embeds_whichever_a_trial_trains_as_if_its_name_stood_there(study):
    axis = "sweep: {parameters: {model.name: {grid: [owner/one, owner/two]}}}"
    trials = expand(study(axis, "embedding.model=trained", "model.revision=v2"))
    assert [trial.config.embedding.model for trial in trials] == ["owner/one@v2", "owner/two@v2"]
    named = expand(study("", "embedding.model=owner/one@v2", "model.name=owner/one",
                         "model.revision=v2"))  # fmt: skip
    assert named[0].key == trials[0].key


@pytest.mark.parametrize("pooling", ["gradient", "path"])
def test_vectors_of_what_the_model_is_fed_are_of_as_many_tokens_unless_it_is_said(study, pooling):
    held_out = "data.held_out={reader: builtin, split: held_out}"
    fed = ("embedding.model=trained", f"embedding.pooling={pooling}", held_out)
    length = "model.max_length=777"
    (trial,) = expand(study("", *fed, length))
    assert trial.config.embedding.max_length == 777
    (trial,) = expand(study("", *fed, length, "embedding.max_length=99"))
    assert trial.config.embedding.max_length == 99
    (trial,) = expand(study("", length, "embedding.pooling=mean"))
    assert trial.config.embedding.max_length == 256
