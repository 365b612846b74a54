from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import load_study
from orchestrator.config.overlay import laid_over
from orchestrator.errors import ConfigError
from tests.config.conftest import BASE

STUDY = (
    BASE
    + """\
model: {name: random:llama-2-7b, adapter: {type: lora, r: 4, targets: [q_proj]}}
training:
  workers: 8
  betas: [0.8, 0.9]
sweep:
  parameters:
    training.clip: {uniform: [0.5, 1.0]}
    seed: {grid: [0, 1]}
"""
)


@pytest.fixture
def load(tmp_path: Path):
    """Loads the study with overlays of some text, each in its own file, and overrides."""

    def call(*overlays: str, overrides: tuple[str, ...] = ()):
        (tmp_path / "study.yaml").write_text(STUDY)
        paths = [tmp_path / f"over{number}.yaml" for number in range(len(overlays))]
        for path, text in zip(paths, overlays, strict=True):
            path.write_text(text)
        return load_study(tmp_path / "study.yaml", overrides, paths)

    return call


@pytest.fixture
def faults(load, tmp_path: Path):
    def call(*overlays: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(*overlays)
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return call


def test_mappings_merge_key_by_key_and_lists_and_scalars_are_replaced(load):
    laid = load("training: {workers: 1, betas: [0.7, 0.6]}\nseed: 4\n")
    plain = load()
    assert laid.training == plain.training.model_copy(update={"workers": 1, "betas": [0.7, 0.6]})
    assert laid == plain.model_copy(update={"training": laid.training, "seed": 4})


def test_a_mapping_that_says_what_the_value_is_replaces_all_of_it(load):
    laid = load("data: {pool: {reader: builtin, split: pool}}\nmodel: {adapter: {type: qlora}}\n")
    assert laid.data.pool.split == "pool"
    assert laid.data.query == load().data.query
    held = "data: {held_out: {reader: builtin, split: held_out}}\n"
    part = "data: {held_out: {from: query, fraction: 0.5}}\n"
    assert load(held, part).data.hold_out.origin == "query"
    assert load(part, held).data.held_out.split == "held_out"
    assert (laid.model.adapter.type, laid.model.adapter.targets) == ("qlora", "all-linear")
    assert laid.model.name == "random:llama-2-7b"
    assert load("model: {adapter: {r: 2}}\n").model.adapter.targets == ["q_proj"]


def test_an_axis_is_replaced_and_its_neighbours_stay(load):
    laid = load("sweep: {parameters: {training.clip: {grid: [1.0]}}}\n")
    assert laid.sweep.parameters["training.clip"].kind == "grid"
    assert laid.sweep.parameters["seed"].grid == [0, 1]


def test_a_later_overlay_wins_over_an_earlier_one_and_an_override_over_both(load):
    first, second = "training: {workers: 1, clip: 0.5}\n", "training: {workers: 2}\n"
    assert load(first, second).training.workers == 2
    assert load(second, first).training.workers == 1
    assert load(first, second).training.clip == 0.5
    assert load(first, second, overrides=("training.workers=3",)).training.workers == 3


def test_a_fault_names_the_file_and_line_of_who_wrote_it(faults):
    found = faults(
        "\ntraining:\n  worker: 1\n",
        "seed: -1\nmodel:\n  adapter:\n    type: lora\n    r: 0\n",
    )
    assert found == [
        "over1.yaml line 1: seed is -1: give a whole number from 0 to 4294967295",
        "over1.yaml line 5: model.adapter.r is 0: give a whole number above 0",
        "over0.yaml line 3: training.worker is not a key: did you mean workers?",
    ]


def test_what_an_overlay_breaks_in_a_section_is_told_at_the_overlay(faults):
    (fault,) = faults("seed: 1\narrangement: {selection: nearest}\n")
    assert fault.startswith("over0.yaml line 2: arrangement: selection: nearest needs a budget")
    (fault,) = faults("data:\n  query: {reader: jsonl}\n")
    assert fault == "over0.yaml line 2: data.query.path is missing: give text"


@pytest.mark.scenario("study-files")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "over0.yaml is empty: an overlay is some `key: value` lines"),
        ("[1]", "over0.yaml holds [1]: an overlay is"),
        ("seed: *x\n", "over0.yaml line 1: *x is a YAML alias"),
        ("seed: 1\nseed: 2\n", "over0.yaml line 2: seed is given twice"),
        ("evaluation: {eval: 1+1}\n", "over0.yaml line 1: evaluation.eval would be run as code"),
    ],
)
def test_an_overlay_is_read_as_strictly_as_a_study(faults, text, said):
    assert any(said in fault for fault in faults(text)), faults(text)


def test_an_overlay_that_does_not_exist_offers_the_nearest_file(tmp_path):
    (tmp_path / "laptop.yaml").write_text(BASE)
    with pytest.raises(ConfigError, match=r"did you mean .*/laptop\.yaml\?"):
        load_study(tmp_path / "laptop.yaml", overlays=[tmp_path / "latpop.yaml"])


trees = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def origins(tree: object, name: str, path: tuple = ()) -> dict:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree if path else ())
    children = [origins(child, name, (*path, key)) for key, child in inside if isinstance(
        child, dict | list)]  # fmt: skip
    keys = {(*path, key): name for key in tree} if isinstance(tree, dict) else {}
    return {path: name} | keys | {key: value for child in children for key, value in child.items()}


@given(mappings, mappings)
def test_all_that_the_overlay_says_holds_what_it_does_not_say_stays_and_every_key_has_an_origin(
    base, over
):
    laid, places = laid_over(base, origins(base, "base"), over, origins(over, "over"))
    assert_says(laid, over)
    assert {key: laid[key] for key in base.keys() - over.keys()} == {
        key: base[key] for key in base.keys() - over.keys()
    }
    assert all(places[path] for path in origins(laid, "any"))
    assert laid_over(laid, places, over, origins(over, "over"))[0] == laid


def assert_says(laid: dict, over: dict) -> None:
    for key, value in over.items():
        if isinstance(value, dict):
            assert_says(laid[key], value)
        else:
            assert laid[key] == value
