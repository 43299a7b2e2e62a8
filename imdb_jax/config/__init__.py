"""The options of a run, and recipes as TOML files. Imports no JAX."""

from imdb_jax.config.config import Config as Config
from imdb_jax.config.config import flatten as flatten
from imdb_jax.config.config import replace as replace
from imdb_jax.config.options import UNSUPERVISED as UNSUPERVISED
from imdb_jax.config.options import DataOptions as DataOptions
from imdb_jax.config.options import OptionalPath as OptionalPath
from imdb_jax.config.recipes import DEBUG as DEBUG
from imdb_jax.config.recipes import differences as differences
from imdb_jax.config.recipes import dump_config as dump_config
from imdb_jax.config.recipes import has_config as has_config
from imdb_jax.config.recipes import load_config as load_config
from imdb_jax.config.recipes import load_recipe as load_recipe
from imdb_jax.config.recipes import override as override
from imdb_jax.config.recipes import recipe_directory as recipe_directory
from imdb_jax.config.recipes import recipe_names as recipe_names
from imdb_jax.config.recipes import saved_format as saved_format
