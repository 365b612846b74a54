"""Which ranks are told to be frozen or to hang, from what they have written; no process is hung."""

import io

import pytest
from rich.console import Console

from orchestrator.screen import Screen
from orchestrator.training.device import WAIT_SECONDS
from orchestrator.training.heartbeat import LOADING, Heartbeat
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from orchestrator.tune import hangs
from orchestrator.tune.hangs import BEGIN_SECONDS, LOOK_COUNTS_SECONDS, Guard, Silence
from tests.trials.studies import demo, grid

STEP = "in a step"
TIMEOUT = 120.0


def signs(*done, written=0, doing=STEP, ended=(STEP,)):
    """A sign of each rank: what it has done, and how often it wrote (one number, or one a rank)."""
    times = written if isinstance(written, tuple) else (written,) * len(done)
    return [
        Heartbeat(rank, f"node-{rank}", 100 + rank, times[rank], count, doing, list(ended))
        for rank, count in enumerate(done)
    ]


def seconds_until_told(silence, sign, most):
    """After how many seconds of a look each is something told, and of which ranks; None: never."""
    for second in range(1, most + 1):
        if told := silence.look(sign(second), 1.0):
            return second, told
    return None


def after_steps_of(seconds, ranks=1):
    """A watcher that has seen three steps of so many seconds each."""
    silence = Silence(TIMEOUT)
    for second in range(3 * seconds + 1):
        ended = [STEP] * (second >= seconds)
        now = signs(*[second // seconds] * ranks, written=second, ended=ended)
        assert not silence.look(now, 1.0)
    return silence


@pytest.mark.scenario("frozen-rank")
@pytest.mark.parametrize("longest", [1, 40, 600])
def test_a_rank_hangs_once_it_is_silent_for_the_timeout_beyond_its_longest_step(longest):
    silence = after_steps_of(longest)
    second, told = seconds_until_told(
        silence, lambda second: signs(3, written=10_000 + second), 2000
    )
    assert second == pytest.approx(longest + TIMEOUT, abs=2)
    assert list(told) == [0]
    assert told[0].startswith("hangs in a step: nothing done for ")


@pytest.mark.scenario("frozen-rank")
def test_steps_that_become_slower_than_before_are_not_hung():
    silence, second = Silence(TIMEOUT), 0
    for done, length in enumerate((1, 100, 200, 310)):  # each by less than the timeout
        for _ in range(length):
            second += 1
            assert not silence.look(signs(done, written=second), 1.0)


@pytest.mark.scenario("frozen-rank")
@pytest.mark.parametrize("doing", [LOADING, "in a checkpoint"])  # parts of it were done before
def test_what_is_done_for_the_first_time_may_take_as_long_as_ranks_wait_for_one_another(doing):
    silence = after_steps_of(1)
    silence.look(signs(8, written=9000, doing=doing), 1.0)
    second, _ = seconds_until_told(
        silence, lambda second: signs(9, written=10_000 + second, doing=doing), 2 * WAIT_SECONDS
    )
    assert second == pytest.approx(WAIT_SECONDS, abs=2)


@pytest.mark.scenario("frozen-rank")
def test_a_frozen_rank_is_told_after_the_timeout_whatever_it_does():
    for doing in (LOADING, STEP):
        silence = Silence(TIMEOUT)
        second, told = seconds_until_told(
            silence, lambda second, doing=doing: signs(0, 0, written=(second, 0), doing=doing), 200
        )
        assert second == pytest.approx(TIMEOUT, abs=2)
        assert list(told) == [1]
        assert told[1].startswith(f"is frozen {doing}: ")


@pytest.mark.scenario("frozen-rank")
@pytest.mark.parametrize(("done", "hung"), [((7, 8), [0]), ((8, 7), [1]), ((7, 7, 8), [0, 1])])
def test_of_a_gang_those_hang_that_have_done_least_for_the_others_wait_for_them(done, hung):
    silence = after_steps_of(1, ranks=len(done))
    _, told = seconds_until_told(silence, lambda second: signs(*done, written=1000 + second), 200)
    assert list(told) == hung


@pytest.mark.scenario("frozen-rank")
def test_a_rank_that_waits_for_one_that_works_does_not_hang():
    silence = after_steps_of(1, ranks=2)
    told = seconds_until_told(
        silence, lambda second: signs(9 + second // 60, 9, written=1000 + second), 2000
    )
    assert told is None


@pytest.mark.scenario("frozen-rank")
def test_a_pause_of_the_watcher_tells_nothing_of_the_ranks():
    silence = after_steps_of(1)
    assert not silence.look(signs(3, written=1000), 10 * TIMEOUT)
    assert not silence.look(signs(3, written=1000), TIMEOUT - 2 * LOOK_COUNTS_SECONDS)


@pytest.mark.scenario("frozen-rank")
def test_ranks_that_do_not_begin_are_told_once_and_not_before_they_may_have_a_place(
    tmp_path, monkeypatch
):
    trial = expand(demo(grid(seed=[1])))[0]
    spec = TrialSpec(
        trial.name, trial.key, trial.config, tmp_path, "", tmp_path, tmp_path, "", tmp_path,
        tmp_path,
    )  # fmt: skip
    clock, shown = {"now": 50.0}, io.StringIO()
    monkeypatch.setattr(hangs.time, "monotonic", lambda: clock["now"])
    guard = Guard(spec, Screen(Console(file=shown, width=300)))
    for clock["now"] in (60.0, 50 + BEGIN_SECONDS, 51 + BEGIN_SECONDS, 900.0):
        guard.look()
        assert (trial.name in shown.getvalue()) == (clock["now"] > 50 + BEGIN_SECONDS)
    (said,) = shown.getvalue().splitlines()
    assert said.startswith(f"warning {trial.name}: none of its ranks has begun for 5 min: ")
