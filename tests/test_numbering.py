"""Numbering on several processes against numbering in one, whatever happens to the processes."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from imdb_jax import numbering, word_counts
from imdb_jax.encoding import normalized
from imdb_jax.numbering import Numbering
from imdb_jax.word_counts import WordCounts


@pytest.fixture
def texts(monkeypatch, small_synthetic):
    """A hundred blocks of texts, which processes number from the third on."""
    monkeypatch.setattr(word_counts, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(numbering, "_BYTES_HERE", 2000)
    texts = [*normalized(small_synthetic.read("train").texts)] * 2
    return [texts[0].title(), b"", *texts]


def count(texts, num_processes):
    """The words, their counts, and the number of every word of every text."""
    counts, numbers, lengths = WordCounts(), [], []
    with Numbering(counts, num_processes) as pool:
        for block in pool.number(texts):
            numbers += counts.add(block).tolist()
            lengths += block.lengths.tolist()
        unknown = b"not_in_any_review"
        [looked_up] = pool.number([texts[5] + b" " + unknown])
        assert counts.look_up(looked_up).tolist()[-1] == -1
        assert unknown not in counts.words
    return counts.words, counts.counts.tolist(), numbers, lengths


@pytest.mark.parametrize("num_processes", [1, 3])
def test_processes_change_nothing(texts, num_processes, monkeypatch):
    expected = count(texts, 0)
    used = []
    number = numbering._Process.number

    def counted(process, *arguments):
        numbered = number(process, *arguments)
        used.append(numbered is not None)
        return numbered

    monkeypatch.setattr(numbering._Process, "number", counted)
    # Begin when all are there, so that the test is about them.
    monkeypatch.setattr(Numbering, "_welcome", lambda self, process: None)
    start = Numbering._start

    def start_and_wait(self):
        start(self)
        for process in self._processes:
            assert process.is_ready()
            self._idle.put(process)

    monkeypatch.setattr(Numbering, "_start", start_and_wait)
    assert count(texts, num_processes) == expected
    assert len(used) > 50
    assert all(used)


@pytest.mark.parametrize("program", ["no such program", "import nothing", "print('!'); input()"])
def test_without_processes_the_work_is_done_here(texts, program, monkeypatch):
    """They cannot be started, or end at once, or when they are to number something."""
    expected = count(texts, 0)
    if program == "no such program":
        monkeypatch.setattr(sys, "executable", program)
    else:
        monkeypatch.setattr(numbering, "_PROGRAM", program)
    assert count(texts, 2) == expected


def test_processes_that_are_killed_cost_nothing_but_time(texts):
    expected, counts, numbers = count(texts, 0), WordCounts(), []
    with Numbering(counts, 2) as pool:
        for place, block in enumerate(pool.number(texts)):
            numbers += counts.add(block).tolist()
            if place == 20:
                for process in pool._processes:
                    process.kill()
    assert (counts.words, counts.counts.tolist(), numbers) == expected[:3]
    assert all(process._popen.returncode for process in pool._processes)


def test_little_text_starts_no_process(texts, monkeypatch):
    monkeypatch.setattr(numbering, "_BYTES_HERE", 2 * sum(map(len, texts)))
    monkeypatch.setattr(numbering._Process, "__init__", None)
    count(texts, 2)


def test_processes_end_when_the_work_is_given_up(texts):
    with Numbering(WordCounts(), 2) as pool:
        given = pool.number(texts)
        for _ in range(30):
            next(given)
        assert len(pool._processes) == 2
    assert all(process._popen.returncode is not None for process in pool._processes)


def test_a_program_needs_no_guard(tmp_path):
    """It is not run again by the processes, as it would be by those of `multiprocessing`."""
    program = tmp_path / "unguarded.py"
    program.write_text(
        textwrap.dedent("""
        import dataclasses
        from imdb_jax import corpus, numbering, word_counts
        from imdb_jax.synthetic import synthetic_dataset

        numbering._BYTES_HERE, numbering.num_cores = 2000, lambda: 2
        word_counts._BLOCK_BYTES = 1000
        print(len(corpus.load_corpus(synthetic_dataset(60, 30)).train.labels))
        """)
    )
    finished = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert (finished.stdout, finished.stderr) == ("60\n", "")


def test_a_process_imports_little():
    program = "import sys, imdb_jax.numbering; print({'jax', 'jaxtyping'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "set()\n"


def test_arrays_arrive_as_they_were_sent(tmp_path):
    sent = [np.arange(5, dtype=np.int64), np.zeros(0, np.int32), numbering._join([b"", b"a b"])]
    with (tmp_path / "pipe").open("w+b") as stream:
        for values in sent:
            numbering._send(stream, values)
        stream.seek(0)
        for values in sent:
            np.testing.assert_array_equal(numbering._receive(stream, values.dtype), values)
        with pytest.raises(EOFError):
            numbering._receive(stream, np.int32)
    assert numbering._split(sent[2]) == [b"", b"a b"]
    assert numbering._split(numbering._join([])) == []
