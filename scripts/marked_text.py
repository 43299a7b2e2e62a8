"""Parts of a Markdown file that a script writes, between two marks."""

from __future__ import annotations

from pathlib import Path

from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically


def replace_marked(path: Path, name: str, text: str) -> None:
    """Puts a text between the marks of this name. Raises `UserError` without marks."""
    before, after = around_marked(path, name)
    write_atomically(path, f"{before}\n\n{text}\n\n{after}".encode())


def around_marked(path: Path, name: str) -> tuple[str, str]:
    """What stands before and after a marked text, the marks included.

    Raises:
      UserError: the file cannot be read, or lacks the marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    before, begun, rest = content.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise UserError(f"{path} lacks the marks {begin} and {end}")
    return before + begun, ended + after
