"""Runs a notebook from top to bottom on the synthetic corpus; fails at the first cell that does.

    python scripts/run_notebook.py notebooks/imdb_jax.ipynb

The cells run in an empty directory; the file of the notebook stays as it is (extra `notebook`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import nbclient
import nbformat
import tyro

from imdb_jax import cli
from imdb_jax.errors import UserError

# What a run to check the notebook has instead of the values of its cell tagged 'parameters'.
_PARAMETERS = 'DATASET = "synthetic"\nEPOCHS = 1'


@dataclass(frozen=True)
class Options:
    """What to run."""

    file: Annotated[Path, tyro.conf.Positional] = Path("notebooks/imdb_jax.ipynb")
    """The notebook."""


def run_notebook(arguments: Sequence[str]) -> None:
    """Runs the cells; raises `UserError` for the first that fails, with what it raised."""
    options = cli.parse("run_notebook", Options(), __doc__ or "", arguments)
    notebook = nbformat.read(options.file, as_version=4)
    nbformat.validate(notebook)
    cells = notebook.cells
    (place,) = (n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    cells.insert(place + 1, nbformat.v4.new_code_cell(_PARAMETERS))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        resources = {"metadata": {"path": directory}}
        try:
            nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
        except nbclient.exceptions.CellExecutionError as error:
            raise UserError(f"{options.file}: {error}") from error
    for cell in cells:
        for output in cell.get("outputs", ()):
            print(output.get("text") or output["data"].get("text/plain", ""), end="")
    print(f"{options.file}: ran in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    cli.run_command(run_notebook)
