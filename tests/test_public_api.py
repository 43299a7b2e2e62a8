"""The names that `import imdb_jax` offers, and what importing them costs."""

import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import imdb_jax


@pytest.mark.parametrize("name", imdb_jax.__all__)
def test_public_name_can_be_imported_and_is_documented(name):
    public = getattr(imdb_jax, name)
    assert public.__name__ == name
    assert inspect.getdoc(public)
    assert name in dir(imdb_jax)


def test_what_tutorials_need_is_public():
    assert set(imdb_jax.__all__) >= {
        *("tokenize", "Vocabulary", "pad_sequences", "multi_hot", "load_data"),
        *("MLP", "EmbeddingMLP", "CNN", "Pooled", "LSTM", "Ngram", "NgramVocabulary"),
        *("fit", "load", "Classifier", "export_model"),
        *("create_train_state", "train_step", "eval_step", "Batch", "UserError"),
    }


def test_what_is_public_is_listed_once():
    """Type checkers read the list, and so does `import imdb_jax`."""
    stub = Path(imdb_jax.__file__).with_suffix(".pyi").read_text()
    names = [line.split()[-1] for line in stub.splitlines() if line.startswith("from ")]
    assert sorted(names) == imdb_jax.__all__


def test_api_reference_has_all_names():
    reference = Path(__file__).parent.parent / "docs" / "api.md"
    lines = reference.read_text(encoding="utf-8").splitlines()
    named = [line.removeprefix("::: imdb_jax.") for line in lines if line.startswith(":::")]
    assert sorted(named) == imdb_jax.__all__


def test_star_import():
    names = {}
    exec("from imdb_jax import *", names)
    assert set(imdb_jax.__all__) <= set(names)


def test_unknown_name():
    with pytest.raises(AttributeError, match="imdb_jax attribute tokenise"):
        imdb_jax.tokenise  # noqa: B018
    with pytest.raises(ImportError, match="tokenise"):
        from imdb_jax import tokenise  # noqa: F401


def test_encoding_text_does_not_wait_for_jax():
    program = (
        "import sys, imdb_jax; imdb_jax.Vocabulary.build(['a film']).encode('a'); "
        "imdb_jax.multi_hot([[1]], 2); imdb_jax.pad_sequences([[1]]); "
        "print({'jax', 'flax', 'optax', 'tensorflow_datasets'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")


def test_public_parts_fit_together():
    """From text to a trained model with public names alone."""
    import jax
    import numpy as np

    from imdb_jax import Batch, Pooled, Vocabulary, create_train_state, eval_step, train_step

    texts = ["A wonderful film", "A boring film"] * 4
    vocabulary = Vocabulary.build(texts)
    ids = imdb_jax.pad_sequences(vocabulary.encode(texts), maxlen=6)
    labels = np.array([1, 0] * 4, "f")
    model = Pooled(num_words=len(vocabulary) + 4, embedding_dim=2, hidden=0)
    batch = Batch(ids, labels, np.ones(8, "f"))
    state = create_train_state(model, ids)
    before = float(eval_step(state, batch)[0].loss)
    for _ in range(50):
        state, _ = train_step(state, batch)
    after, _ = eval_step(state, batch)
    assert after.loss < before
    assert after.correct == 8
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(np.isfinite(leaf).all()), state.params))


NAN = float("nan")


@pytest.mark.parametrize(
    ("function", "options"),
    [
        *(
            (function, {name: value})
            for function in ("load_data", "encode")
            for name in ("num_words", "skip_top", "start_char", "oov_char", "index_from")
            for value in (-1, 2.5, NAN, True, "3", 2**70)
        ),
        *(("load_data", {name: value}) for name in ("skip_top", "index_from") for value in [None]),
        *(("load_data", {"maxlen": value}) for value in (-1, 2.5, NAN, "3", 2**70)),
        *(("load_data", {"seed": value}) for value in (-1, 2.5, None, 2**32)),
        *(("load_data", {"dataset": value}) for value in (3, None, "")),
        *(("pad_sequences", {"maxlen": value}) for value in (-1, 2.5, NAN, "3", 2**70)),
        *(("pad_sequences", {"padding": value}) for value in ("left", "", None, 3)),
        *(("pad_sequences", {"truncating": value}) for value in ("left", None)),
        *(("multi_hot", {"num_words": value}) for value in (0, -1, 2.5, NAN, None, "3")),
    ],
)
def test_arguments_are_checked_and_named(function, options):
    functions = {
        "load_data": partial(imdb_jax.load_data, **{"dataset": "synthetic", **options}),
        "encode": partial(imdb_jax.Vocabulary(["film"]).encode, "a film", **options),
        "pad_sequences": partial(imdb_jax.pad_sequences, [[1]], **options),
        "multi_hot": partial(imdb_jax.multi_hot, [[1]], **options),
    }
    name = next(iter(options)).replace("dataset", "data ?set")
    with pytest.raises(ValueError, match=rf"^(unknown )?{name} "):
        functions[function]()


@pytest.mark.parametrize("ids", [[1.0], [NAN], ["1"], [None], [[1]]])
def test_ids_to_decode_are_integers(ids):
    with pytest.raises(TypeError, match="ids must be integers, not "):
        imdb_jax.Vocabulary(["film"]).decode(ids)


@pytest.mark.parametrize("text", [None, 3, ["film"]])
def test_a_text_is_a_string(text):
    with pytest.raises(TypeError, match="a text must be str or bytes"):
        imdb_jax.tokenize(text)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit int32"):
        imdb_jax.pad_sequences([[2**70]])
