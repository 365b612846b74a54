"""The quadratic model of training against real gradient descent where the loss is one."""

import numpy as np
import pytest
import torch

from orchestrator.core.order import rows_fed
from orchestrator.core.quadratic import Course, Quadratic, fit_constants
from orchestrator.training.schedule import learning_rate

ROWS, WIDTH = 40, 7


def cosine(step, steps):
    return learning_rate(step, steps, 0.3, "cosine", 0.1)


def constant(step, steps):
    return 0.3


class LeastSquares:
    """Rows of |A x - b|^2 / 2 whose mean g g' at x = 0 is A'A, and a preconditioner D."""

    def __init__(self, seed=0, tests=5):
        rng = np.random.default_rng(seed)
        self.gradients = rng.normal(size=(ROWS, WIDTH)) + rng.normal(size=WIDTH)
        self.design = np.linalg.cholesky(self.gradients.T @ self.gradients / ROWS).T
        self.goals = -np.linalg.solve(self.design.T, self.gradients.T).T
        self.test_goals = rng.normal(size=(tests, WIDTH))
        self.metric = rng.uniform(0.1, 0.5, WIDTH)
        self.mass = rng.integers(1, 9, ROWS).astype(float)
        self.order = rng.permutation(ROWS)

    def phi(self, goals):
        return -(goals @ self.design) * self.metric**0.5

    def losses_at(self, point):
        return ((self.design @ point - self.test_goals) ** 2).sum(axis=1) / 2

    def trained(self, rows, course):
        """Test losses after each step of real training, with autograd in float64."""
        design, goals, metric, mass = map(
            torch.as_tensor, (self.design, self.goals, self.metric, self.mass)
        )
        point = torch.zeros(WIDTH, dtype=torch.float64, requires_grad=True)
        moment, found = torch.zeros(WIDTH, dtype=torch.float64), [self.losses_at(np.zeros(WIDTH))]
        steps = course.steps(len(rows))
        ends = rows_fed(np.arange(steps + 1), len(rows), course.global_batch, course.epochs)
        for step in range(1, steps + 1):
            batch = rows[ends[step - 1] : ends[step]]
            losses = ((design @ point - goals[batch]) ** 2).sum(dim=1) / 2
            loss = (losses * mass[batch]).sum() / mass[batch].sum()
            (gradient,) = torch.autograd.grad(loss, point)
            moment = course.momentum * moment + (1 - course.momentum) * gradient
            with torch.no_grad():
                rate = course.rate(step, steps) / (1 - course.momentum**step)
                point -= rate * metric * moment
            found.append(self.losses_at(point.detach().numpy()))
        return np.array(found)

    def foreseen(self, rows, course):
        model = Quadratic(self.phi(self.goals), self.mass)
        tests = model.turned(self.phi(self.test_goals))
        return model.losses(model.follow(rows, course), tests, self.losses_at(np.zeros(WIDTH)))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    "how", [{}, {"global_batch": 1}, {"max_steps": 4}, {"epochs": 2}, {"rate": constant}]
)
def test_every_step_is_that_of_real_gradient_descent(how, momentum):
    toy = LeastSquares()
    course = Course(**{"global_batch": 6, "rate": cosine, "momentum": momentum} | how)
    rows = np.tile(toy.order[:-7], course.epochs)
    foreseen, trained = toy.foreseen(rows, course), toy.trained(rows, course)
    assert foreseen.shape == (course.steps(len(rows)) + 1, 5)
    assert np.allclose(foreseen, trained, rtol=1e-11, atol=1e-11)
    assert np.ptp(trained, axis=0).min() > 0.01  # not of a model that stands still


def end(toy, rows, rate, curved):
    model = Quadratic(toy.phi(toy.goals), toy.mass)
    if not curved:
        model.curvature[:] = 0
    return model.follow(rows, Course(5, rate))[-1]


@pytest.mark.parametrize(
    ("rate", "curved", "differ"),
    [(constant, False, False), (cosine, False, True), (constant, True, True)],
)
def test_order_counts_by_the_learning_rate_and_by_the_curvature_alone(rate, curved, differ):
    toy = LeastSquares()
    here, there = (end(toy, rows, rate, curved) for rows in (toy.order, toy.order[::-1]))
    assert np.allclose(here, there, rtol=1e-9) != differ


