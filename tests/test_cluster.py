"""Whether a cluster has, or may get, what a study asks for."""

import pytest

from orchestrator.cluster import MANY_NODES, Machines, check_resources
from orchestrator.config import expand
from orchestrator.errors import ResourceError
from tests.config.test_trials import demo

HEAD = Machines({"CPU": 4.0}, {"ray.io/node-group": "head"}, 1)
A100 = {"ray.io/accelerator-type": "A100", "ray.io/market-type": "spot"}
GPU_NODE = Machines({"CPU": 16.0, "GPU": 8.0}, A100, 1)
SCALED = Machines({"CPU": 16.0, "GPU": 8.0}, None, 2)  # an autoscaler's group of up to two


def check(found, **training):
    study = demo({"max_concurrent": 2, "parameters": {"seed": {"grid": [0, 1]}}}, training=training)
    check_resources(study, expand(study), found)


def test_gpus_that_the_autoscaler_may_bring_count_and_no_more():
    check([HEAD, SCALED], workers=8, gpus_per_worker=1)  # two trials of eight: sixteen
    with pytest.raises(ResourceError, match="2 trials at once 18; the cluster has 16"):
        check([HEAD, SCALED], workers=9, gpus_per_worker=1)
    with pytest.raises(ResourceError, match="no node has that"):
        check([HEAD], workers=1, gpus_per_worker=1)


def test_a_group_without_a_limit_holds_any_study():
    check(
        [HEAD, Machines({"GPU": 8.0, "CPU": 8.0}, None, MANY_NODES)], workers=64, gpus_per_worker=8
    )


def test_nodes_of_a_group_that_are_there_are_not_counted_twice():
    with pytest.raises(ResourceError, match="the cluster has 16"):
        check([HEAD, GPU_NODE, GPU_NODE, SCALED], workers=12, gpus_per_worker=1)


def test_a_worker_must_fit_one_node():
    with pytest.raises(ResourceError, match="no node has that"):
        check([GPU_NODE, GPU_NODE], workers=1, gpus_per_worker=9)


def test_only_nodes_with_the_labels_that_are_asked_for_count():
    check([HEAD, GPU_NODE, GPU_NODE], workers=8, gpus_per_worker=1, node_labels=A100)
    on_demand = {"ray.io/market-type": "on-demand"}
    with pytest.raises(ResourceError, match="no node has the labels"):
        check([HEAD, GPU_NODE], workers=1, gpus_per_worker=1, node_labels=on_demand)
    # What a group's new nodes will be labelled is not known: they may.
    check([HEAD, GPU_NODE, SCALED], workers=8, gpus_per_worker=1, node_labels=on_demand)
    check([HEAD, GPU_NODE, SCALED], gpus_per_worker=1, node_labels={"ray.io/market-type": "!spot"})


def test_labels_of_nodes_do_not_change_what_a_trial_is():
    plain, labelled = (expand(demo(training=t))[0] for t in ({}, {"node_labels": A100}))
    assert plain.key == labelled.key
