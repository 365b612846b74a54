"""What is computed does not depend on ranks, ZeRO stage, micro-batches or memory; what is fed is
what is recorded."""

from functools import partial
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from orchestrator.training import batches, loop, start, step
from orchestrator.training import tokens as token_table
from orchestrator.training.batches import pack
from orchestrator.training.journal import read_journal
from orchestrator.training.outcome import read_outcome
from tests.training.launch import launch

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(4).permutation(40)[:20]
TRAINING = {"global_batch": 6, "learning_rate": 1e-3, "zero_stage": 0}
BUDGETS = (200, 600, 10**6)


def make(make_spec, name, precision="float32", **training):
    return make_spec(
        ROWS,
        name,
        model={"precision": precision},
        training=TRAINING | training,
        evaluation={"every": 100},
    )


def series(spec):
    return pq.read_table(spec.folder / "train_log.parquet")["loss"].to_numpy()


def order(spec):
    return read_outcome(spec.folder, spec.key).result["order_sha256"]


def assert_alike(specs, reference, atol):
    for spec in specs:
        np.testing.assert_allclose(
            series(spec), series(reference), rtol=0, atol=atol, err_msg=spec.trial
        )
        assert order(spec) == order(reference)


@pytest.fixture
def reference(make_spec):
    spec = make(make_spec, "reference", micro_batch_tokens=10**6)
    launch(spec)
    return spec


@pytest.mark.scenario("other-ranks")
@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_zero_stages_and_budgets_change_neither_losses_nor_order(make_spec, reference, ranks):
    # Each stage, and without sharding each budget: a run costs seconds.
    settings = [*((0, budget) for budget in BUDGETS), (1, BUDGETS[0]), (2, BUDGETS[1])]
    settings += [(3, BUDGETS[0])]
    specs = [
        make(make_spec, f"{stage}-{budget}", zero_stage=stage, micro_batch_tokens=budget)
        for stage, budget in settings
    ]
    launch(*specs, ranks=ranks)
    assert_alike(specs, reference, atol=1e-5)
    lengths = token_table.load(reference.tokens).lengths
    passes = {len(pack(ROWS[:6], lengths, budget, ranks)[0]) for budget in BUDGETS}
    assert len(passes) > 1, "the budgets split alike"
    for spec in specs:
        log = pq.read_table(spec.folder / "train_log.parquet").to_pandas()
        assert log["padded_tokens"].equals(log["tokens"]), "nothing is padded"
        assert (log["useful_share"] > (0.999 if ranks == 1 else 0.9)).all()


def trace_only(_rank):
    """What torch.compile traces runs as it is: code would have to be generated for minutes."""
    torch.compile = partial(torch.compile, backend="eager")


def test_test_losses_do_not_depend_on_how_they_are_computed(make_spec):
    ways = [{}, {"micro_batch_tokens": 90}, {"compile": True}]
    specs = [
        make_spec(
            ROWS[:6], str(number), store=make_spec(ROWS, f"store-{number}").folder,
            model={"precision": "float32"}, training=TRAINING, evaluation={"every": 1, **way},
        )
        for number, way in enumerate(ways)
    ]  # fmt: skip
    launch(*specs, prepare=trace_only)
    first, *others = (pq.read_table(spec.folder / "losses.parquet").to_pandas() for spec in specs)
    for other in others:
        np.testing.assert_allclose(other["loss"], first["loss"], rtol=0, atol=1e-5)


@pytest.mark.scenario("other-ranks")
@pytest.mark.parametrize("ranks", [1, 2])
def test_in_bfloat16_the_order_is_the_same_and_losses_differ_by_rounding(
    make_spec, reference, ranks
):
    settings = [(0, BUDGETS[0]), (0, BUDGETS[2]), (2, BUDGETS[1]), (3, BUDGETS[0])]
    specs = [
        make(
            make_spec, f"{stage}-{budget}", "bfloat16", zero_stage=stage, micro_batch_tokens=budget
        )
        for stage, budget in settings
    ]
    launch(*specs, ranks=ranks)
    assert_alike(specs, reference, atol=5e-3)


def look_at_passes(hook):
    """The hook is called before each forward pass of the engine that is built next."""

    def build_engine(*args):
        engine = real(*args)
        engine.module.register_forward_pre_hook(hook, with_kwargs=True)
        return engine

    real = start.build_engine
    mock.patch.object(start, "build_engine", build_engine).start()


def break_memory(limit, broken_rank, rank):
    """Training passes over more tokens than `limit` run out of memory on one rank."""

    def hook(module, args, kwargs):
        if module.training and kwargs["input_ids"].numel() > limit:
            raise MemoryError

    if rank == broken_rank:
        look_at_passes(hook)


