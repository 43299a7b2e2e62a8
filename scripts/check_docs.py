"""Runs the examples of a Markdown file and compares what they print with what the file shows.

    python scripts/check_docs.py docs/guide.md           # fails if they differ
    python scripts/check_docs.py docs/guide.md --write   # puts what they print into the file

The examples run in the current directory, best an empty one.
In a block marked `console`, lines that begin with `$ ` are commands, what follows is their output,
and a line of three dots stands for any lines. Numbers need not agree, since they differ a little
from one machine to the next. Blocks marked `python` have to run without an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from imdb_jax import cli
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically


@dataclass(frozen=True)
class Options:
    """What to check."""

    file: Annotated[Path, tyro.conf.Positional] = Path("docs/guide.md")
    """Markdown file with examples. They run in the current directory, one after the other."""

    write: bool = False
    """Replace the output that the file shows by what the examples print."""


def check_docs(arguments: Sequence[str]) -> None:
    """Runs the examples of a file; raises `UserError` for the first that does not do as it says."""
    options = cli.parse("check_docs", Options(), __doc__ or "", arguments)
    text = options.file.read_text(encoding="utf-8")
    blocks = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)
    checked = blocks.sub(lambda block: run_block(block[1], block[2], options), text)
    if options.write:
        write_atomically(options.file, checked.encode())
    print(f"{options.file}: {len(blocks.findall(text))} blocks of examples do as they say")


def run_block(language: str, block: str, options: Options) -> str:
    """Runs a block of examples and gives it back, with the output it should have shown."""
    if language == "python":
        run([sys.executable, "-c", block])
        return f"```python\n{block}```"
    shown = []
    for example in re.findall(r"^\$ .*\n(?:(?!\$ ).*\n)*", block, re.MULTILINE):
        command, expected = example.split("\n", 1)
        printed = run(["bash", "-c", command.removeprefix("$ ")])
        if options.write:
            expected = abridged(expected, printed)
        elif not agrees(expected, printed):
            raise UserError(f"{command} printed:\n{printed}\nand not:\n{expected}")
        shown.append(f"{command}\n{expected}")
    return f"```console\n{''.join(shown)}```"


def run(command: list[str]) -> str:
    """Runs a command and gives what it prints. Raises `UserError` if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{command[-1]} failed: {done.stderr}")
    return done.stdout


def agrees(expected: str, printed: str) -> bool:
    """Whether an output is as shown, but for its numbers, white space and omissions."""
    pattern = r".*\n".join(map(re.escape, normalized(expected).split("...\n")))
    return re.fullmatch(pattern, normalized(printed), re.DOTALL) is not None


def normalized(output: str) -> str:
    """An output with a mark for each number and one space for each run of them."""
    lines = (re.sub(r"[-+]?\d[\d,.]*(e[-+]\d+)?", "#", line) for line in output.splitlines())
    return "".join(f"{' '.join(line.split())}\n" for line in lines)


def abridged(expected: str, printed: str) -> str:
    """The output, with as many lines at its two ends as were shown around three dots before."""
    if "...\n" not in expected:
        return printed
    first, last = (part.count("\n") for part in expected.split("...\n", 1))
    lines = printed.splitlines(keepends=True)
    return "".join([*lines[:first], "...\n", *lines[len(lines) - last :]])


if __name__ == "__main__":
    cli.run_command(check_docs)
