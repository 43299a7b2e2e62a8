"""Which column of a table holds the texts, and which one the labels."""

from __future__ import annotations

from collections.abc import Sequence

from imdb_jax.errors import UserError, unknown_name

TEXT_COLUMNS = ("text", "review", "sentence", "content")
LABEL_COLUMNS = ("label", "sentiment", "class", "target")


def choose_column(
    names: Sequence[str], wanted: str, usual: Sequence[str], where: str, option: str
) -> str:
    """Choose the wanted column or, if `wanted` is empty, the one with a usual, lower-case name.

    The first usual name is preferred; of the others only one may occur. Raises `UserError`, which
    names the table (`where`) and the option, if there is no such column or more than one.
    """
    if wanted and wanted not in names:
        raise UserError(f"{where}: {unknown_name('column', wanted, names)}")
    found = [name for name in names if (name == wanted if wanted else name.lower() == usual[0])]
    found = found or [name for name in names if name.lower() in usual]
    if len(found) == 1:
        return found[0]
    problem = f"no column {usual[0]!r} among {', '.join(names)}"
    if found:
        problem = f"several columns are possible: {', '.join(found)}"
    raise UserError(f"{where}: {problem}; choose one with {option}")
