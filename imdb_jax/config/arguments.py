"""Arguments of a command, parsed into a dataclass, and the help that describes them.

tyro parses and draws. It is given one flat dataclass per box of the help, made here: the boxes that
a person looks for are not the classes that the program needs.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import tyro

from imdb_jax.config.config import replace
from imdb_jax.errors import UserError

T = TypeVar("T")


def parse(
    prog: str,
    default: T,
    description: str,
    arguments: Sequence[str],
    first: Sequence[str] = (),
    described: Mapping[str, str] | None = None,
) -> T:
    """Parse options into a copy of a dataclass instance; raise `UserError` for a bad one.

    `--help` shows the options named in `first` first, and those of each group of options in a box.
    The docstrings of fields are their help; `described` has that of the keys of a dict.
    """
    options = [*_options(default, described or {})]
    options = [option._replace(box="") if option.name in first else option for option in options]
    # Stable: the others stay in order.
    options.sort(key=lambda option: [*first, option.name].index(option.name))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Any = tyro.cli(
                _in_boxes(options),
                prog=prog,
                description=description,
                args=arguments,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{_one_line(complaint.getvalue())}; see --help") from None
    changes: dict[str, Any] = {}
    for option in options:
        value = getattr(getattr(parsed, option.box) if option.box else parsed, option.name)
        if option.of_dict:
            changes[option.box] = changes.get(option.box, {}) | {option.name: value}
        else:
            changes[option.name] = value
    return replace(default, **changes)


class _Option(NamedTuple):
    """An option, and the box of the help that it is in."""

    name: str
    kind: Any  # its type, annotated for tyro
    default: Any
    box: str  # "" for the first
    about: str = ""  # the box
    of_dict: bool = False  # a key of the dict after which the box is named


def _options(options: Any, described: Mapping[str, str], nested: bool = False) -> Iterator[_Option]:
    """Yield the options in a dataclass instance, and in the dataclasses and dicts in it."""
    kind = type(options)
    kinds, docs = typing.get_type_hints(kind, include_extras=True), _docstrings(kind)
    for name in (field.name for field in dataclasses.fields(kind)):
        value, doc = getattr(options, name), docs.get(name, "")
        if dataclasses.is_dataclass(value):
            yield from _options(value, described, nested=True)
        elif isinstance(value, dict):
            for key, item in value.items():
                of_item = _annotated(_type_of(item), described.get(key, ""), item)
                yield _Option(key, of_item, item, name, doc, of_dict=True)
        else:
            # A command's own options, and not those that it has in common with others, come first.
            owner = next(base for base in kind.__mro__ if name in inspect.get_annotations(base))
            title, _, about = (owner.__doc__ or "").partition(": ")
            box = re.sub(r"\W", "_", title.lower()) if nested or owner is not kind else ""
            annotated = _annotated(kinds[name], doc, value)
            yield _Option(name, annotated, value, box, about[:1].upper() + about[1:])


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass, in one line."""
    found = {}
    for base in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, following in pairwise(definition.body):
            match statement, following:
                case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    found[name] = " ".join(text.split())
    return found


def _type_of(value: Any) -> Any:
    if not isinstance(value, list):
        return type(value)
    return types.GenericAlias(list, type(value[0]) if value else float)


def _annotated(kind: Any, doc: str, default: Any) -> Any:
    """Annotate the type of an option with its help; what it is annotated with already prevails."""
    annotations: Sequence[Any] = ()
    if typing.get_origin(kind) is Annotated:
        kind, *annotations = typing.get_args(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    metavar = None
    if origin is Literal:
        metavar = f"{{{','.join(filter(None, inner))}}}"
    elif type(None) in inner:
        metavar = inner[0].__name__.upper()
    elif origin in (list, tuple):
        metavar = f"{inner[0].__name__.upper()} ..."
    # None, "" and the like say nothing; 0 does.
    says_nothing = default is None or default is False or default in ("", ())
    own = tyro.conf.arg(help=doc, metavar=metavar, help_behavior_hint="" if says_nothing else None)
    return Annotated[kind, own, *annotations]


def _in_boxes(options: Sequence[_Option]) -> type:
    """Make a dataclass of options, with one in it for each box but the first."""
    fields: list[Any] = []
    for box in dict.fromkeys(option.box for option in options):
        inside = [option for option in options if option.box == box]
        made = [_field(option.name, option.kind, option.default) for option in inside]
        if not box:
            fields += made
            continue
        about, of_dict = inside[0].about, inside[0].of_dict
        kind: Any = dataclasses.make_dataclass(
            box, made, namespace={"__doc__": about}, kw_only=True
        )
        if not of_dict:
            named = tyro.conf.arg(name=box.replace("_", " "))
            kind = Annotated[kind, tyro.conf.OmitArgPrefixes, named]
        fields.append((box, kind))
    return dataclasses.make_dataclass("Options", fields, namespace={"__doc__": ""}, kw_only=True)


def _field(name: str, kind: Any, default: Any) -> Any:
    if default is tyro.MISSING:
        return name, kind
    return name, kind, dataclasses.field(default_factory=lambda: default)


def _one_line(box: str) -> str:
    """Return the message in the box that tyro draws, and the option that it suggests.

    tyro gives errors as data to a private hook only. The message is between the box's first two
    rules: the first is the frame, or below the title where standard output is not UTF-8.
    """
    box = re.sub(r"\x1b\[[\d;]*m", "", box)  # the colors that it has on a terminal
    parts = re.split(r"(?m)^[╭│ ]*(?:─.*|--+ *)$", box)
    message = " ".join((parts[1:] or parts)[0].replace("│", " ").split())
    near = re.search(r"Perhaps you meant:[\s│]*(--[\w.-]+)", box)
    return f"{message} (did you mean {near[1]}?)" if near else message
