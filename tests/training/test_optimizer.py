"""Learning rates: optax' formulas, put together to last as long as the run."""

import numpy as np
import optax
import pytest

from imdb_jax.training.optimizer import keras_adam, learning_rate_schedule

PEAK = 0.5


def rates(*arguments, steps=40):
    rate = learning_rate_schedule(*arguments)
    return np.array([rate(step) if callable(rate) else rate for step in range(steps)])


def test_constant_is_a_number():
    assert learning_rate_schedule("constant", PEAK, 40) == PEAK


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("linear", lambda share: PEAK * (1 - share)),
        ("cosine", lambda share: PEAK * (1 + np.cos(np.pi * share)) / 2),
    ],
)
def test_falls_to_nothing_by_the_end(schedule, formula):
    np.testing.assert_allclose(
        rates(schedule, PEAK, 40, steps=41), formula(np.arange(41) / 40), atol=1e-7
    )


def test_warmup_and_cosine_are_those_of_optax():
    optax_rate = optax.warmup_cosine_decay_schedule(0, PEAK, 10, 40)
    expected = [optax_rate(step) for step in range(40)]
    np.testing.assert_allclose(rates("cosine", PEAK, 40, 0.25), expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 0.01, 0.1, 0.5, 0.999])
def test_rises_along_a_line_to_the_peak_and_never_again(schedule, warmup):
    found = rates(schedule, PEAK, 40, warmup)
    rising = round(40 * warmup)
    np.testing.assert_allclose(found[:rising], PEAK * np.arange(rising) / max(rising, 1), rtol=1e-6)
    assert np.all(np.diff(found[rising:]) <= 0)
    if rising < 40:
        assert found[rising] == PEAK
    if schedule == "constant":
        assert np.all(found[rising:] == PEAK)


def test_an_integer_is_a_rate_too():
    """However large: as an integer it would have to fit 32 bits."""
    updates, _ = keras_adam(10**12).update(np.float32([1]), keras_adam(1).init(np.float32([1])))
    assert float(updates[0]) < -1e11


def test_adam_follows_it():
    """The first step of Adam is as long as the learning rate."""
    optimizer = keras_adam(learning_rate_schedule("linear", PEAK, 4))
    params = np.float32([1.0])
    state = optimizer.init(params)
    lengths = []
    for _ in range(4):
        updates, state = optimizer.update(np.float32([1.0]), state, params)
        lengths.append(-float(updates[0]))
    np.testing.assert_allclose(lengths, [0.5, 0.375, 0.25, 0.125], rtol=1e-4)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1e300, "x", True, None])
def test_other_learning_rates_are_refused(rate):
    with pytest.raises(ValueError, match="learning_rate must be "):
        keras_adam(rate)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("step", PEAK, 40), "unknown schedule 'step'"),
        (("linear", 0, 40), "learning_rate must be positive, not 0"),
        (("linear", PEAK, 0), "steps must be at least 1, not 0"),
        (("linear", PEAK, 2.5), "steps must be of type int, not 2.5"),
        (("linear", PEAK, 2**40), "steps must be at most"),
        (("linear", PEAK, 40, 1), "warmup must be at least 0"),
    ],
)
def test_other_schedules_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        learning_rate_schedule(*arguments)
