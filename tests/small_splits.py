"""Small models, and reviews of random words for them to train on."""

import numpy as np

from imdb_jax.pipeline.splits import Examples, Splits

MODELS = {
    "mlp": {"hidden": (6, 4), "dropout": (0.4,)},
    "cnn": {"embedding_dim": 3, "filters": 4, "hidden": 5},
    "lstm": {"embedding_dim": 3, "units": 4},
}


def splits(sets, count=45, length=8, num_words=30):
    random = np.random.default_rng(0)

    def examples(number):
        words = np.tile(np.arange(1, num_words, dtype=np.uint8), (number, 1))
        ids = random.permuted(words, axis=1)[:, :length]
        ids[::3, :3] = 0
        return Examples(ids, (ids.sum(1) % 2).astype(np.float32), sets)

    return Splits(examples(count), None, examples(20))
