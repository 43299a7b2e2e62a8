"""What a person sees when a command fails: one line and an exit status."""

import errno
import importlib
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from imdb_jax import cli
from imdb_jax.errors import RunExists, UserError


@dataclass(frozen=True)
class Options:
    """Options."""

    epochs: int = 2
    """Number of epochs."""

    padding: Literal["pre", "post"] = "pre"
    """Side."""

    workdir: Path | None = None
    """Directory that
    holds results."""

    split: Literal["", "test"] = ""
    """Part."""

    quiet: bool = False
    """Say nothing."""

    sizes: dict[str, Any] = field(default_factory=dict)
    """Sizes."""


DEFAULT = Options(sizes={"hidden": [50, 50], "rate": 0.5})


def parse(*arguments: str) -> Options:
    return cli.parse("a-command", DEFAULT, "What it does.", arguments)


def mistake(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert not set("│╭╰─") & set(message)
    return message


def run(command: Callable[[list[str]], object], monkeypatch) -> int | str | None:
    """Exit status of a command that is run with the arguments `--one 1`."""
    monkeypatch.setattr(sys, "argv", ["program", "--one", "1"])
    try:
        cli.run_command(command)
    except SystemExit as stop:
        return stop.code
    return 0


def raising(error: BaseException) -> Callable[[list[str]], None]:
    def command(arguments: list[str]) -> None:
        raise error

    return command


# parse


def test_what_is_not_given_is_as_in_the_default():
    assert parse() == DEFAULT
    parsed = parse("--epochs", "3", "--workdir", "runs/x", "--quiet", "--sizes.hidden", "7")
    sizes = {"hidden": [7], "rate": 0.5}
    assert parsed == Options(epochs=3, workdir=Path("runs/x"), quiet=True, sizes=sizes)
    assert Options(sizes={"hidden": [50, 50], "rate": 0.5}) == DEFAULT


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--epoch", "3"], ["--epoch", "(did you mean --epochs?)"]),
        (["--size.rate", "1"], ["--size.rate", "(did you mean --sizes.rate?)"]),
        (["--xyzzy"], ["--xyzzy"]),
        (["stray"], ["stray"]),
        (["--epochs", "many"], ["--epochs", "'many'"]),
        (["--epochs"], ["--epochs", "Missing value"]),
        (["--padding", "left"], ["--padding", "'left'", "'pre', 'post'"]),
        (["--sizes.hidden", "wide"], ["--sizes.hidden", "'wide'"]),
    ],
)
@pytest.mark.parametrize(("columns", "terminal"), [("20", False), ("200", False), ("80", True)])
def test_mistakes_take_one_line(monkeypatch, arguments, parts, columns, terminal):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    message = mistake(*arguments)
    assert message.endswith("; see --help")
    assert message.isprintable()
    assert "─" not in message
    for part in parts:
        assert part in message


def test_no_suggestion_where_nothing_is_near():
    assert "did you mean" not in mistake("stray")


