"""The classic IMDb sentiment models in functional JAX, from raw text to trained model."""

from imdb_jax.console import interrupts

interrupts.end_imports_quietly()  # first, because imports take long enough to be interrupted

import lazy_loader  # noqa: E402

# `__init__.pyi` lists the public names. They are imported when first used, so that encoding text
# does not wait for JAX and `--help` does not wait for anything.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
