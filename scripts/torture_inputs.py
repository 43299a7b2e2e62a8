"""A campaign of inputs that cannot be right: options, files, arguments, environments, streams."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from torture_harness import Trial, run, write_reviews

from imdb_jax.errors import UserError

# A hostile file must be refused within this, of which JAX and TFDS take half.
_MOST_MB = 800.0


class Case(NamedTuple):
    """A command line, the statuses that it may end with, and what surrounds it."""

    arguments: list[str]
    statuses: tuple[int, ...] = (2,)
    environment: Mapping[str, str] = MappingProxyType({})
    redirect: str = ""  # of a shell


def inputs(scratch: Path, rng: random.Random) -> Iterator[Trial]:
    """Run each case, in random order, on a small run of its own."""
    reviews = write_reviews(scratch / "reviews.csv")
    environment = {"IMDB_JAX_CACHE": str(scratch / "cache"), "TFDS_DATA_DIR": str(scratch)}
    trained = scratch / "trained"
    train = f"train --arch debug --dataset {reviews}".split()
    ended = run([*train, "--workdir", str(trained)], environment, scratch)
    if fault := ended.fault(0):
        raise UserError(f"the run to try inputs on fails: {fault}")
    files = _hostile_files(scratch)
    cases = [
        *_bad_numbers(train),
        *_bad_words(train, trained),
        *_bad_files(train, trained, files, scratch),
        *_bad_targets(train, trained, scratch),
        *_bad_surroundings(train, trained),
    ]
    rng.shuffle(cases)
    for case in cases:
        workdir = scratch / "new"
        arguments = [argument.replace("{new}", str(workdir)) for argument in case.arguments]
        # The status of a pipe is that of the command.
        shell = ["bash", "-o", "pipefail", "-c", f'"$@" {case.redirect}', "bash"]
        before = shell if case.redirect else []
        ended = run(
            arguments,
            {**environment, **case.environment},
            scratch,
            before=before,
        )
        if not trained.is_dir() or workdir.is_file():
            raise UserError(f"{' '.join(arguments)} destroyed something")
        fault = ended.fault(*case.statuses, within_mb=_MOST_MB)
        around = " ".join(f"{name}={value}" for name, value in case.environment.items())
        shown = " ".join(argument[:80] for argument in arguments)
        yield Trial(f"{around} {shown} {case.redirect}".strip(), fault)
        shutil.rmtree(workdir, ignore_errors=True)


_SIZES = (
    *("num-words", "max-length", "epochs", "batch-size", "seed", "seeds", "shards", "keep"),
    *("checkpoint-every", "patience", "model-parallel", "num-processes"),
    *("model.embedding-dim", "model.filters", "model.kernel-size", "model.pool-size"),
    "model.hidden",
)
_SHARES = ("test-share", "validation", "warmup")
# What no option of a size takes, and what only some take and others refuse.
_NO_NUMBERS = ("-2", "nan", "inf", "1.5", "", "x", "0x10", "1e3", "-" + "9" * 30)
_GIGANTIC = ("1000000000000", str(1 << 63), str(1 << 64), str(1 << 70), "9" * 400)
# A large number is right for these: they count what may come, not what there is memory for.
_UNBOUNDED = ("epochs", "seed", "keep", "checkpoint-every", "patience", "max-length")


def _bad_numbers(train: list[str]) -> Iterator[Case]:
    new = ["--workdir", "{new}", "--validation", "0.2"]
    for name in _SIZES:
        for value in _NO_NUMBERS:
            yield Case([*train, *new, f"--{name}", value])
        for value in _GIGANTIC:
            if name not in _UNBOUNDED:
                yield Case([*train, *new, f"--{name}", value])
    for name in _SHARES:
        for value in ("-0.1", "1", "1.5", "nan", "inf", "", "x"):
            yield Case([*train, "--workdir", "{new}", f"--{name}", value])
    for value in ("0", "-1", "nan", "inf", "", "x"):
        yield Case([*train, *new, "--learning-rate", value])
    for arch, name, value in (
        ("lstm", "units", "1000000000000"),
        ("mlp", "hidden", "1000000000000 3"),
        ("mlp", "dropout", "1 1"),
        ("ngram", "max-n", "0"),
        ("ngram", "max-n", "-1"),
        ("ngram", "min-df", "1000000000"),
        ("embedding_mlp", "embedding-dim", "1000000000"),
        ("pooled", "hidden", str(1 << 62)),
    ):
        values = value.split()
        yield Case(["train", "--arch", arch, *train[3:], *new[:2], f"--model.{name}", *values])


def _bad_words(train: list[str], trained: Path) -> Iterator[Case]:
    run, new = str(trained), ["--workdir", "{new}"]
    for value in ("", "x", "CNN", "../cnn", "\x1b[31mcnn", "é", "cnn\n", "-"):
        yield Case(["train", "--arch", value, *new])
    for name in ("schedule", "loss", "dtype", "padding", "truncating"):
        yield from (Case([*train, *new, f"--{name}", value]) for value in ("", "x", "MSE"))
    for name in ("text-column", "label-column", "positive"):
        yield from (
            Case([*train, *new, f"--{name}", value]) for value in ("missing", "\x1b[2J", "x" * 9000)
        )
    for value in ("localhost", "localhost:99999", "localhost:0", ":1234", "http://a:1", "a:b"):
        several = ["--num-processes", "2", "--process-id", "0"]
        yield Case([*train, *new, "--coordinator", value, *several])
    for process in ("2", "-2", "x"):
        several = ["--coordinator", "localhost:12345", "--num-processes", "2"]
        yield Case([*train, *new, *several, "--process-id", process])
    for arguments in (
        *(["train", "--arhc", "cnn"], ["train", "cnn"], ["train", "--arch"], ["train", "--epochs"]),
        *([*train, "--workdir", run], [*train, *new, "--resume", "--overwrite"]),
        *([*train, "--workdir", run, "--resume", "--learning-rate", "0.5"], ["predict"]),
        [*train, "--workdir", run, "--resume", "--num-words", "400"],
        *(["predict", run, "--format", "xml"], ["predict", run, "a text", "--file", "b"]),
        *(["predict", run, "--weights", "1,2", "a"], ["predict", run, "--weights", "x", "a"]),
        *(["predict", run, "--html", "a.html", "--format", "csv", "a"], ["evaluate"]),
        *(["evaluate", run, "--split", "x"], ["evaluate", run, "--wrong", "-1"]),
        *(["evaluate", run, "--wrong", "x"], ["evaluate", f"{run},{run}x"], ["explore", "x"]),
        *(["evaluate", run, "--weights", "nan"], ["evaluate", run, "--plot", "a.gif"]),
        *(["explore", *train[3:], "--review", "-1"], ["explore", *train[3:], "--top", "x"]),
        *(["explore", *train[3:], "--review", "1000000"], ["explore", "--dataset", "a/b/c"]),
        *(["explore", *train[3:], "--num-words", "-1"], ["explore", "--dataset", ""]),
        *(["export", run], ["export", run, "--to", "x", "--out", "{new}"]),
        *(["export", run, "--to", "npz", "--out", run], ["export", f"{run}x", "--to", "npz"]),
        *(["nearest", run], ["nearest", run, "nosuchword"], ["nearest", run, "film", "--top", "x"]),
        *(["nearest", run, ""], ["nearest", run, "\x1b[31m"], ["nearest", run, "two words"]),
    ):
        yield Case(arguments)


def _hostile_files(scratch: Path) -> list[Path]:
    """Write files of kinds that no option can read, and return them."""
    there = scratch / "hostile"
    there.mkdir()
    (there / "directory").mkdir()
    os.mkfifo(there / "fifo")
    (there / "link-to-nothing").symlink_to(there / "nothing")
    (there / "link-to-zeros").symlink_to("/dev/zero")
    contents: dict[str, bytes] = {
        "empty": b"",
        "zeros": bytes(100_000),
        "binary": random.Random(0).randbytes(100_000),
        "utf-16": ("text,label\n" + "a fine film,1\na dull film,0\n" * 20).encode("utf-16"),
        "latin-1": ("text,label\n" + "a café film,1\na dull film,0\n" * 20).encode("latin-1"),
        "nested": b"[" * 100_000,
        "nested-toml": b"a = " + b"[" * 100_000,
        "nested-keys": b"a" + b".a" * 100_000 + b" = 1\n",
        "brackets": b'{"a":' * 100_000,
        "no-columns": b"alpha,beta\n1,2\n",
        "one-label": b"text,label\n" + b"a film,1\n" * 50,
        "no-label": b"text\n" + b"a film\n" * 50,
        "quote": b'text,label\n"' + b"a film,1\n" * 50,
        "long-field": b"text,label\n" + b"a" * 30_000_000 + b",1\n",
    }
    for name, content in contents.items():
        (there / name).write_bytes(content)
    with (
        zipfile.ZipFile(there / "bomb", "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("words.npy", "w", force_zip64=True) as words,
    ):
        shape = {"descr": "|u1", "fortran_order": False, "shape": (1 << 31,)}
        np.lib.format.write_array_header_1_0(words, shape)
        for _ in range(200):
            words.write(bytes(1 << 20))
    with tarfile.open(there / "evil.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("../../evil")
        member.pax_headers = {"comment": "x" * 3_000_000}
        archive.addfile(member)
    return [*sorted(there.iterdir()), there / "missing", Path("/dev/zero"), Path("/proc/self/mem")]


def _bad_files(train: list[str], trained: Path, files: list[Path], scratch: Path) -> Iterator[Case]:
    new = ["--workdir", "{new}"]
    links = []
    for file in files:
        name = str(file)
        yield Case(["train", "--config", name, *new])
        yield Case(["train", "--arch", "debug", "--dataset", "imdb_reviews", "--archive", name])
        yield Case(["predict", name, "a text"])
        if file.name in ("binary", "zeros", "utf-16") or not file.is_file():
            if file.name != "fifo":  # which may be a shell's <(command)
                yield Case(["predict", str(trained), "--file", name])
            yield Case([*train, *new, "--unlabelled", name])
        for suffix in ("csv", "jsonl", "parquet"):
            link = scratch / f"{file.name}.{suffix}"
            link.symlink_to(file)
            links.append(link)
    for link in links:
        odd = link.name.startswith("latin-1")
        statuses = (0, 2) if odd else (2,)
        yield Case(["train", "--arch", "debug", "--dataset", str(link), *new], statuses)
        yield Case(["predict", str(trained), "--file", str(link)], (0, 2))
    yield Case([*train, "--test", "missing.csv", *new])
    for name in ("x" * 5000, "\0", "a/" * 3000, "\x1b[31mred", "-x"):
        if "\0" not in name:
            yield Case(["predict", str(trained), f"--file={name}"])
            yield Case(["train", "--dataset", f"{name}.csv", *new])
            yield Case(["predict", name, "a text"])


def _bad_targets(train: list[str], trained: Path, scratch: Path) -> Iterator[Case]:
    file = scratch / "file"
    file.write_text("precious")
    for target in (file / "x", Path("/proc/x"), Path("/dev/null/x"), Path("x" * 300)):
        yield Case([*train, "--workdir", str(target)])
        yield Case(["export", str(trained), "--to", "npz", "--out", str(target)])
        for suffix in ("png", "html"):
            plot = target.with_name(f"{target.name}.{suffix}")
            if suffix == "html":
                yield Case(["predict", str(trained), "a film", "--html", str(plot)])
            else:
                yield Case(["evaluate", str(trained), "--plot", str(plot)])
                yield Case(["explore", *train[3:], "--plot", str(plot)])
    yield Case(["predict", str(trained), "a film", "--html", str(scratch)])
    yield Case([*train, "--workdir", str(file)])
    yield Case([*train, "--workdir", str(scratch)])


def _bad_surroundings(train: list[str], trained: Path) -> Iterator[Case]:
    run, new = str(trained), ["--workdir", "{new}"]
    commands = (
        [*train, *new],
        ["predict", run, "a wonderful film", "--explain"],
        ["evaluate", run],
        ["explore", *train[3:]],
        ["nearest", run, "film"],
    )
    for command in commands:
        for encoding in ("ascii", "latin-1", "cp1252", "utf-16"):
            yield Case(command, (0,), {"PYTHONIOENCODING": encoding})
        for cache in ("/proc/x", "/dev/null", "/dev/full/x", "\x1b[31m"):
            yield Case(command, (0, 2), {"IMDB_JAX_CACHE": cache})
        yield Case(command, (0, 2), {"HOME": "/dev/null", "TMPDIR": "/dev/null"})
        for redirect in (">&-", "2>&-", ">&- 2>&-", "<&-", "| head -1", "| true"):
            yield Case(command, (0,), redirect=redirect)
        yield Case(command, (0, 2), redirect="> /dev/full")
        if command[0] in ("train", "predict", "evaluate"):
            for platform in ("tpu", "nonsense", "cuda"):
                yield Case(command, (2,), {"JAX_PLATFORMS": platform})
    yield Case(["predict", run], (0,), redirect="< /dev/null")
    yield Case(["train", "--help"], (0,), redirect="| head -1")
