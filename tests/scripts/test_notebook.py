"""The notebook is stored as a person wants to open it: valid, unexecuted, without outputs.

That its cells run is checked by scripts/run_notebook.py.
"""

import ast
import json
from pathlib import Path

import pytest

import imdb_jax

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_is_one():
    assert NOTEBOOKS


def test_outputs_are_stripped(notebook):
    for cell in code_of(notebook):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]


def test_it_is_a_valid_notebook(notebook):
    pytest.importorskip("nbformat").validate(notebook)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))


def test_its_names_are_public(notebook):
    """Every `imdb_jax.name` is one, so that a name cannot go without the notebook noticing."""
    sources = ["".join(cell["source"]) for cell in code_of(notebook)]
    trees = [ast.parse(source) for source in sources if "!git" not in source]
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "imdb_jax"
    }
    assert {"load", "train_step"} <= used <= set(imdb_jax.__all__)


def test_values_to_change_are_in_one_cell(notebook):
    (cell,) = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", ())]
    names = {node.targets[0].id for node in ast.parse("".join(cell["source"])).body}
    assert names == {"DATASET", "EPOCHS"}
