"""Say whether texts, by default the lines of standard input, are positive.

python -m imdb_jax.predict runs/cnn "A wonderful film!"
"""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile, tee
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import tyro

from imdb_jax import cli
from imdb_jax.config import OptionalPath, replace
from imdb_jax.console.terminal import nobody_reads
from imdb_jax.errors import UserError
from imdb_jax.files import check_output, write_output
from imdb_jax.text.tokens import Text

if TYPE_CHECKING:
    from imdb_jax.inference.classifier import Classifier
    from imdb_jax.inference.ensemble import Ensemble
    from imdb_jax.inference.prediction import Predictor
    from imdb_jax.views.predictions import Records

# A text, and what the columns before ours say in its row of a CSV or JSON lines file.
Item = tuple[Text, Sequence[Any]]

_FLUSH_EVERY = 512  # lines of output


@dataclass(frozen=True)
class Options:
    """What to predict, with what, and how to show it."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, such as runs/cnn; or several, whose log-odds are averaged."""

    texts: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...] [TEXT ...]")
    ] = ()
    """More run directories, then texts; write -- before a text that begins with a dash."""

    file: OptionalPath = None
    """Read texts from this file: .csv, .tsv, .jsonl, .ndjson, .parquet by rows, others by lines."""

    column: Annotated[str, tyro.conf.arg(aliases=("--text-column",))] = ""
    """Column of the file with the texts; by default 'text', else 'review', 'sentence' or
    'content', whichever there is."""

    weights: str = ""
    """Factors for the log-odds of several runs, such as 0.5,0.3, which imdb_jax.evaluate finds; by
    default all runs count the same."""

    format: Literal["table", "jsonl", "csv"] = "table"
    """A table for people; or, for programs, a JSON object or CSV row per text, with the text and,
    if it comes from a row of a file, the line where the row begins."""

    keep_columns: bool = False
    """Begin each CSV row or JSON object with all columns of the file, not with line and text."""

    explain: bool = False
    """Show which words pushed the probability up or down."""

    html: OptionalPath = None
    """Write the explanations, with the words colored, to this file; implies --explain."""

    quiet: bool = False
    """Print nothing but predictions."""


def parse_arguments(arguments: Sequence[str]) -> tuple[list[Path], Options]:
    """Read the run directories and the options, whose `texts` then are texts alone."""
    # Taken out here, because tyro takes no text after an option that follows several arguments.
    first = next((i for i, argument in enumerate(arguments) if cli.is_run(argument)), 0)
    more = [*takewhile(cli.is_run, arguments[first + 1 :])]
    arguments = [*arguments[: first + 1], *arguments[first + 1 + len(more) :]]
    options = cli.parse("imdb_jax.predict", Options(run=tyro.MISSING), __doc__ or "", arguments)
    others = [*takewhile(cli.is_run, options.texts)]
    options = replace(options, texts=options.texts[len(others) :])
    if options.texts and options.file:
        raise UserError("give either texts or --file, not both")
    if options.column and not options.file:
        raise UserError("--column names a column of a file; give the file with --file")
    if options.keep_columns and options.format == "table":
        raise UserError("--keep-columns needs --format csv or jsonl")
    if options.keep_columns and not options.file:
        raise UserError("--keep-columns keeps the columns of a file; give the file with --file")
    if options.format == "csv" and (options.explain or options.html):
        raise UserError("a CSV row has no room for an explanation; choose --format table or jsonl")
    check_output(options.html)
    return cli.run_paths(options.run, *more, *others), options


