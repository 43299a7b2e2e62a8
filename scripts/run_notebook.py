"""Runs notebooks from top to bottom; fails at the first cell that does.

    python scripts/run_notebook.py notebooks/*.ipynb
    python scripts/run_notebook.py notebooks/*.ipynb --dataset imdb_reviews --write

The cells run in an empty directory. `--write` saves what they show in the notebooks, but for cells
tagged 'shows-reviews': the texts of the reviews belong to their authors (extra `notebook`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import nbclient
import nbformat
import tyro
from nbformat import NotebookNode

from imdb_jax import cli
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically


@dataclass(frozen=True)
class Options:
    """What to run."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The notebooks."""

    dataset: Literal["synthetic", "imdb_reviews"] = "synthetic"
    """What the cell tagged 'parameters' sets DATASET to, in this run only."""

    write: bool = False
    """Save the outputs in the notebooks."""


def run_notebooks(arguments: Sequence[str]) -> None:
    """Runs the cells; raises `UserError` for the first that fails, with what it raised."""
    options = cli.parse("run_notebook", Options(tyro.MISSING), __doc__ or "", arguments)
    for file in options.files:
        notebook = nbformat.read(file, as_version=4)
        nbformat.validate(notebook)
        started = time.perf_counter()
        try:
            ran = run(notebook, options.dataset)
        except nbclient.exceptions.CellExecutionError as error:
            raise UserError(f"{file}: {error}") from error
        seconds = time.perf_counter() - started
        for cell in ran.cells:
            for output in cell.get("outputs", ()):
                print(output.get("text") or output["data"].get("text/plain", ""), end="")
        print(f"{file}: ran in {seconds:.0f} s", flush=True)
        if options.write:
            write_atomically(file, (nbformat.writes(with_outputs(notebook, ran)) + "\n").encode())


def run(notebook: NotebookNode, dataset: str) -> NotebookNode:
    """Returns a copy of a notebook whose cells have run on a data set."""
    ran = deepcopy(notebook)
    (parameters,) = (c for c in ran.cells if "parameters" in c.metadata.get("tags", ()))
    parameters.source = f'DATASET = "{dataset}"'
    with tempfile.TemporaryDirectory() as directory:
        resources = {"metadata": {"path": directory}}
        client = nbclient.NotebookClient(ran, timeout=900, record_timing=False, resources=resources)
        client.execute()
    return ran


def with_outputs(notebook: NotebookNode, ran: NotebookNode) -> NotebookNode:
    """Returns a notebook with the outputs of a run, and nothing else of it."""
    written = deepcopy(notebook)
    for cell, cell_that_ran in zip(written.cells, ran.cells, strict=True):
        if cell.cell_type == "code":
            hidden = "shows-reviews" in cell.metadata.get("tags", ())
            cell.outputs = [] if hidden else cell_that_ran.outputs
            cell.execution_count = cell_that_ran.execution_count
    return written


if __name__ == "__main__":
    cli.run_command(run_notebooks)