@pytest.mark.scenario("out-of-memory")
@pytest.mark.parametrize(("ranks", "zero_stage"), [(1, 0), (1, 2), (2, 0), (2, 1), (2, 2)])
def test_out_of_memory_halves_the_micro_batches_and_changes_nothing_else(
    make_spec, reference, ranks, zero_stage
):
    spec = make(make_spec, "tight", zero_stage=zero_stage, micro_batch_tokens=800)
    launch(spec, ranks=ranks, prepare=partial(break_memory, 250, ranks - 1))
    np.testing.assert_allclose(series(spec), series(reference), rtol=0, atol=1e-5)
    assert order(spec) == order(reference)
    told = [event for event in read_journal(spec.folder) if event["event"] == "out_of_memory"]
    assert told
    assert told[-1]["micro_batch_tokens"] in (400, 200, 100)


@pytest.mark.scenario("out-of-memory")
@pytest.mark.parametrize(
    ("limit", "training", "why"),
    [
        (5, {"micro_batch_tokens": 800}, "after 3 halvings; the longest row has"),
        (250, {"loss": "authors"}, "training.loss: authors depends on the split"),
        (250, {"zero_stage": 3}, "in a forward pass under ZeRO 3"),
    ],
)
def test_out_of_memory_that_halving_cannot_mend_names_the_setting(make_spec, limit, training, why):
    spec = make(make_spec, "tight", **training)
    with pytest.raises(Exception, match=f"{why}.*Set training.micro_batch_tokens to"):
        launch(spec, prepare=partial(break_memory, limit, 0))
    assert not read_outcome(spec.folder, spec.key).result


def break_backward(limit, _rank):
    """Backward passes over more padded tokens than `limit` run out of memory."""

    def build_engine(*args):
        engine, sizes = real(*args), []
        backward = engine.backward

        def hook(module, args, kwargs):
            sizes.append(kwargs["input_ids"].numel())

        def broken(*args, **kwargs):
            if sizes[-1] > limit:
                raise MemoryError
            return backward(*args, **kwargs)

        engine.module.register_forward_pre_hook(hook, with_kwargs=True)
        mock.patch.object(engine, "backward", broken).start()
        return engine

    real = start.build_engine
    mock.patch.object(start, "build_engine", build_engine).start()


@pytest.mark.scenario("out-of-memory")
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_out_of_memory_among_half_added_gradients_is_mended_by_the_next_attempts(
    make_spec, reference, zero_stage
):
    spec = make(make_spec, "tight", zero_stage=zero_stage, micro_batch_tokens=800)
    # 800 and 400 tokens are too many, 200 are not.
    for _ in range(2):
        with pytest.raises(Exception, match="in a backward pass; the next attempt takes half"):
            launch(spec, prepare=partial(break_backward, 250))
    launch(spec, prepare=partial(break_backward, 250))
    np.testing.assert_allclose(series(spec), series(reference), rtol=0, atol=1e-5)
    assert order(spec) == order(reference)
    told = [event for event in read_journal(spec.folder) if event["event"] == "out_of_memory"]
    assert [event["micro_batch_tokens"] for event in told] == [200]


@pytest.mark.scenario("out-of-memory")
def test_out_of_memory_in_backward_passes_gives_up_after_three_halvings(make_spec):
    spec = make(make_spec, "tight")
    for _ in range(3):
        with pytest.raises(Exception, match="the next attempt takes half"):
            launch(spec, prepare=partial(break_backward, 5))
    with pytest.raises(Exception, match=r"in a backward pass. Set training.micro_batch_tokens to"):
        launch(spec, prepare=partial(break_backward, 5))
    assert not read_outcome(spec.folder, spec.key).result


def break_evaluation(kind, limit, _rank):
    """Evaluations, or generations, over more padded tokens than `limit` run out of memory."""

    def hook(module, args, kwargs):
        generates = bool(kwargs.get("use_cache"))
        broken = not module.training and generates == (kind == "generate")
        if broken and kwargs["input_ids"].numel() > limit:
            raise MemoryError

    look_at_passes(hook)


def tables(spec):
    """Losses and answers of a trial, and what it told of its memory."""
    losses = pq.read_table(spec.folder / "losses.parquet")["loss"].to_numpy()
    answers = pq.read_table(spec.folder / "generations.parquet")["prediction"].to_pylist()
    events = [event for event in read_journal(spec.folder) if event["event"] == "out_of_memory"]
    return losses, answers, [event["micro_batch_tokens"] for event in events]


