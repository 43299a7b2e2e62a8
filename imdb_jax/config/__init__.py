"""The options of a run, and recipes as TOML files. Imports no JAX."""

from imdb_jax.config.config import Config, flatten, replace
from imdb_jax.config.options import UNSUPERVISED, DataOptions
from imdb_jax.config.recipes import (
    DEBUG,
    differences,
    dump_config,
    has_config,
    load_config,
    load_recipe,
    recipe_directory,
    recipe_names,
)

__all__ = [
    "DEBUG",
    "UNSUPERVISED",
    "Config",
    "DataOptions",
    "differences",
    "dump_config",
    "flatten",
    "has_config",
    "load_config",
    "load_recipe",
    "recipe_directory",
    "recipe_names",
    "replace",
]
