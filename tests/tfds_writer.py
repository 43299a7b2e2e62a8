"""Prepares tiny data sets as TFDS does, for the tests."""

from imdb_jax.datasets.imdb.prepare import no_logs_or_bars


def prepare_tfds(data_dir, name, config, splits, text, features=None, version="2.0.0"):
    """Writes `splits`, lists of (text, label) by name, as a data set in ArrayRecord format."""
    import tensorflow_datasets as tfds

    features = features or {
        text: tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["negative", "positive"]),
    }

    with tfds.core.registered.skip_registration():

        class TextBuilder(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(version)
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

            def _info(self):
                info = tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )
                info.initialize_from_bucket = lambda: None  # no network
                return info

            def _split_generators(self, dl_manager):
                return {
                    split: iter(
                        (number, dict(zip((text, "label"), row, strict=True)))
                        for number, row in enumerate(rows)
                    )
                    for split, rows in splits.items()
                }

            def _generate_examples(self):
                raise NotImplementedError

            def _log_download_bytes(self):
                """Prints nothing."""

            _log_download_done = _log_download_bytes

    TextBuilder.name = name
    with no_logs_or_bars():
        TextBuilder(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")
