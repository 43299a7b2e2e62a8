"""Checks of values, which options and the arguments of functions share."""

import numpy as np
import pytest

from imdb_jax.errors import (
    LARGEST,
    UserError,
    check_choice,
    check_integer,
    check_positive,
    check_share,
    check_type,
)

NAN, INF = float("nan"), float("inf")
NO_NUMBERS = ("x", "", None, [1], True, np.array([1, 2]))
# More digits than Python writes.
HUGE = pytest.param(10**5000, id="huge")


@pytest.mark.parametrize("value", [1, LARGEST, np.int64(5), np.uint8(5)])
def test_integers(value):
    check_integer("size", value, 1)


@pytest.mark.parametrize("value", [0, -1, 2**31, 2**70, HUGE, 2.5, 3.0, NAN, INF, *NO_NUMBERS])
def test_what_is_no_size_is_refused_by_name_in_a_line(value):
    with pytest.raises(UserError, match=r"^size must be .*, not .{1,210}$"):
        check_integer("size", value, 1)


@pytest.mark.parametrize("value", [1, -0.1, 2**70, NAN, INF, -INF, *NO_NUMBERS])
def test_what_is_no_share_is_refused(value):
    check_share("share", 0)
    check_share("share", np.float32(0.5))
    with pytest.raises(UserError, match=r"^share must be "):
        check_share("share", value)


@pytest.mark.parametrize("value", [0, -1, 1e300, 10**400, HUGE, NAN, INF, *NO_NUMBERS])
def test_what_is_not_positive_or_not_finite_in_32_bits_is_refused(value):
    check_positive("rate", 1e-300)
    check_positive("rate", 1)
    with pytest.raises(UserError, match=r"^rate must be "):
        check_positive("rate", value)


@pytest.mark.parametrize("value", ["hinge", "", "x" * 10_000, None, 3])
def test_what_is_no_choice_is_refused(value):
    check_choice("loss", "mse", ("mse", "mae"))
    with pytest.raises(UserError, match=r"loss .{1,300}$"):
        check_choice("loss", value, ("mse", "mae"))


def test_only_a_boolean_is_a_boolean():
    check_type("quiet", True, bool)
    with pytest.raises(UserError, match="quiet must be of type bool, not 1"):
        check_type("quiet", 1, bool)


def test_a_user_error_is_a_value_error():
    """So that callers of functions need not know of it."""
    assert issubclass(UserError, ValueError)
