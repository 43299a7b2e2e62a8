"""Preparing the reviews from an archive or the network: whole or not at all, by one process."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fake_archives import COUNTS, ignore, prepare_fake, publish, review_files, tar_bytes

from imdb_jax.datasets.imdb import download
from imdb_jax.datasets.imdb import prepare as prepare_module
from imdb_jax.datasets.imdb.download import DownloadUnreachable
from imdb_jax.datasets.imdb.prepare import prepare
from imdb_jax.datasets.imdb.read import DIRECTORY, fingerprint, is_prepared, read_split
from imdb_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("small_counts")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared directory, not to be changed."""
    return prepare_fake(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def prepared(prepared_once: Path, data_dir: Path) -> Path:
    return Path(shutil.copytree(prepared_once, data_dir))


def refusal(data_dir: Path, archive: Path | None, *, verify: bool = False) -> str:
    """Return the message with which `prepare` refuses, having checked that it left no trace."""
    with pytest.raises(UserError) as caught:
        prepare(data_dir, archive, verify=verify, report=ignore)
    assert not is_prepared(data_dir)
    if data_dir.is_dir():
        left = {path.name for path in data_dir.rglob("*")}
        assert left <= {".imdb_reviews.lock", "downloads"}
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_plain_tfds_reads_it(prepared: Path) -> None:
    import tensorflow_datasets as tfds

    for split in COUNTS:
        source = tfds.data_source("imdb_reviews", data_dir=prepared, split=split)
        records = [source[i] for i in range(len(source))]
        texts, labels = read_split(prepared, split)
        assert [record["text"] for record in records] == texts
        assert [record["label"] for record in records] == labels.tolist()


def test_preparing_again_changes_nothing(prepared: Path) -> None:
    before = fingerprint(prepared)
    prepare(prepared, report=pytest.fail)
    assert fingerprint(prepared) == before


def test_an_archive_that_is_not_needed_is_left_alone_and_named(
    prepared: Path, tmp_path: Path
) -> None:
    before = fingerprint(prepared)
    lines: list[str] = []
    prepare(prepared, tmp_path / "absent", report=lines.append)
    assert lines == [
        f"The reviews are already prepared in {prepared}; {tmp_path / 'absent'} is not needed"
    ]
    assert fingerprint(prepared) == before


def test_result_depends_on_the_reviews_alone(prepared: Path, tmp_path: Path) -> None:
    other = tmp_path / "reversed.tar"
    other.write_bytes(tar_bytes(dict(reversed(review_files().items()))))
    prepare(tmp_path / "other", other, verify=False, report=ignore)
    for file in (prepared / DIRECTORY).iterdir():
        if "array_record" not in file.name:  # those are compressed in threads
            assert file.read_bytes() == (tmp_path / "other" / DIRECTORY / file.name).read_bytes()
    for split in COUNTS:
        assert read_split(prepared, split)[0] == read_split(tmp_path / "other", split)[0]


def test_nothing_but_the_report_is_printed(
    data_dir: Path, archive: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    prepare(data_dir, archive, verify=False, report=lines.append)
    assert capfd.readouterr() == ("", "")
    assert [line.split()[0] for line in lines] == ["Reading", "Writing", "Prepared"]


def test_import_leaves_heavy_modules_alone() -> None:
    heavy = "'tensorflow_datasets', 'array_record', 'requests', 'rich', 'jax'"
    program = "import sys, imdb_jax.datasets.imdb.prepare; "
    program += f"sys.exit(bool({{{heavy}}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Archives and downloads


def test_checksum_is_demanded_unless_told_otherwise(
    data_dir: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not the published archive" in refusal(data_dir, archive, verify=True)
    publish(monkeypatch, archive.read_bytes())
    prepare(data_dir, archive, report=ignore)
    assert is_prepared(data_dir)


def test_refused_archives_leave_nothing(data_dir: Path, archive: Path, tmp_path: Path) -> None:
    assert "there is no file" in refusal(data_dir, tmp_path / "absent.tar.gz")
    archive.write_bytes(b"junk")
    assert "not an intact tar archive" in refusal(data_dir, archive)


def test_without_an_archive_it_is_downloaded(
    data_dir: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(directory: Path, report: object) -> Path:
        assert directory == data_dir / "downloads"
        assert directory.parent.is_dir()
        return archive

    monkeypatch.setattr(download, "fetch", fetch)
    prepare(data_dir, report=ignore)
    assert is_prepared(data_dir)


def test_failed_download_leaves_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(directory: Path, report: object) -> Path:
        raise DownloadUnreachable("no network")

    monkeypatch.setattr(download, "fetch", fetch)
    with pytest.raises(DownloadUnreachable, match="no network"):
        prepare(data_dir, report=ignore)
    assert refusal(data_dir, None, verify=True) == "no network"


# Interruptions, and several processes at once


def test_exception_in_the_middle_leaves_nothing(
    data_dir: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_name_records", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(data_dir, archive, verify=False, report=ignore)
    assert not is_prepared(data_dir)
    assert os.listdir(data_dir) == [".imdb_reviews.lock"]
    prepare(data_dir, archive, verify=False, report=ignore)
    assert is_prepared(data_dir)


def start(data_dir: Path, archive: Path, patch: str) -> subprocess.Popen[str]:
    """Prepare in another process, after running the statements in `patch` there."""
    program = f"""
        import shutil, time
        from pathlib import Path
        from imdb_jax.datasets.imdb import archive, prepare
        archive.COUNTS = {COUNTS}
        def report(line): print(line, flush=True)
        {patch}
        prepare.prepare(
            Path({str(data_dir)!r}), Path({str(archive)!r}), verify=False, report=report
        )
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def wait_for(process: subprocess.Popen[str], line_start: str) -> None:
    assert process.stdout is not None
    assert any(line.startswith(line_start) for line in process.stdout)


def test_kill_in_the_middle(data_dir: Path, archive: Path) -> None:
    stop = "prepare._name_records = lambda *_: (report('half-way'), time.sleep(60))"
    with start(data_dir, archive, stop) as process:
        wait_for(process, "half-way")
        process.send_signal(signal.SIGKILL)
    assert (data_dir / ".imdb_reviews.unfinished").is_dir()
    assert not is_prepared(data_dir)
    prepare(data_dir, archive, verify=False, report=ignore)
    assert is_prepared(data_dir)
    assert sorted(os.listdir(data_dir)) == [".imdb_reviews.lock", "imdb_reviews"]


def test_two_processes_at_once(tmp_path: Path, prepared_once: Path, archive: Path) -> None:
    # The other copies what TFDS would write, as importing TFDS takes long, and stops half-way.
    patch = f"""prepare._build = lambda reviews, directory, advance: shutil.copytree(
            {str(prepared_once)!r}, directory)
        prepare._name_records = lambda *_: (report('half-way'), input())"""
    data_dir, lines = tmp_path / "data", []
    with start(data_dir, archive, patch) as first:
        wait_for(first, "half-way")
        assert not is_prepared(data_dir)

        def report(line: str) -> None:
            lines.append(line)
            if len(lines) == 1:
                print(file=first.stdin, flush=True)  # let the other go on

        prepare(data_dir, archive, verify=False, report=report)
        assert first.wait() == 0
    assert lines[0].startswith("Waiting for another process")
    assert lines[1].startswith("Another process has prepared")
    assert len(lines) == 2
    assert is_prepared(data_dir)


# Directories that cannot be used


def test_directory_that_cannot_be_written(tmp_path: Path, archive: Path) -> None:
    assert "cannot prepare" in refusal(archive / "data", archive)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_read_only_directory(data_dir: Path, archive: Path) -> None:
    data_dir.mkdir(mode=0o555)
    assert "cannot prepare" in refusal(data_dir, archive)


def test_full_disk(data_dir: Path, archive: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # no file may grow beyond it
    try:
        message = refusal(data_dir, archive)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in message


def test_what_others_left_there_is_not_overwritten(data_dir: Path, archive: Path) -> None:
    (data_dir / DIRECTORY).mkdir(parents=True)
    (data_dir / DIRECTORY / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="incomplete; remove it"):
        prepare(data_dir, archive, verify=False, report=ignore)
    assert os.listdir(data_dir / DIRECTORY) == ["dataset_info.json"]
