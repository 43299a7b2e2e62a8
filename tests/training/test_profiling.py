"""Traces of a few steps, and the search for NaNs."""

import gzip
import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trainer import trainer

from imdb_jax.errors import UserError
from imdb_jax.runs.checkpoints import Checkpoints
from imdb_jax.runs.fit import fit
from imdb_jax.training.profiling import profiler, traced_steps


@given(first=st.integers(0, 1000), steps=st.integers(1, 1000))
def test_a_few_steps_are_traced_after_as_many_that_are_not(first, steps):
    traced = traced_steps(first, first + steps)
    assert set(traced) <= set(range(first, first + steps))
    assert 1 <= len(traced) <= 10
    assert traced.start - first == (len(traced) if steps > 1 else 0)


def events(directory):
    """Names of what happened, as often as it did."""
    (path,) = directory.glob("plugins/profile/*/perfetto_trace.json.gz")
    assert len(list(path.parent.glob("*.xplane.pb"))) == 1  # what TensorBoard reads
    return [event.get("name") for event in json.loads(gzip.open(path).read())["traceEvents"]]


@pytest.mark.parametrize("resident", [False, True])
def test_trace_of_a_run_holds_the_steps_that_it_says(tmp_path, resident):
    """Of five steps an epoch, the third and fourth."""
    traced, said = trainer(resident=resident, profile=True, keep=0), []
    with Checkpoints(tmp_path / "checkpoints", 0) as checkpoints:
        fit(traced, checkpoints, "reviews", tmp_path, said.append)
    calls = [name for name in events(tmp_path / "profile") if name and "stages.py" in name]
    assert len([name for name in calls if name.endswith("__call__")]) == (1 if resident else 2)
    (line,) = [line for line in said if "traced" in line]
    assert line.startswith(f"traced steps 3 to 4: open {tmp_path}/profile/plugins/profile/")


def test_trace_of_a_run_that_fails_is_written_all_the_same(tmp_path):
    def fail(directory):
        with profiler(directory, range(1, 3), lambda: None, str) as trace:
            trace(0)
            trace(1)
            raise UserError("something else")

    for part in ("one", "two"):  # the second, as the profiler is free again
        with pytest.raises(UserError):
            fail(tmp_path / part)
        assert events(tmp_path / part)


@pytest.mark.parametrize("ended_by", [None, UserError("something else")])
def test_trace_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, ended_by):
    def full():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: vm.xplane.pb; No space left")

    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: None)
    monkeypatch.setattr(jax.profiler, "stop_trace", full)

    def train():
        with profiler(tmp_path, range(1, 3), lambda: None, str) as trace:
            trace(1)
            if ended_by:
                raise ended_by
            trace(3)

    with pytest.raises(UserError) as caught:
        train()
    assert str(caught.value) == str(
        ended_by or f"the trace {tmp_path} cannot be written: No space left"
    )


def test_a_nan_is_found_at_the_step_that_computes_it(capsys):
    searched = trainer("cnn", debug_nans=True, learning_rate=1e30)
    with pytest.raises(UserError) as caught:
        searched.train_epoch()
    assert str(caught.value).startswith("a NaN in step 2 of epoch 1: invalid value (nan) enc")
    assert str(caught.value).endswith("; try a learning rate below 1e+30")
    assert capsys.readouterr() == ("", "")


def test_a_nan_in_evaluation_is_found_too():
    searched = trainer("cnn", debug_nans=True)
    arrays = searched.arrays()
    searched.restore(
        {
            name: array * np.float32(1e30) if "kernel" in name else array
            for name, array in arrays.items()
        }
    )
    with pytest.raises(UserError, match="a NaN in evaluation: invalid value"):
        searched.evaluate(searched._validation)


def test_the_search_changes_no_figure():
    searched, plain = trainer("cnn", debug_nans=True), trainer("cnn")
    np.testing.assert_allclose(searched.train_epoch()[:-1], plain.train_epoch()[:-1], rtol=1e-5)
