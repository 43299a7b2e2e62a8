"""Says whether texts are positive: `python -m imdb_jax.predict runs/cnn "What a film!"`.

Without texts and --file, reads them from standard input, one a line.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import tyro

from imdb_jax import cli
from imdb_jax.encoding import Text
from imdb_jax.errors import UserError

if TYPE_CHECKING:
    from imdb_jax.classifier import Prediction, Predictor
    from imdb_jax.explanation import Explanation
    from imdb_jax.progress import Report

# Lines of output after which it is passed on, however slowly it comes.
_FLUSH_EVERY = 512


@dataclass(frozen=True)
class Options:
    """What to predict, with what, and how to show it."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, such as runs/cnn; or several, whose log-odds are averaged."""

    texts: tyro.conf.Positional[tuple[str, ...]] = ()
    """Texts; write -- before one that begins with a dash."""

    file: Path | None = None
    """Read the texts from this file: .csv, .tsv, .jsonl, .ndjson or .parquet, by rows; any other
    by lines."""

    column: Annotated[str, tyro.conf.arg(aliases=("--text-column",))] = ""
    """Column of the file that holds the texts; by default 'text', else 'review', 'sentence' or
    'content', whichever there is."""

    weights: str = ""
    """By what to multiply the log-odds of each of several runs, joined by commas, such as 0.5,0.3;
    by default all count the same. imdb_jax.evaluate finds weights."""

    format: Literal["table", "jsonl", "csv"] = "table"
    """Columns for people, or a JSON object or CSV row per text, in the order of the texts."""

    explain: bool = False
    """Show which words pushed the probability up or down."""

    html: Path | None = None
    """Write the explanations, with the words coloured, to this file; implies --explain."""

    quiet: bool = False
    """Print nothing but predictions."""


def parse_arguments(arguments: Sequence[str]) -> Options:
    """Reads the options. Raises `UserError` if they contradict one another."""
    default = Options(run=tyro.MISSING)
    options = cli.parse("imdb_jax.predict", default, __doc__ or "", cli.join_runs(arguments))
    if options.texts and options.file:
        raise UserError("texts and --file exclude each other")
    if options.column and not options.file:
        raise UserError("--column is a column of --file, which is missing")
    if options.format == "csv" and (options.explain or options.html):
        raise UserError("a CSV row has no room for an explanation; choose --format table or jsonl")
    return options


def predict(arguments: Sequence[str]) -> None:
    """Parses the arguments, and prints a prediction for each text."""
    options = parse_arguments(arguments)
    # Imported here so that --help and mistaken options need not wait for JAX.
    from imdb_jax.ensemble import load_predictor
    from imdb_jax.progress import note

    report: Report = (lambda text: None) if options.quiet else note
    interactive = not options.texts and not options.file and _stdin().isatty()
    texts = _texts(options)
    predictor = load_predictor(options.run, options.weights, report)
    if interactive and not options.quiet:
        print("Type a text and press Enter; Ctrl-D ends.", file=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character shows its number.
        sys.stdout.reconfigure(errors="backslashreplace")
    if options.explain or options.html:
        lines = _explained(predictor, texts, options)
    elif interactive:
        # Each line gets its answer before the next one is read.
        lines = (line for text in texts for line in _predicted(predictor, [text], options))
    else:
        lines = _predicted(predictor, texts, options)
    if options.format == "csv":
        print("probability,label,unknown_share")
    for number, line in enumerate(lines, start=1):
        sys.stdout.write(line + "\n")
        if interactive or number % _FLUSH_EVERY == 0:
            sys.stdout.flush()


def read_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Texts of a stream, one a line: what is before each line feed, or carriage return and it."""
    for line in stream:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def to_jsonl(prediction: Prediction) -> str:
    """A JSON object in a line."""
    return json.dumps(prediction._asdict())


def to_csv(prediction: Prediction) -> str:
    """A CSV row."""
    return f"{prediction.probability},{prediction.label},{prediction.unknown_share}"


def explained_to_jsonl(explanation: Explanation) -> str:
    """A JSON object in a line, with the words and their weights, and which were not read."""
    words = explanation.words
    return json.dumps(
        {
            **explanation.prediction._asdict(),
            "words": [(word.word, word.weight) for word in words],
            "unread": [place for place, word in enumerate(words) if not word.read],
        }
    )


def _texts(options: Options) -> Iterable[Text]:
    from imdb_jax import tables

    if options.texts:
        # As they were given: bytes that are not UTF-8 included.
        return map(os.fsencode, options.texts)
    if options.file is None:
        return read_lines(_stdin().buffer)
    if tables.is_table(options.file):
        return tables.read_column(options.file, options.column)
    if options.column:
        raise UserError(f"{options.file} has no columns; --column does not go with it")
    return _read_file(options.file)


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from read_lines(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _stdin() -> Any:
    if sys.stdin is None:
        raise UserError("there is no standard input; give texts or --file")
    return sys.stdin


def _predicted(predictor: Predictor, texts: Iterable[Text], options: Options) -> Iterator[str]:
    if options.format == "jsonl":
        return map(to_jsonl, predictor.stream(texts))
    if options.format == "csv":
        return map(to_csv, predictor.stream(texts))
    return _rows(predictor, texts)


def _rows(predictor: Predictor, texts: Iterable[Text]) -> Iterator[str]:
    from imdb_jax.views import prediction_line, printable

    # What fits beside the figures; the texts are kept only until their predictions come.
    width = max(
        20, shutil.get_terminal_size().columns - len("0.0000  positive   00% unknown  ") - 1
    )
    shown, read = tee(texts)
    for text, prediction in zip(shown, predictor.stream(read), strict=False):
        yield f"{prediction_line(prediction)}  {printable(text, width)}"


def _explained(predictor: Predictor, texts: Iterable[Text], options: Options) -> Iterator[str]:
    from imdb_jax import views
    from imdb_jax.explanation import explain
    from imdb_jax.files import write_atomically

    kept = []
    show: Callable[[Explanation], str] = _coloured_view()
    if options.format == "jsonl":
        show = explained_to_jsonl
    for text in texts:
        explanation = explain(predictor, text)
        if options.html:
            kept.append(explanation)
        yield show(explanation)
    if options.html:
        page = views.explanations_html(f"Predictions of {options.run}", kept)
        write_atomically(options.html, page.encode())


def _coloured_view() -> Callable[[Explanation], str]:
    """Shows an explanation, with all its words where the terminal has colours."""
    from rich.console import Console

    from imdb_jax import views

    console = Console()

    def show(explanation: Explanation) -> str:
        lines = views.explanation_lines(explanation)
        if console.is_terminal and not console.no_color and explanation.words:
            with console.capture() as coloured:
                console.print(views.coloured_words(explanation), end="")
            lines.insert(1, coloured.get())
        return "\n".join(lines)

    return show


def main() -> None:
    """Entry point of the console script."""
    cli.run_command(predict)


if __name__ == "__main__":
    main()
