"""Python 2's dict order, against facts that a CPython 2.7.18 interpreter printed."""

import os
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.text.python2_dict import _string_hash, python2_dict_order

COMMON = (
    b"the and a of to is br in it i this that was as for with movie but film on not you he are "
    b"his have be one all at"
).split()

# Both sides of every resize up to 90,000 keys, with the CRC-32 of the order as little-endian int64:
# `d = {}; for i in range(n): d["%d:%c" % (i * i, i % 256)] = i`, then `d.values()`.
CHECKSUMS = [
    (0, 0x00000000),
    (1, 0x6522DF69),
    (5, 0xA2390531),
    (6, 0xB49DD063),
    (21, 0xBF9BDFD3),
    (22, 0xF5DB5920),
    (85, 0x5B562524),
    (86, 0x415FA696),
    (341, 0xA1EBB0E0),
    (342, 0xE175E715),
    (1365, 0x2DC53B80),
    (1366, 0x514DFF51),
    (5461, 0x429F37BA),
    (5462, 0xDAC604AC),
    (21845, 0x2C8EAF96),
    (21846, 0x9743835B),
    (50000, 0x5B4EB4FF),
    (50001, 0x8014251C),
    (87381, 0xBE6DEED6),
    (87382, 0x4ADD48A7),
    (90000, 0xCC11F0B0),
]


def mixed_words(count: int) -> list[bytes]:
    """Distinct words with every byte value in them, NUL and non-ASCII ones included."""
    return [b"%d:%c" % (number * number, number % 256) for number in range(count)]


def ordered(words: list[bytes]) -> list[bytes]:
    return [words[position] for position in python2_dict_order(words)]


@pytest.fixture(scope="module")
def python2() -> str:
    """A CPython 2.7 whose hashes have 64 bits: named by PYTHON27, or `python2.7` on PATH."""
    interpreter = os.environ.get("PYTHON27") or shutil.which("python2.7")
    if interpreter is None:
        pytest.skip("no python2.7 on PATH and PYTHON27 is not set")
    # PyPy keeps the order of insertion, and a version manager's stand-in may start nothing at all.
    question = "import platform, sys; print(platform.python_implementation(), sys.maxint)"
    try:
        answer = subprocess.run([interpreter, "-c", question], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"{interpreter} does not start: {error}")
    if answer.stdout.strip() != "('CPython', 9223372036854775807)":
        pytest.skip(f"{interpreter} is not a 64-bit CPython 2.7")
    return interpreter


@pytest.mark.parametrize(
    ("word", "signed_hash"),
    [
        (b"", 0),
        (b"\0", 1),
        (b"a", 12416037344),
        (b"the", -1495230934636648966),
        (b"caf\xc3\xa9", -8502809815083350713),
    ],
)
def test_hashes_as_python2_prints_them(word: bytes, signed_hash: int) -> None:
    assert _string_hash(word) == signed_hash % 2**64


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (5, b"and a the to of"),
        (6, b"and a of is to the"),  # the sixth key makes the table of 8 one of 32
        (
            21,
            b"and a for that i of is this it but to as br in not movie the on was with film",
        ),
        (
            22,  # one of 128
            b"and is it as in film for movie to you was that but br not with a on i of this the",
        ),
        (
            30,
            b"and all is it one as are have in film for movie to you was be his that but br not "
            b"with he a on i of this the at",
        ),
    ],
)
def test_common_words_stand_as_python2_printed_them(count: int, expected: bytes) -> None:
    assert ordered(COMMON[:count]) == expected.split()


def test_empty_nul_and_non_ascii_words_stand_as_python2_printed_them() -> None:
    words = [b"capit\xc3\xa3es", b"\xc2\x85", b"", b"\0", b"\0\0", b"caf\xc3\xa9", b"a", b"A"]
    assert ordered(words) == [
        b"",
        b"\xc2\x85",
        b"\0\0",
        b"\0",
        b"caf\xc3\xa9",
        b"capit\xc3\xa3es",
        b"A",
        b"a",
    ]


@pytest.mark.parametrize(("count", "checksum"), CHECKSUMS)
def test_order_on_both_sides_of_every_resize(count: int, checksum: int) -> None:
    order = python2_dict_order(mixed_words(count))
    assert order.dtype == np.int64
    assert order.shape == (count,)
    assert zlib.crc32(order.astype("<i8").tobytes()) == checksum


@given(st.lists(st.binary(max_size=12), unique=True, max_size=200))
def test_order_is_a_permutation(words: list[bytes]) -> None:
    order = python2_dict_order(words)
    assert sorted(order.tolist()) == list(range(len(words)))


def test_insertion_order_decides_between_words_that_collide() -> None:
    assert _string_hash(b"a") % 8 == _string_hash(b"i") % 8 == 0
    assert ordered([b"a", b"i"]) == [b"a", b"i"]
    assert ordered([b"i", b"a"]) == [b"i", b"a"]


def test_repeated_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="distinct"):
        python2_dict_order([b"film", b"movie", b"film"])


@pytest.mark.parametrize("count", [0, 5, 6, 1000, 50_001])
def test_agrees_with_a_python2_interpreter(python2: str, count: int) -> None:
    generator = np.random.default_rng(count)
    words = list({generator.bytes(int(generator.integers(1, 12))): None for _ in range(count)})
    script = (
        "import struct, sys\n"
        "words = [line.decode('hex') for line in sys.stdin.read().split()]\n"
        "table = {}\n"
        "for position, word in enumerate(words): table[word] = position\n"
        "sys.stdout.write(struct.pack('<%dq' % len(table), *table.values()))"
    )
    # -E: PYTHONHASHSEED and the like must not randomise the hashes.
    answer = subprocess.run(
        [python2, "-E", "-c", script],
        input="\n".join(word.hex() for word in words).encode(),
        capture_output=True,
        check=True,
    )
    expected = struct.unpack(f"<{len(words)}q", answer.stdout)
    assert python2_dict_order(words).tolist() == list(expected)