def make_generating(make_spec, name):
    return make_spec(
        ROWS[:6],
        name,
        model={"precision": "float32"},
        training=TRAINING | {"micro_batch_tokens": 800},
        evaluation={
            "every": 100,
            "micro_batch_tokens": 800,
            "generate": {"every": 100, "max_new_tokens": 4},
        },
    )


@pytest.fixture(scope="module")
def answered(make_module_spec):
    spec = make_generating(make_module_spec, "answered")
    launch(spec)
    return spec


@pytest.mark.scenario("out-of-memory")
@pytest.mark.parametrize(("kind", "ranks"), [("losses", 1), ("generate", 1), ("losses", 2)])
def test_out_of_memory_in_an_evaluation_halves_the_budget_and_changes_no_result(
    make_spec, answered, kind, ranks
):
    spec = make_generating(make_spec, "tight")
    prepare = partial(break_evaluation, kind, 450)
    if ranks > 1:  # where other ranks wait, the attempt ends
        with pytest.raises(Exception, match="the next attempt takes half"):
            launch(spec, ranks=ranks, prepare=prepare)
    launch(spec, ranks=ranks, prepare=prepare)
    (losses, answers, told), (expected, same, _) = tables(spec), tables(answered)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    assert answers == same
    assert told == [400]


def break_update(_rank):
    """The second optimizer step runs out of memory."""

    def update(*args):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return real(*args)

    real, calls = loop.update, []
    mock.patch.object(loop, "update", update).start()


@pytest.mark.scenario("out-of-memory")
def test_out_of_memory_in_an_optimizer_step_is_mended_by_the_next_attempt(make_spec, reference):
    spec = make(make_spec, "tight", micro_batch_tokens=800)
    with pytest.raises(Exception, match=r"optimizer's step.*; the next attempt takes half"):
        launch(spec, prepare=break_update)
    launch(spec)
    np.testing.assert_allclose(series(spec), series(reference), rtol=0, atol=1e-5)
    assert order(spec) == order(reference)
    told = [event for event in read_journal(spec.folder) if event["event"] == "out_of_memory"]
    assert [event["micro_batch_tokens"] for event in told] == [400]


@pytest.mark.scenario("not-finite")
def test_a_trial_that_diverges_is_stopped_by_its_test_losses(make_spec):
    spec = make(make_spec, "diverged", learning_rate=1e30, clip=None, max_steps=1)
    with pytest.raises(Exception, match=r"the loss of query row .* the model has diverged"):
        launch(spec)
    assert not read_outcome(spec.folder, spec.key).result


def test_a_trial_after_one_under_zero_3_in_the_same_process_is_that_of_a_fresh_one(make_spec):
    sharded, after, alone = (
        make(make_spec, name, zero_stage=stage)
        for name, stage in (("sharded", 3), ("after", 0), ("alone", 0))
    )
    launch(sharded, after, leave=True)
    launch(alone)
    assert series(after).tolist() == series(alone).tolist()


def break_collator(change, _rank):
    def collate(tokens, rows, *, packed):
        return batches.collate(tokens, change(rows), packed=packed)

    mock.patch.object(step, "collate", collate).start()


def swap_two(rows):
    return np.concatenate([rows[1::-1], rows[2:]]) if len(rows) > 1 else rows


def next_row(rows):
    return rows + 1


def first_twice(rows):
    return np.concatenate([rows[:1], rows[:1], rows[2:]]) if len(rows) > 1 else rows


@pytest.mark.parametrize("change", [swap_two, next_row, first_twice])
def test_a_collator_that_feeds_other_rows_than_it_was_asked_for_fails_the_trial(make_spec, change):
    spec = make(make_spec, "swapped")
    with pytest.raises(Exception, match=r"OrderError: .*row \d+ are not its tokens and marks"):
        launch(spec, prepare=partial(break_collator, change))
    assert not read_outcome(spec.folder, spec.key).result


def test_rows_fed_in_another_step_than_planned_fail_the_trial(make_spec):
    spec = make(make_spec, "shifted")
    with pytest.raises(Exception, match="OrderError: step 2 was not fed its planned rows"):
        launch(spec, prepare=shift_steps)
    assert (spec.folder / "realised.parquet").is_file(), "the evidence stays"
    assert not read_outcome(spec.folder, spec.key).result


def shift_steps(_rank):
    real = step.Feeder.feed

    def feed(self, number, rows):
        return real(self, number, rows[1:] if number == 2 else rows)

    mock.patch.object(step.Feeder, "feed", feed).start()
