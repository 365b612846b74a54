"""Whether a cluster has, or may get, what a study asks for."""

import pytest

from orchestrator.errors import ResourceError
from orchestrator.study.fleet import (
    Fleet,
    Machines,
    check_resources,
    check_this_machine,
    gangs_across_nodes,
    grown,
)
from orchestrator.trials import expand
from tests.trials.studies import demo

HEAD = Machines({"CPU": 4.0}, {"ray.io/node-group": "head"})
A100 = {"ray.io/accelerator-type": "A100", "ray.io/market-type": "spot"}
GPU_NODE = Machines({"CPU": 16.0, "GPU": 8.0}, A100)
SCALED = Machines({"CPU": 16.0, "GPU": 8.0}, A100, 2)  # a group of up to two


def check(found, max_concurrent=2, embedding=None, **training):
    sweep = {"max_concurrent": max_concurrent, "parameters": {"seed": {"grid": [0, 1]}}}
    study = demo(sweep, training=training, embedding=embedding or {})
    check_resources(study, expand(study), found)


def test_gpus_that_the_autoscaler_may_bring_count_and_no_more():
    grows = Fleet([HEAD], [SCALED])
    check(grows, workers=8, gpus_per_worker=1)  # two trials of eight: sixteen
    with pytest.raises(ResourceError, match="2 trials at once; the cluster has room for 16"):
        check(grows, workers=9, gpus_per_worker=1)
    with pytest.raises(ResourceError, match="room for 0"):
        check(Fleet([HEAD]), workers=1, gpus_per_worker=1)


def test_all_groups_together_have_no_more_nodes_than_the_cluster_may():
    small = Machines({"CPU": 16.0, "GPU": 4.0}, {}, 2)
    for most, room in ((4, 24), (3, 20), (1, 8), (0, 0)):
        assert Fleet([HEAD], [small, SCALED], most).room({"GPU": 1}) == room


def test_nodes_that_no_group_started_count_beside_the_groups():
    assert Fleet([HEAD], [SCALED]).room({"CPU": 1}) == 4 + 32


@pytest.mark.parametrize(
    ("nodes", "workers", "each", "room"),
    [
        ([{"CPU": 16}, {"CPU": 16}], 3, {"cpus_per_worker": 9}, 2),
        ([{"CPU": 4}, {"CPU": 6}], 2, {"cpus_per_worker": 5}, 1),
        ([{"CPU": 64, "GPU": 8}] * 2, 5, {"gpus_per_worker": 3}, 4),
        ([{"CPU": 64, "GPU": 8}] * 2, 1, {"gpus_per_worker": 9}, 0),
    ],
)
def test_each_worker_must_fit_on_one_node(nodes, workers, each, room):
    found = [Machines(resources, {}) for resources in nodes]
    with pytest.raises(ResourceError, match=f"room for {room} of them"):
        check(Fleet(found), max_concurrent=1, workers=workers, **each)
    if room:
        check(Fleet(found), max_concurrent=1, workers=room, **each)


def test_embedding_actors_share_a_gpu_by_fractions_but_none_spans_two():
    two_gpus = Fleet([Machines({"CPU": 8, "GPU": 1}, {})] * 2)
    check(two_gpus, embedding={"workers": 6, "gpus_per_worker": 0.3})
    with pytest.raises(ResourceError, match=r"7 workers of 0\.3 GPU, the cluster has room for 6"):
        check(two_gpus, embedding={"workers": 7, "gpus_per_worker": 0.3})
    own = {"vectors": "pool.npy", "query_vectors": "query.npy"}  # nothing embeds
    check(two_gpus, embedding={"workers": 7, "gpus_per_worker": 0.3, **own})


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("spot", True), ("on-demand", False), ("!spot", False), ("!on-demand", True),
        ("in(spot, on-demand)", True), ("in(on-demand)", False), ("!in(on-demand)", True),
        ("!in(spot,on-demand)", False), ("80.5", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("found", [Fleet([HEAD, GPU_NODE, GPU_NODE]), Fleet([HEAD], [SCALED])])
def test_only_nodes_with_the_labels_that_are_asked_for_count(found, selector, fits):
    wanted = {"ray.io/market-type": selector}
    if fits:
        check(found, workers=8, gpus_per_worker=1, node_labels=wanted)
    else:
        with pytest.raises(ResourceError, match=r"no node has the labels|room for 0"):
            check(found, workers=8, gpus_per_worker=1, node_labels=wanted)


@pytest.mark.parametrize(
    ("workers", "training", "adapter", "told"),
    [
        (8, {"zero_stage": 3}, "none", None),
        (9, {"zero_stage": 3}, "none", "in each forward and each backward pass"),
        (9, {"zero_stage": 3}, {"type": "lora"}, "in each forward and each backward pass"),
        (9, {"zero_stage": 2}, "none", "all gradients and all new weights"),
        (9, {"zero_stage": 1}, {"type": "lora"}, None),
    ],
)
@pytest.mark.parametrize("found", [Fleet([HEAD, GPU_NODE, GPU_NODE]), Fleet([HEAD], [SCALED])])
def test_a_gang_that_no_node_holds_is_told_that_its_weights_cross_the_network(
    found, workers, training, adapter, told
):
    settings = {"workers": workers, "gpus_per_worker": 1, "cpus_per_worker": 1} | training
    trials = expand(demo({"parameters": {"seed": {"grid": [0, 1]}}}, training=settings,
                         model={"adapter": adapter}))  # fmt: skip
    sentences = gangs_across_nodes(trials, found)
    assert len(sentences) == (told is not None)
    assert all(told in sentence and "room for 8" in sentence for sentence in sentences)


def test_an_autoscalers_configuration_tells_how_large_the_cluster_may_become():
    kinds = {
        "head": {"resources": {"CPU": 8}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 16, "GPU": 8}, "labels": A100, "max_workers": 2},
    }
    started = Machines(GPU_NODE.resources, A100 | {"ray.io/node-group": "gpu"})
    config = {"available_node_types": kinds, "max_workers": 5}
    assert grown([HEAD, started], config) == Fleet([HEAD], [SCALED], 5)
    assert grown([HEAD, GPU_NODE], {}) == Fleet([HEAD, GPU_NODE])


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {"gpus_per_worker": 1}}, "type --set training.gpus_per_worker=0; or run"),
        ({"embedding": {"gpus_per_worker": 0.5}}, "embedding.gpus_per_worker: 0.5: torch sees no"),
        ({"training": {"workers": 500}}, "500 workers of 1 CPU; this machine has room for"),
    ],
)
def test_what_this_machine_lacks_is_told_with_what_to_type_unless_a_cluster_is_joined(
    monkeypatch, sections, said
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    study = demo(**sections)
    with pytest.raises(ResourceError, match=said):
        check_this_machine(study, expand(study))
    if "training" in sections:  # an arrangement trains nothing
        check_this_machine(study, expand(study), training=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    check_this_machine(study, expand(study))


def test_labels_of_nodes_do_not_change_what_a_trial_is():
    plain, labelled = (expand(demo(training=t))[0] for t in ({}, {"node_labels": A100}))
    assert plain.key == labelled.key
