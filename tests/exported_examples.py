"""The Python programs in the READMEs of exports."""

import re
import subprocess
import sys

import pytest
from small_models import TEXTS


def example(text: str) -> str:
    """The program in a README."""
    [program] = re.findall("```python\n(.*?)```\n", text, re.DOTALL)
    return program


def assert_example_predicts_without(packages, directory, model):
    """The program in the directory of an export says what the model does, without packages."""
    absent = f"import sys\nsys.modules |= dict.fromkeys({packages!r})\n"
    program = absent + example((directory / "README.md").read_text())
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", program],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = float(done.stdout.strip("[]\n"))
    assert printed == pytest.approx(float(model.predict(TEXTS[:1])[0]), abs=1e-6)
