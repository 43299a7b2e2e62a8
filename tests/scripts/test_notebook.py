"""The notebooks are stored as people want to read them: valid, with outputs, free of this machine.

That their cells run is checked by scripts/run_notebook.py.
"""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

import imdb_jax

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What Colab adds to the metadata of a notebook that wants a TPU.
OF_COLAB = {"accelerator", "colab"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tags_of(cell):
    return cell["metadata"].get("tags", [])


def source_of(cell):
    return "".join(cell["source"])


def tree_of(cell):
    """The cell as Python; magics, which are none, become `pass`."""
    return ast.parse(re.sub(r"(?m)^( *)[%!].*", r"\1pass", source_of(cell)))


def test_there_are_four():
    assert len(NOTEBOOKS) == 4


def test_it_is_a_valid_notebook(notebook):
    pytest.importorskip("nbformat").validate(notebook)


def test_its_metadata_is_what_is_needed(notebook):
    assert notebook["nbformat"] == 4
    metadata = notebook["metadata"]
    assert {name: metadata[name] for name in metadata.keys() - OF_COLAB} == {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
    }
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    assert all(cell["metadata"].keys() <= {"tags"} for cell in notebook["cells"])


def test_its_cells_ran_in_order(notebook):
    counts = [cell["execution_count"] for cell in code_of(notebook)]
    assert counts == [*range(1, len(counts) + 1)]


def test_its_outputs_are_results(notebook):
    """Neither errors, nor remarks on standard error, nor displays of nothing."""
    outputs = [output for cell in code_of(notebook) for output in cell["outputs"]]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    for output in outputs:
        if output["output_type"] == "stream":
            assert output["name"] == "stdout", output
            assert output["text"]
        else:
            assert output["output_type"] in ("display_data", "execute_result"), output
            assert output["data"]["text/plain"], output


def test_the_texts_of_reviews_are_not_in_it(notebook):
    """They belong to their authors: the cells that show one have no stored output."""
    for cell in code_of(notebook):
        shows = re.search(r"decode\((reviews|x_train|x_test)\b", source_of(cell))
        assert ("shows-reviews" in tags_of(cell)) == bool(shows), cell["id"]
        assert not (shows and cell["outputs"]), cell["id"]


def strings_in(tree):
    """All strings, but pictures."""
    if isinstance(tree, dict):
        tree = [value for name, value in tree.items() if name != "image/png"]
    if isinstance(tree, list | tuple):
        return [text for branch in tree for text in strings_in(branch)]
    return [tree] if isinstance(tree, str) else []


def test_nothing_of_the_machine_is_in_it(notebook):
    for text in strings_in(
        [(cell["source"], cell.get("outputs", [])) for cell in notebook["cells"]]
    ):
        assert not re.search(r"(?<!\w)/(root|tmp|work|home|usr|var|opt|Users)\b", text), text
        assert "site-packages" not in text, text


def test_it_is_small(path):
    assert path.stat().st_size < 300_000


def test_its_first_cell_links_to_the_others(path, notebook):
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    links = set(re.findall(r"\]\((\w+\.ipynb)\)", source_of(first)))
    assert links == {other.name for other in NOTEBOOKS} - {path.name}
    if path.name != "imdb_jax.ipynb":
        assert re.search(r"\]\(https://", source_of(first)), "the tutorial that it retells"


def test_its_names_are_public(notebook):
    """Every `imdb_jax.name` is one, so that a name cannot go without the notebook noticing."""
    used = {
        node.attr
        for cell in code_of(notebook)
        for node in ast.walk(tree_of(cell))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "imdb_jax"
    }
    assert {"load_data", "fit"} <= used <= set(imdb_jax.__all__)


def test_the_data_set_is_chosen_in_one_cell(notebook):
    (cell,) = [cell for cell in code_of(notebook) if "parameters" in tags_of(cell)]
    (assignment,) = tree_of(cell).body
    assert (assignment.targets[0].id, assignment.value.value) == ("DATASET", "auto")


def test_the_address_is_that_of_pyproject(notebook):
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (install,) = [cell for cell in code_of(notebook) if cell["id"] == "install"]
    found = re.findall(r'^REPOSITORY = "(.*)"$', source_of(install), re.MULTILINE)
    assert found == [project["urls"]["Repository"]], (
        "change it everywhere: sed -i 's#OLD#NEW#' pyproject.toml notebooks/*.ipynb"
    )