def predict(arguments: Sequence[str]) -> None:
    """Parse the arguments, and print a prediction for each text."""
    paths, options = parse_arguments(arguments)
    from imdb_jax.inference.ensemble import load_predictor
    from imdb_jax.inference.prediction import Prediction
    from imdb_jax.progress import unless
    from imdb_jax.views.predictions import Records

    report = unless(options.quiet)
    columns, items = _items(options)
    interactive = not options.texts and not options.file and sys.stdin.isatty()
    predictor = load_predictor(paths, options.weights, report)
    if interactive and not options.quiet:
        print("Type a text and press Enter; Ctrl-D ends.", file=sys.stderr)
    if options.explain or options.html:
        lines = _explained(predictor, items, columns, options, paths)
    else:
        records = Records(columns, Prediction._fields)
        if options.format == "csv":
            print(records.header())
        # On a terminal each line gets its answer before the next one is read.
        parts = ([item] for item in items) if interactive else [items]
        lines = (line for part in parts for line in _predicted(predictor, part, records, options))
    for number, line in enumerate(lines, start=1):
        print(line, flush=interactive or number % _FLUSH_EVERY == 0)
        if nobody_reads() and not options.html:
            return  # there may be no end to the texts


def read_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    r"""Yield the texts of a stream, one a line. A line ends in \n or \r\n.

    Raises `UserError`, which names the stream, if it is no text, or a line takes too much memory.
    """
    from imdb_jax.datasets import tables

    tables.refuse_binary(stream, name)
    for number, line in tables.numbered_lines(stream, name):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        yield text.removeprefix(codecs.BOM_UTF8) if number == 1 else text


def _items(options: Options) -> tuple[Sequence[str], Iterable[Item]]:
    """Return the names of the columns that come before ours, and the texts with their values."""
    from imdb_jax.datasets import tables

    if options.file and tables.is_table(options.file):
        rows = tables.read_texts(options.file, options.column, whole=options.keep_columns)
        if not options.keep_columns:
            return ("line", "text"), ((text, (line, text)) for line, text, _ in rows)
        names = tables.column_names(options.file)
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{options.file} has two columns {twice[0]!r}; rename one of them")
        return names, ((text, values) for _, text, values in rows)
    if options.column or options.keep_columns:
        option = "--column" if options.column else "--keep-columns"
        raise UserError(f"{options.file} has no columns; leave out {option}")
    return ("text",), ((text, (text,)) for text in _texts(options))


def _texts(options: Options) -> Iterable[Text]:
    if options.texts:
        # The bytes as they were given, even if they are not UTF-8.
        return map(os.fsencode, options.texts)
    if options.file is None:
        if sys.stdin is None:
            raise UserError("there is no standard input; give texts or --file")
        return read_lines(sys.stdin.buffer, "standard input")
    return _read_file(options.file)


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from read_lines(file, str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _predicted(
    predictor: Predictor, items: Iterable[Item], records: Records, options: Options
) -> Iterator[str]:
    from imdb_jax.views.predictions import beginning, prediction_line

    longest = max(map(len, predictor.label_names))
    columns = shutil.get_terminal_size().columns
    width = max(columns - longest - len("0.0000     00% unknown   "), 20)
    shown, read = tee(items)
    predictions = predictor.stream(text for text, _ in read)
    for (text, values), prediction in zip(shown, predictions, strict=False):
        if options.format == "jsonl":
            yield records.json(values, prediction)
        elif options.format == "csv":
            yield records.csv(values, prediction)
        else:
            yield f"{prediction_line(prediction, longest)}  {beginning(text, width)}"


def _explained(
    predictor: Classifier | Ensemble,
    items: Iterable[Item],
    columns: Sequence[str],
    options: Options,
    paths: Sequence[Path],
) -> Iterator[str]:
    from rich.console import Console

    from imdb_jax.views import page, predictions

    console = Console()
    width = console.width if console.is_terminal else sys.maxsize
    kept = []
    for text, values in items:
        explanation = predictor.explain(text)
        if options.html:
            kept.append(explanation)
        if options.format == "jsonl":
            found = predictions.explanation_dict(explanation)
            yield predictions.Records(columns, [*found]).json(values, found.values())
            continue
        lines = predictions.explanation_lines(explanation, width)
        if console.is_terminal and explanation.words:
            with console.capture() as words:
                console.print(predictions.colored_words(explanation), end="")
            lines.insert(1, words.get())
        yield "\n".join(lines)
    if options.html:
        title = f"Predictions of {', '.join(map(str, paths))}"
        made = page.explanations_html(title, predictor.label_names[1], kept)
        write_output(options.html, made.encode())


main = partial(cli.run_command, predict)

if __name__ == "__main__":
    main()
