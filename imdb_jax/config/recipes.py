"""Recipes and configurations of runs as TOML files.

A file has one flat table with the names of the command-line options, and a table [model].
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from imdb_jax.config.config import Config, flatten, option_types, replace
from imdb_jax.errors import UserError, check_type, unknown_name
from imdb_jax.files import is_regular, read_toml


def recipe_directory() -> Path:
    """Return where the recipes are: in an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return next(d for d in (package / "configs", package.parent / "configs") if d.is_dir())


# The recipe of a tiny model that tests an installation; it names no architecture.
DEBUG = "debug"


def recipe_names() -> list[str]:
    """Return the names of the recipes, one per architecture."""
    return sorted(path.stem for path in recipe_directory().glob("*.toml") if path.stem != DEBUG)


def load_recipe(name: str, unlabelled: bool = False) -> Config:
    """Read the recipe of an architecture, or `DEBUG`; raise `UserError` if there is none.

    Some architectures have another recipe for learning from unlabelled texts as well.
    """
    if name not in (names := [*recipe_names(), DEBUG]):
        raise UserError(unknown_name("architecture", name, names))
    path = recipe_directory() / f"{name}.toml"
    other = path.with_name("unlabelled") / path.name
    return load_config(other if unlabelled and other.exists() else path)


def load_config(path: Path) -> Config:
    """Read a TOML file, such as a recipe or a run's own; raise `UserError` if it is bad.

    The recipe of its `arch` gives the options that the file leaves out.
    """
    table = read_toml(path)
    try:
        number = table.pop("format", FORMAT)
        if type(number) is not int or number < 1:
            raise UserError(f"the format must be a number from 1 to {FORMAT}, not {number!r}")
        if number > FORMAT:
            raise UserError(
                f"a newer version of imdb_jax wrote this, in format {number}; the installed "
                f"version reads formats up to {FORMAT}; upgrade it"
            )
        if path.parent == recipe_directory():
            return override(Config(), table)
        if "arch" not in table:
            raise UserError("the key 'arch' is missing")
        _check_type("arch", table["arch"], str)
        return override(load_recipe(table["arch"]), table)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def dump_config(config: Config) -> str:
    """Return a configuration as TOML that `load_config` reads back."""
    values = flatten(config, saved_only=True)
    model = values.pop("model")
    lines = [f"format = {FORMAT}"]
    lines += [f"{name} = {_to_toml(value)}" for name, value in values.items() if value is not None]
    lines += ["", "[model]"] + [f"{name} = {_to_toml(value)}" for name, value in model.items()]
    return "\n".join(lines) + "\n"


def has_config(directory: Path) -> bool:
    """Return whether `dump_config` wrote the `config.toml` in a directory."""
    return saved_format(directory) is not None


def saved_format(directory: Path) -> int | None:
    """Return the format of the `config.toml` in a directory; None if `dump_config` wrote none.

    Other programs have a file of that name too, and so may a recipe; they have no format.
    """
    path = directory / "config.toml"
    try:
        table = read_toml(path) if is_regular(path) else {}
    except (OSError, UserError):
        return None
    number = table.get("format")
    return number if type(number) is int and isinstance(table.get("arch"), str) else None


# The format of a run directory; raise it when an older version would misread what this one writes.
# Runs of format 1 have no manifest.
FORMAT = 2

_TYPES = option_types(Config)


def differences(config: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Return the saved options in which two runs differ, with both values.

    Hyper-parameters of the model are named like 'model.hidden'.
    """
    options, others = _saved_options(config), _saved_options(other)
    pairs = {name: (options.get(name), others.get(name)) for name in options | others}
    return {name: (value, other) for name, (value, other) in pairs.items() if value != other}


def _saved_options(config: Config) -> dict[str, Any]:
    options = flatten(config, saved_only=True)
    # TOML has no tuples.
    model = {k: list(v) if isinstance(v, tuple) else v for k, v in options.pop("model").items()}
    return options | {f"model.{name}": value for name, value in model.items()}


def _to_toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's as well, but for one character.
    text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return text.replace("\x7f", r"\u007f")


def override(base: Config, table: Mapping[str, Any], kind: str = "key") -> Config:
    """Replace values of `base` by those of a TOML table, whose keys errors call `kind`."""
    for name, value in table.items():
        if name not in _TYPES:
            raise UserError(unknown_name(kind, name, _TYPES))
        _check_type(name, value, _TYPES[name])
    changes: dict[str, Any] = {
        name: Path(value) if _is_path(_TYPES[name]) else value for name, value in table.items()
    }
    model = table.get("model", {})
    for name, value in model.items() if base.model else ():
        if name not in base.model:
            known = (f"model.{other}" for other in base.model)
            raise UserError(unknown_name(kind, f"model.{name}", known))
        _check_like(f"model.{name}", value, base.model[name])
    return replace(base, **changes | {"model": base.model | model})


def _is_path(kind: Any) -> bool:
    return Path in typing.get_args(kind)


def _check_like(name: str, value: Any, example: Any) -> None:
    """Check that a value, and each item of a list, has the type of an example."""
    _check_type(name, value, type(example))
    if isinstance(value, list) and example:
        for item in value:
            _check_type(f"each of {name}", item, type(example[0]))


def _check_type(name: str, value: Any, kind: Any) -> None:
    if _is_path(kind) or typing.get_origin(kind) is Literal:
        kind = str
    if float in typing.get_args(kind):  # or None, which a file leaves out
        kind = float
    check_type(name, value, typing.get_origin(kind) or kind)