def test_mistakes_read_the_same_where_output_is_not_utf8():
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_cli
        print(test_cli.mistake("--epoch", "3"), test_cli.mistake("--padding", "left"))
    """
    outputs = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for encoding in ("utf-8", "ascii")
    ]
    assert b"Unrecognized options: --epoch, 3 (did you mean --epochs?)" in outputs[0]
    assert outputs[0] == outputs[1]


def test_help_shows_every_option_and_ends_well(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code in (0, None)
    out = capsys.readouterr().out
    assert "a-command" in out
    assert "What it does." in out
    for option in ("--epochs", "--padding", "--workdir PATH", "--quiet", "--sizes.hidden INT ..."):
        assert option in out
    assert "Directory that holds results." in out  # whatever line it is on in the docstring
    assert "--split {test}" in out
    for nothing in ("(default: )", "(default: '')", "None", "False", "[["):
        assert nothing not in out


def test_help_has_what_is_asked_for_first_and_a_box_per_group(capsys):
    @dataclass(frozen=True)
    class Colors:
        """Drawing in color: on screens."""

        hue: int = 0
        """Hue."""

        shade: int = 1
        """Shade."""

    @dataclass(frozen=True)
    class Drawing:
        """Options."""

        width: int = 2
        """Width."""

        colors: Colors = field(default_factory=Colors)
        sizes: dict[str, int] = field(default_factory=lambda: {"dot": 3})
        """Of marks."""

    with pytest.raises(SystemExit):
        cli.parse("draw", Drawing(), "", ["--help"], first=["shade"], described={"dot": "A dot."})
    _, _, out = capsys.readouterr().out.partition("--help ")
    parts = ["--shade", "--width", "drawing in color options", "On screens.", "--hue"]
    parts += ["Of marks.", "--sizes.dot", "A dot."]
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
    parsed = cli.parse("draw", Drawing(), "", ["--shade", "7", "--sizes.dot", "8"], ["shade"])
    assert parsed == Drawing(colors=Colors(shade=7), sizes={"dot": 8})


# run_command


def test_a_command_gets_the_arguments(monkeypatch, capsys):
    assert run(print, monkeypatch) == 0
    assert capsys.readouterr() == ("['--one', '1']\n", "")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such file"), 2, "error: no such file"),
        (UserError("two\n  lines\tof it"), 2, "error: two lines of it"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left"), 2, "error: No space left"),
        (OSError(errno.ENOSPC, "No space left", "a/b"), 2, "error: No space left: a/b"),
        (PermissionError(errno.EACCES, "Permission denied", "c"), 2, "error: Permission denied: c"),
        (OSError(errno.EROFS, "Read-only", "d"), 2, "error: Read-only: d"),
        (OSError(errno.EIO, "I/O error", "a", None, "b"), 2, "error: I/O error: a and b"),
        (OSError("no number"), 2, "error: no number"),
        (MemoryError(), 2, "error: there is not enough memory"),
        (UserError("a\x1b[31mb\u202ec\udcff"), 2, r"error: a\x1b[31mb\u202ec\udcff"),
    ],
)
def test_failures_that_people_cause_take_one_line(monkeypatch, capsys, error, status, line):
    assert run(raising(error), monkeypatch) == status
    assert capsys.readouterr() == ("", f"{line}\n")


@pytest.mark.parametrize(
    ("run_as", "typed"),
    [
        (["/bin/python3", "-m", "imdb_jax.train"], ["python", "-m", "imdb_jax.train"]),
        (["/bin/python3", "-m", "imdb_jax", "train"], ["python", "-m", "imdb_jax", "train"]),
        (["/bin/python3", "/bin/imdb-jax", "train"], ["imdb-jax", "train"]),
    ],
)
def test_commands_that_help_can_be_pasted(monkeypatch, capsys, run_as, typed):
    monkeypatch.setattr(sys, "orig_argv", [*run_as, "--one", "1"])
    error = RunExists("a run", {"continue it": "--resume", "keep it": "--workdir 'b c'"})
    assert str(error) == "a run; to continue it: --resume; to keep it: --workdir 'b c'"
    assert run(raising(error), monkeypatch) == 2
    line = capsys.readouterr().err
    what, *ways = line.removeprefix("error: ").removesuffix("\n").split("; ")
    assert what == "a run"
    assert [shlex.split(way.partition(": ")[2]) for way in ways] == [
        [*typed, "--one", "1", *more] for more in (["--resume"], ["--workdir", "b c"])
    ]


@pytest.mark.parametrize("error", [ValueError("a bug"), AttributeError("a bug")])
def test_programming_errors_keep_their_traceback(monkeypatch, error):
    with pytest.raises(type(error), match="a bug"):
        run(raising(error), monkeypatch)


@pytest.mark.parametrize("status", [None, 0, 3])
def test_a_command_may_choose_its_status(monkeypatch, status):
    assert run(raising(SystemExit(status)), monkeypatch) == status


def run_program(body: str, stdout) -> tuple[int, str]:
    """Exit status and standard error of a program whose command is `body`."""
    program = f"from imdb_jax import cli\ndef command(_):\n    {body}\ncli.run_command(command)"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, text=True
    )
    if stdout == subprocess.PIPE:
        assert process.stdout is not None
        process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        return process.wait(60), stderr.read()


@pytest.mark.parametrize("body", ["print('short')", "print('long' * 1_000_000)"])
def test_a_reader_that_leaves_ends_the_command_silently(body):
    assert run_program(body, subprocess.PIPE) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("body", ["print('short')", "print('long' * 1_000_000)"])
def test_output_to_a_full_disk_is_an_error(body):
    with open("/dev/full", "wb") as full:
        said = "error: No space left on device: standard output\n"
        assert run_program(body, full) == (2, said)


def test_a_bug_shows_its_traceback():
    status, stderr = run_program("1 / 0", subprocess.DEVNULL)
    assert status == 1
    assert stderr.startswith("Traceback")
    assert stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("modules", "calls", "absent"),
    [
        (
            "export, nearest, train",
            "train.parse_arguments(['--epochs', '3']); helped(export.export); "
            "helped(nearest.nearest)",
            {"jax", "flax", "numpy"},
        ),
        (
            "evaluate, predict",
            "predict.parse_arguments(['run']); evaluate.parse_arguments(['run'])",
            {"jax", "flax", "rich", "matplotlib"},
        ),
    ],
)
def test_mistakes_and_help_do_not_wait_for_jax(modules, calls, absent):
    program = f"""
        import contextlib, sys
        from imdb_jax import {modules}
        def helped(command):
            with contextlib.suppress(SystemExit):
                command(["--help"])
        {calls}
        print(sorted({absent} & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    if "helped" in calls:
        assert "--overwrite" in done.stdout
        assert "--top" in done.stdout


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "explore", "export"])
def test_paths_that_may_be_left_out_are_shown_as_paths(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run = getattr(importlib.import_module(f"imdb_jax.{command}"), command)
    with pytest.raises(SystemExit):
        run(["--help"])
    shown = capsys.readouterr().out
    assert "PATH" in shown
    assert "{None}" not in shown
