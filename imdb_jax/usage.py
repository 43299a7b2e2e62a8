"""The README of an export: what its files are, and an example that runs as it stands."""

from __future__ import annotations

import textwrap

import jax

from imdb_jax.artefacts import length_axis, named_params
from imdb_jax.classifier import Classifier


def readme(classifier: Classifier, to: str) -> str:
    """Writes the README of a model exported to a format, a key of `artefacts.FORMATS`.

    What is indented in it is a Python program, to be run in the directory of the export.
    """
    about, example = _FORMATS[to]
    config = classifier.config
    fields = {**config.model, "dtype": config.dtype}
    if config.dtype == "float32":
        del fields["dtype"]
    values = {
        "arch": config.arch,
        "jax": jax.__version__,
        "module": type(classifier.model).__name__,
        "fields": ", ".join(f"{name}={value!r}" for name, value in fields.items()),
        "num_words": config.num_words,
        "length": length_axis(classifier),
        "tensors": _tensor_table(classifier),
    }
    multi_hot = to == "keras" and config.arch == "mlp"
    program = example.replace("INPUTS\n", _MULTI_HOT if multi_hot else _IDS)
    if program != example:  # the program makes ids of a text
        program = _encoding(classifier) + program
    for name, value in values.items():
        about = about.replace(f"<{name}>", str(value))
        program = program.replace(f"<{name}>", str(value))
    return f"{about.strip()}\n\nExample, in Python:\n\n{textwrap.indent(program.strip(), '    ')}\n"


def _tensor_table(classifier: Classifier) -> str:
    tensors = named_params(classifier.params)
    width = max(map(len, tensors))
    return "\n".join(
        f"  {name:<{width}}  {values.dtype}{list(values.shape)}" for name, values in tensors.items()
    )


def _encoding(classifier: Classifier) -> str:
    """The function `encode` of the example, which makes ids of a text."""
    read_as = classifier.input_format
    lines = [f"ids = [i if i < {read_as.num_words} else 2 for i in ids]"]
    length = read_as.max_length
    if length:
        cut = f"-{length}:" if read_as.truncating == "pre" else f":{length}"
        lines.append(f"ids = ids[{cut}]")
    if read_as.distinct:
        lines.append("ids = sorted(set(ids))  # which words there are is all that is read")
    elif length:
        parts = [f"[0] * ({length} - len(ids))", "ids"]
        lines.append(f"ids = {' + '.join(parts if read_as.padding == 'pre' else parts[::-1])}")
    return _ENCODE.replace("LINES\n", textwrap.indent("\n".join(lines), "    ") + "\n")


_ENCODE = '''\
import string
from pathlib import Path

import numpy as np

words = Path("vocabulary.txt").read_bytes().decode().split("\\n")[1:-1]
id_of = {word: i for i, word in enumerate(words, start=4)}
marks = string.punctuation.replace("'", "") + "\\t\\n"
normalise = str.maketrans(string.ascii_uppercase + marks, string.ascii_lowercase + " " * len(marks))


def encode(text):
    """Ids of a text: 0 is padding, 1 the start, 2 a word that the model does not know apart."""
    ids = [1] + [id_of[word] for word in text.translate(normalise).split(" ") if word in id_of]
LINES
    return ids


'''

_IDS = 'ids = np.array([encode("A wonderful film, full of joy.")], np.int32)\n'
# What a Keras model of a bag of words reads: a one for each word that the text holds.
_MULTI_HOT = """\
ids = np.zeros((1, <num_words>), np.float32)
ids[0, encode("A wonderful film, full of joy.")] = 1
"""

_BESIDE = """\
vocabulary.txt  Its words: a line that describes them, then one a line, the most frequent first, in
                UTF-8. Lines end in \\n; a word may hold any other white space but a space.
config.toml     What it was trained as, and how it reads a review.
"""

_PARAMETERS = """\
The tensors:

<tensors>

Kernels are [inputs, outputs], that of a convolution [positions, inputs, outputs]; dense layers are
in order, the last gives the logit of 'positive'. Gates of an LSTM stand in the order input, forget,
candidate, output.
"""

_REBUILT = """\
import flax
import imdb_jax
import jax

READ
model = imdb_jax.<module>(num_words=<num_words>, <fields>)
params = flax.traverse_util.unflatten_dict(tensors, sep=".")
print(jax.nn.sigmoid(jax.jit(model.apply)({"params": params}, ids)))
"""

# Format -> what the README says before the example, and the example after `encode`.
_FORMATS = {
    "stablehlo": (
        """\
model.stablehlo A sentiment model of reviews (<arch>), its parameters included, as a program that
                jax.export reads: pip install jax flatbuffers. No other package is needed.
"""
        + _BESIDE
        + """
The program maps word ids, int32 [batch, <length>], to the probability that each review is positive,
float32 [batch], on CPU, CUDA or TPU. The batch may have any size. It was written by jax <jax>; JAX
promises to read it for at least six months from then.
""",
        """\
from jax import export

model = export.deserialize(bytearray(Path("model.stablehlo").read_bytes()))
INPUTS
print(model.call(ids))
""",
    ),
    "safetensors": (
        """\
model.safetensors The parameters of a sentiment model of reviews (<arch>): pip install safetensors.
"""
        + _BESIDE
        + "\n"
        + _PARAMETERS,
        "from safetensors.numpy import load_file\n"
        + _REBUILT.replace("READ\n", 'tensors = load_file("model.safetensors")\nINPUTS\n'),
    ),
    "npz": (
        """\
model.npz       The parameters of a sentiment model of reviews (<arch>), as NumPy arrays.
"""
        + _BESIDE
        + "\n"
        + _PARAMETERS,
        _REBUILT.replace("READ\n", 'tensors = dict(np.load("model.npz"))\nINPUTS\n'),
    ),
    "keras": (
        """\
model.keras     A sentiment model of reviews (<arch>), its parameters included, for Keras 3.
model.weights.h5 The parameters alone, for load_weights of the same model.
"""
        + _BESIDE
        + """
It gives the probability that a review is positive, [batch, 1].
""",
        """\
import keras

model = keras.saving.load_model("model.keras")
INPUTS
print(model.predict(ids, verbose=0))
""",
    ),
    "word2vec": (
        """\
vectors.txt     The word vectors of a sentiment model of reviews (<arch>) in word2vec's text format:
                a line with their number and dimensions, then a word and its values on each line.
"""
        + _BESIDE
        + """
Left out are the vectors of padding, of the start of a review and of unknown words, and the words of
the vocabulary whose id, their rank + 3, is not below <num_words>: the model cannot tell them apart.
""",
        """\
from pathlib import Path

import numpy as np

header, *lines = Path("vectors.txt").read_bytes().decode().split("\\n")[:-1]
rows = [line.split(" ") for line in lines]
vectors = {word: np.array(values, np.float32) for word, *values in rows}
print(header, vectors[rows[0][0]])

# Or, with gensim:
# vectors = gensim.models.KeyedVectors.load_word2vec_format("vectors.txt")
""",
    ),
}
