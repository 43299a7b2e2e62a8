"""Error messages for misspelt names."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """Says that `name` is no such `kind`, which name is nearest, and which there are."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {name!r}{hint}; there are: {', '.join(choices)}"
