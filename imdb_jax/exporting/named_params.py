"""Parameters by name, as most formats hold them."""

from __future__ import annotations

from typing import Any

import flax
import jax
import numpy as np
from numpy.typing import NDArray


def named_params(params: Any) -> dict[str, NDArray[Any]]:
    """Name the parameters by the keys of the tree joined by dots, such as `Dense_0.kernel`."""
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(params, sep=".")
    return {name: np.asarray(jax.device_get(leaf), order="C") for name, leaf in flat.items()}
