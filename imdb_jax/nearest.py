"""Show the words most like a word in a trained model.

python -m imdb_jax.nearest RUN WORD
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from imdb_jax import cli
from imdb_jax.errors import check_integer
from imdb_jax.progress import tell


@dataclass(frozen=True)
class Options:
    """A model, and a word."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory of a model with word vectors."""

    word: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORD")]
    """A word that the model knows."""

    top: int = 10
    """Number of words to show."""

    quiet: bool = False
    """Print the words only, without the cosines."""


def nearest(arguments: Sequence[str]) -> None:
    """Parse the arguments and print the nearest words, one a line, with the cosine."""
    default = Options(tyro.MISSING, tyro.MISSING)
    options = cli.parse("imdb_jax.nearest", default, __doc__ or "", arguments)
    check_integer("top", options.top, 1)
    from imdb_jax.inference.classifier import load
    from imdb_jax.inference.word_vectors import nearest_words, word_vectors

    for word, cosine in nearest_words(word_vectors(load(options.run)), options.word, options.top):
        tell(word if options.quiet else f"{cosine:6.3f}  {word}")


main = partial(cli.run_command, nearest)

if __name__ == "__main__":
    main()
