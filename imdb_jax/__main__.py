"""All commands under one name: `imdb-jax train --arch cnn`, or `python -m imdb_jax train ...`."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib.metadata import version

from imdb_jax import __version__
from imdb_jax.errors import UserError, unknown_name

# Each is a module of this package, imported when it is asked for.
COMMANDS = {
    "train": "train a recipe, from texts to a run directory",
    "predict": "say whether texts are positive, and why",
    "evaluate": "measure a trained model on labelled reviews",
    "explore": "show sizes, lengths and words of a data set",
    "export": "write a trained model for other programs",
    "nearest": "show the words most like a word in a trained model",
}


def main() -> None:
    """Run the command that the first argument names, or answer `--help` or `--version`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        del sys.argv[1]
        importlib.import_module(f"imdb_jax.{name}").main()
        return
    from imdb_jax import cli

    cli.run_command(lambda arguments: print(_answer(name)))


def _answer(argument: str) -> str:
    """Return what to print for an argument that names no command; raise `UserError` for others."""
    if argument == "--version":
        libraries = (f"{library} {version(library)}" for library in ("jax", "flax"))
        return ", ".join([f"imdb_jax {__version__}", *libraries, _PYTHON])
    if argument not in ("-h", "--help"):
        raise UserError(unknown_name("command", argument, COMMANDS))
    commands = (f"  {name:10}{what}" for name, what in COMMANDS.items())
    return "\n".join([_USAGE, *commands, "", _MORE])


_PYTHON = f"Python {platform.python_version()}"
_USAGE = "usage: imdb-jax COMMAND [OPTIONS]\n\nClassify IMDb reviews, and texts of your own.\n"
_MORE = "imdb-jax COMMAND --help shows its options; imdb-jax --version shows versions."

if __name__ == "__main__":
    main()