def test_rows_of_one_batch_may_stand_in_any_order():
    toy = LeastSquares()
    within = np.concatenate([part[::-1] for part in np.split(toy.order, 8)])
    course = Course(5, cosine)
    assert np.allclose(toy.foreseen(within, course), toy.foreseen(toy.order, course), rtol=1e-12)


def test_a_batch_without_any_answer_pulls_nowhere_and_rows_without_one_count_nothing():
    toy = LeastSquares()
    toy.mass[toy.order[:5]] = 0
    toy.mass[toy.order[5:7]] = 0
    model = Quadratic(toy.phi(toy.goals), toy.mass)
    first = model.follow(toy.order[:10], Course(5, constant))
    assert not first[1].any()
    answered = model.follow(toy.order[7:10], Course(3, constant))
    assert np.allclose(first[2], answered[1])


def test_rows_without_an_answer_leave_the_curvature_as_it_is():
    toy = LeastSquares()
    phi = toy.phi(toy.goals)
    model = Quadratic(phi, toy.mass)
    more = Quadratic(
        np.concatenate([phi, np.zeros((ROWS, WIDTH))]), np.concatenate([toy.mass, np.zeros(ROWS)])
    )
    assert np.allclose(more.curvature, model.curvature, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("share", "settles"), [(0.98, True), (1.02, False)])
def test_whether_steps_settle_is_told_before_they_are_followed(momentum, share, settles):
    toy = LeastSquares()
    model = Quadratic(toy.phi(toy.goals), toy.mass)
    limit = 2 * (1 + momentum) / (1 - momentum) / model.curvature.max()
    course = Course(ROWS, lambda step, steps: share * limit, epochs=1500, momentum=momentum)
    assert model.settles(course, 1500 * ROWS) == settles
    places = np.abs(model.follow(np.tile(toy.order, 1500), course))
    assert (places[-50:].max() < 10 * places[:200].max()) == settles


@pytest.mark.parametrize("scale", [0.1, 1.0, 1.9])
def test_the_mean_loss_of_the_pool_falls_by_half_a_nat_at_most(scale):
    toy = LeastSquares()
    phi = toy.phi(toy.goals)
    model = Quadratic(phi, np.ones(ROWS))
    course = Course(ROWS, lambda step, steps: scale / model.curvature.max(), epochs=2000)
    places = model.follow(np.tile(toy.order, 2000), course)
    mean = model.losses(places, model.turned(phi.mean(axis=0)[None]), np.zeros(1))
    assert -0.5 <= mean.min() < -0.1


def test_more_dimensions_than_rows_are_followed_as_well():
    toy, rng = LeastSquares(), np.random.default_rng(3)
    turn = np.linalg.qr(rng.normal(size=(3 * ROWS, 3 * ROWS)))[0][:WIDTH]
    phi, tests = (toy.phi(goals) @ turn for goals in (toy.goals, toy.test_goals))
    model, course = Quadratic(phi, toy.mass), Course(6, cosine)
    assert len(model.curvature) == WIDTH
    start = toy.losses_at(np.zeros(WIDTH))
    wide = model.losses(model.follow(toy.order, course), model.turned(tests), start)
    assert np.allclose(wide, toy.foreseen(toy.order, course), rtol=1e-9)


def test_both_constants_are_fitted_to_measured_curves():
    toy = LeastSquares()
    tests, start = toy.phi(toy.test_goals), toy.losses_at(np.zeros(WIDTH))

    def predict(scale, curvature):
        model = Quadratic(toy.phi(toy.goals), toy.mass, curvature)
        places = model.follow(toy.order, Course(6, cosine, scale=scale))
        return model.losses(places, model.turned(tests), start)

    assert fit_constants(predict, predict(0.35, 0.2)) == pytest.approx((0.35, 0.2), rel=1e-3)


def test_a_constant_that_curves_say_nothing_of_stays_where_it_is_sought():
    rising = fit_constants(lambda scale, curvature: np.array([scale]), np.array([99.0]))
    assert rising[0] == pytest.approx(10)
    falling = fit_constants(lambda scale, curvature: np.array([curvature]), np.zeros(1))
    assert falling[1] == pytest.approx(1e-3)
