"""Whether a cluster has, or may get, what a study asks for."""

import math

import pytest

from orchestrator.config import expand
from orchestrator.errors import ResourceError
from orchestrator.machines import Machines, check_resources, groups
from tests.config.test_trials import demo

HEAD = Machines({"CPU": 4.0}, {"ray.io/node-group": "head"})
A100 = {"ray.io/accelerator-type": "A100", "ray.io/market-type": "spot"}
GPU_NODE = Machines({"CPU": 16.0, "GPU": 8.0}, A100)
SCALED = Machines({"CPU": 16.0, "GPU": 8.0}, A100, 2, there=False)  # a group of up to two


def check(found, max_concurrent=2, embedding=None, **training):
    sweep = {"max_concurrent": max_concurrent, "parameters": {"seed": {"grid": [0, 1]}}}
    study = demo(sweep, training=training, embedding=embedding or {})
    check_resources(study, expand(study), found)


def test_gpus_that_the_autoscaler_may_bring_count_and_no_more():
    check([HEAD, SCALED], workers=8, gpus_per_worker=1)  # two trials of eight: sixteen
    with pytest.raises(ResourceError, match="2 trials at once; the cluster has room for 16"):
        check([HEAD, SCALED], workers=9, gpus_per_worker=1)
    with pytest.raises(ResourceError, match="room for 0"):
        check([HEAD], workers=1, gpus_per_worker=1)


def test_a_group_without_a_limit_holds_any_study():
    endless = Machines({"GPU": 8.0, "CPU": 8.0}, {}, math.inf, there=False)
    check([HEAD, endless], workers=64, gpus_per_worker=8)


def test_nodes_of_a_group_that_are_there_are_not_counted_twice():
    with pytest.raises(ResourceError, match="the cluster has room for 16"):
        check([HEAD, GPU_NODE, GPU_NODE, SCALED], workers=12, gpus_per_worker=1)


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
        check(found, max_concurrent=1, workers=workers, **each)
    if room:
        check(found, max_concurrent=1, workers=room, **each)


def test_embedding_actors_share_a_gpu_by_fractions_but_none_spans_two():
    two_gpus = [Machines({"CPU": 8, "GPU": 1}, {})] * 2
    check(two_gpus, embedding={"workers": 6, "gpus_per_worker": 0.3})
    with pytest.raises(ResourceError, match=r"7 workers of 0\.3 GPU, the cluster has room for 6"):
        check(two_gpus, embedding={"workers": 7, "gpus_per_worker": 0.3})


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("spot", True), ("on-demand", False), ("!spot", False), ("!on-demand", True),
        ("in(spot, on-demand)", True), ("in(on-demand)", False), ("!in(on-demand)", True),
        ("!in(spot,on-demand)", False), ("80.5", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("nodes", [[GPU_NODE, GPU_NODE], [SCALED]])
def test_only_nodes_with_the_labels_that_are_asked_for_count(nodes, selector, fits):
    wanted = {"ray.io/market-type": selector}
    if fits:
        check([HEAD, *nodes], workers=8, gpus_per_worker=1, node_labels=wanted)
    else:
        with pytest.raises(ResourceError, match=r"no node has the labels|room for 0"):
            check([HEAD, *nodes], workers=8, gpus_per_worker=1, node_labels=wanted)


def test_groups_are_read_from_the_autoscalers_configuration():
    kinds = {
        "head": {"resources": {"CPU": 8}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 16, "GPU": 8}, "labels": A100, "max_workers": 2},
    }
    assert groups({"available_node_types": kinds}) == [SCALED]
    assert groups({}) == []


def test_labels_of_nodes_do_not_change_what_a_trial_is():
    plain, labelled = (expand(demo(training=t))[0] for t in ({}, {"node_labels": A100}))
    assert plain.key == labelled.key
