"""Packages that only some features need."""

import importlib
from typing import Any

from imdb_jax.errors import UserError


def require(module: str, extra: str) -> Any:
    """Imports a module of an optional package.

    Raises:
      UserError: it is not installed; the message says which extra of this package asks for it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(
            f"{package} is not installed; pip install {package}, or all that this feature needs: "
            f"pip install 'imdb_jax[{extra}]'"
        ) from error
