"""Preparing the reviews from an archive, a directory or the network, and reading them back."""

import bz2
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from imdb_jax import preparation
from imdb_jax.errors import UserError
from imdb_jax.preparation import (
    DownloadUnreachable,
    default_data_dir,
    fingerprint,
    is_prepared,
    prepare,
    read_file_names,
    read_split,
)

COUNTS = {"train": 6, "test": 4, "unsupervised": 5}
VERSION = Path("imdb_reviews", "plain_text", "1.0.0")


def review_files() -> dict[str, bytes]:
    """Path -> content; two reviews are the same text, one has white space around it."""
    files = {}
    for folder, count in (("train/pos", 3), ("train/neg", 3), ("test/pos", 2), ("test/neg", 2)):
        for i in range(count):
            files[f"aclImdb/{folder}/{i}_{9 if 'pos' in folder else 2}.txt"] = (
                f"  {folder} número {i}<br />\n".encode()
            )
    files |= {f"aclImdb/train/unsup/{i}_0.txt": f"no label {i}".encode() for i in range(5)}
    files["aclImdb/train/pos/1_9.txt"] = files["aclImdb/train/pos/0_9.txt"]
    return files


def tar_bytes(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("aclImdb/README"), None)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "_EXPECTED_COUNTS", COUNTS)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.tar"
    file.write_bytes(tar_bytes(review_files()))
    return file


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def prepared(data_dir: Path, archive: Path) -> Path:
    prepare(data_dir, archive, verify=False, report=ignore)
    return data_dir


def ignore(line: str) -> None:
    """Report to nobody."""


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


def published(monkeypatch: pytest.MonkeyPatch, content: bytes, url: str = "unused") -> None:
    """Make `content` the archive that TFDS knows about."""
    sha256 = hashlib.sha256(content).hexdigest()
    official = preparation._Published(url, len(content), sha256, "aclImdb_v1.tar.gz")
    monkeypatch.setattr(preparation, "_published_archive", lambda: official)


# Preparing and reading back


def test_records_hold_the_reviews_and_their_labels(prepared: Path) -> None:
    files = review_files()
    for split, count in COUNTS.items():
        texts, labels = read_split(prepared, split)
        folder = "train" if split == "unsupervised" else split
        wanted = [
            (content.strip(), {"pos": 1, "neg": 0, "unsup": -1}[path.split("/")[2]])
            for path, content in files.items()
            if path.split("/")[1] == folder and ("unsup" in path) == (split == "unsupervised")
        ]
        assert labels.dtype == np.int8
        assert len(texts) == len(labels) == count
        assert sorted(zip(texts, labels.tolist(), strict=True)) == sorted(wanted)


def test_file_names_follow_the_records(prepared: Path) -> None:
    files = review_files()
    for split in ("train", "test"):
        names = read_file_names(prepared, split)
        assert names is not None
        assert len(set(names)) == COUNTS[split]
        texts, labels = read_split(prepared, split)
        assert texts == [files[f"aclImdb/{split}/{name}"].strip() for name in names]
        assert labels.tolist() == [int(name.startswith("pos/")) for name in names]
    with pytest.raises(UserError, match="no file names for split 'unsupervised'"):
        read_file_names(prepared, "unsupervised")


def test_plain_tfds_reads_it(prepared: Path) -> None:
    import tensorflow_datasets as tfds

    for split in COUNTS:
        source = tfds.data_source("imdb_reviews", data_dir=prepared, split=split)
        records = [source[i] for i in range(len(source))]
        texts, labels = read_split(prepared, split)
        assert [record["text"] for record in records] == texts
        assert [record["label"] for record in records] == labels.tolist()


def test_preparing_again_changes_nothing(prepared: Path, tmp_path: Path) -> None:
    before = fingerprint(prepared)
    prepare(prepared, tmp_path / "absent", report=pytest.fail)
    assert fingerprint(prepared) == before


def test_result_depends_on_the_reviews_alone(prepared: Path, tmp_path: Path) -> None:
    other = tmp_path / "reversed.tar"
    other.write_bytes(tar_bytes(dict(reversed(review_files().items()))))
    prepare(tmp_path / "other", other, verify=False, report=ignore)
    for file in (prepared / VERSION).iterdir():
        if "array_record" not in file.name:  # those are compressed in threads
            assert file.read_bytes() == (tmp_path / "other" / VERSION / file.name).read_bytes()
    for split in COUNTS:
        assert read_split(prepared, split)[0] == read_split(tmp_path / "other", split)[0]


def test_nothing_but_the_report_is_printed(
    data_dir: Path, archive: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    prepare(data_dir, archive, verify=False, report=lines.append)
    assert capfd.readouterr() == ("", "")
    assert [line.split()[0] for line in lines] == ["Reading", "Writing", "Prepared"]


def test_default_directory_is_that_of_tfds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "/some/where")
    assert default_data_dir() == Path("/some/where")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert default_data_dir() == Path.home() / "tensorflow_datasets"


def test_import_leaves_heavy_modules_alone() -> None:
    heavy = "'tensorflow_datasets', 'array_record', 'requests', 'rich', 'jax'"
    program = f"import sys, imdb_jax.preparation; sys.exit(bool({{{heavy}}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Archives


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives(
    data_dir: Path, archive: Path, compress: Callable[[bytes], bytes]
) -> None:
    archive.write_bytes(compress(archive.read_bytes()))
    prepare(data_dir, archive, verify=False, report=ignore)
    assert is_prepared(data_dir)


@pytest.mark.parametrize("name", ["aclImdb", "."])
def test_unpacked_directory_and_its_parent(
    data_dir: Path, archive: Path, tmp_path: Path, name: str
) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "unpacked/aclImdb/train/pos/notes.txt").write_text("not a review")
    source = tmp_path / "unpacked" / name
    assert "no checksum" in refusal(data_dir, source, verify=True)
    prepare(data_dir, source, verify=False, report=ignore)
    assert is_prepared(data_dir)


def test_unpacked_directory_without_a_folder(data_dir: Path, tmp_path: Path) -> None:
    for folder in ("train/pos", "test/pos"):
        (tmp_path / "aclImdb" / folder).mkdir(parents=True)
    assert "aclImdb/train/neg" in refusal(data_dir, tmp_path)


def test_directory_that_holds_the_archive(data_dir: Path, archive: Path, tmp_path: Path) -> None:
    directory = tmp_path / "downloads"
    directory.mkdir()
    assert "it holds: none" in refusal(data_dir, directory)
    (directory / "aclImdb_notes.txt").touch()
    archive.rename(directory / "aclImdb.tar")
    (directory / "aclImdb.tgz").touch()
    assert "it holds: aclImdb.tar, aclImdb.tgz" in refusal(data_dir, directory)
    (directory / "aclImdb.tgz").unlink()
    prepare(data_dir, directory, verify=False, report=ignore)
    assert is_prepared(data_dir)


def test_absent_archive(data_dir: Path, tmp_path: Path) -> None:
    assert "no file or directory" in refusal(data_dir, tmp_path / "absent.tar.gz")


def test_checksum_is_demanded(
    data_dir: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = archive.read_bytes()
    message = refusal(data_dir, archive, verify=True)
    assert hashlib.sha256(content).hexdigest() in message
    assert "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe" in message
    assert "--allow-unverified" in message
    published(monkeypatch, content)
    prepare(data_dir, archive, report=ignore)
    assert is_prepared(data_dir)


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_counts_must_be_right(data_dir: Path, archive: Path, change: str) -> None:
    files = review_files()
    if change == "missing":
        del files["aclImdb/test/neg/0_2.txt"]
    else:
        files["aclImdb/test/neg/9_2.txt"] = b"one too many"
    archive.write_bytes(tar_bytes(files))
    assert f"{3 if change == 'missing' else 5} test reviews where 4" in refusal(data_dir, archive)


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("hostile", "complaint"),
    [
        (member("/etc/cron.d/job"), "points outside"),
        (member("aclImdb/../../job"), "points outside"),
        (member("aclImdb/train/pos/7_7.txt", tarfile.SYMTYPE), "link or a device"),
        (member("aclImdb/notes", tarfile.LNKTYPE), "link or a device"),
        (member("aclImdb/notes", tarfile.CHRTYPE), "link or a device"),
        (member("aclImdb/notes", tarfile.FIFOTYPE), "link or a device"),
        (member("aclImdb/train/pos/7_7.txt", size=1 << 21), "more than any review"),
        (member("aclImdb/train/pos/0_9.txt"), "twice"),
        (member("./aclImdb/train/pos/0_9.txt"), "twice"),
    ],
)
def test_hostile_members(
    data_dir: Path, archive: Path, hostile: tarfile.TarInfo, complaint: str
) -> None:
    archive.write_bytes(tar_bytes(review_files(), hostile))
    assert complaint in refusal(data_dir, archive)


def test_unpacking_is_bounded(
    data_dir: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_MAX_UNPACKED_BYTES", 1 << 20)
    bomb = member("aclImdb/train/labeledBow.feat", size=1 << 22)
    archive.write_bytes(gzip.compress(tar_bytes(review_files(), bomb)))
    assert "unpacks to more" in refusal(data_dir, archive)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_truncated_archives(
    data_dir: Path, archive: Path, compress: Callable[[bytes], bytes]
) -> None:
    content = compress(archive.read_bytes())
    archive.write_bytes(content[: len(content) // 2])
    message = refusal(data_dir, archive)
    assert "not an intact tar archive" in message or "belong" in message


def test_gzip_with_a_wrong_checksum(data_dir: Path, archive: Path) -> None:
    content = bytearray(gzip.compress(archive.read_bytes()))
    content[-5] ^= 1
    archive.write_bytes(content)
    assert "CRC" in refusal(data_dir, archive)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" * 500, b"\x1f\x8bjunk" * 200])
def test_not_an_archive(data_dir: Path, archive: Path, content: bytes) -> None:
    archive.write_bytes(content)
    assert "not an intact tar archive" in refusal(data_dir, archive)


def test_random_damage_is_a_user_error_or_harmless(data_dir: Path, archive: Path) -> None:
    intact = archive.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(intact)
        for position in generator.integers(0, len(damaged), size=20):
            damaged[position] = generator.integers(0, 256)
        archive.write_bytes(damaged)
        try:
            preparation._load(archive, ignore)
        except UserError:
            continue


# Interruptions, and several processes at once


def test_exception_in_the_middle_leaves_nothing(
    data_dir: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_write_file_names", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(data_dir, archive, verify=False, report=ignore)
    assert not is_prepared(data_dir)
    assert os.listdir(data_dir) == [".imdb_reviews.lock"]
    prepare(data_dir, archive, verify=False, report=ignore)
    assert is_prepared(data_dir)


def start(data_dir: Path, archive: Path, patch: str = "") -> subprocess.Popen[str]:
    """Prepare in another process, after running the statements in `patch` there."""
    program = f"""
        import time
        from pathlib import Path
        from imdb_jax import preparation
        preparation._EXPECTED_COUNTS = {COUNTS}
        def report(line): print(line, flush=True)
        {patch}
        preparation.prepare(
            Path({str(data_dir)!r}), Path({str(archive)!r}), verify=False, report=report
        )
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


STOP_IN_THE_MIDDLE = (
    "preparation._write_file_names = lambda *_: (report('half-way'), time.sleep(60))"
)


def wait_for(process: subprocess.Popen[str], line_start: str) -> None:
    assert process.stdout is not None
    assert any(line.startswith(line_start) for line in process.stdout)


def test_kill_in_the_middle(data_dir: Path, archive: Path) -> None:
    with start(data_dir, archive, STOP_IN_THE_MIDDLE) as process:
        wait_for(process, "half-way")
        process.send_signal(signal.SIGKILL)
    assert (data_dir / ".imdb_reviews.unfinished").is_dir()
    assert not is_prepared(data_dir)
    prepare(data_dir, archive, verify=False, report=ignore)
    assert is_prepared(data_dir)
    assert sorted(os.listdir(data_dir)) == [".imdb_reviews.lock", "imdb_reviews"]


def test_two_processes_at_once(data_dir: Path, archive: Path) -> None:
    slowly = """write = preparation._write_file_names
        preparation._write_file_names = lambda *a: (
            report('half-way'), time.sleep(0.5), write(*a))"""
    with start(data_dir, archive, slowly) as first:
        wait_for(first, "half-way")
        lines: list[str] = []
        prepare(data_dir, archive, verify=False, report=lines.append)
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
    (data_dir / VERSION).mkdir(parents=True)
    (data_dir / VERSION / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="incomplete; remove it"):
        prepare(data_dir, archive, verify=False, report=ignore)
    assert os.listdir(data_dir / VERSION) == ["dataset_info.json"]


@pytest.mark.parametrize("split", ["train", "test", "unsupervised"])
def test_missing_file_means_unfinished(prepared: Path, split: str) -> None:
    (prepared / VERSION / f"imdb_reviews-{split}.array_record-00000-of-00001").unlink()
    assert not is_prepared(prepared)
    for read in (read_split, read_file_names):
        with pytest.raises(UserError, match="no prepared IMDb reviews"):
            read(prepared, "train")


def test_tfrecord_directory(prepared: Path) -> None:
    for file in (prepared / VERSION).iterdir():
        if "array_record" in file.name:
            file.rename(file.with_name(file.name.replace("array_record", "tfrecord")))
    description = prepared / VERSION / "dataset_info.json"
    description.write_text(description.read_text().replace("array_record", "tfrecord"))
    assert is_prepared(prepared)
    with pytest.raises(UserError, match=r"tfrecord format.*--data-dir OTHER --archive"):
        read_split(prepared, "train")


def test_unknown_split(prepared: Path) -> None:
    with pytest.raises(UserError, match="no split 'validation', only test, train, unsupervised"):
        read_split(prepared, "validation")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "exchanged"])
def test_damaged_records(prepared: Path, damage: str) -> None:
    file = prepared / VERSION / "imdb_reviews-train.array_record-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    other = file.with_name(file.name.replace("train", "test")).read_bytes()
    size = len(content)
    file.write_bytes(
        {
            "truncated": content[: size // 2],
            "flipped": content,
            "empty": b"",
            "exchanged": other,
        }[damage]
    )
    with pytest.raises(UserError, match=file.name):
        read_split(prepared, "train")


def test_file_names_absent_or_damaged(prepared: Path) -> None:
    file = prepared / VERSION / "file_names.json.gz"
    content = file.read_bytes()
    document = json.loads(gzip.decompress(content))
    document["names"]["train"].reverse()
    reordered = gzip.compress(json.dumps(document).encode())
    for damaged in (b"", content[:-20], b"x" * 100, gzip.compress(b"[]"), reordered):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"file_names\.json\.gz is damaged"):
            read_file_names(prepared, "train")
    file.unlink()
    assert read_file_names(prepared, "train") is None


def test_fingerprint_sees_a_change(prepared: Path) -> None:
    before = fingerprint(prepared)
    assert fingerprint(prepared) == before
    os.utime(prepared / VERSION / "features.json", ns=(1, 1))
    assert fingerprint(prepared) != before
    with pytest.raises(UserError, match="no prepared"):
        fingerprint(prepared / "elsewhere")


# Downloading


class Server(http.server.ThreadingHTTPServer):
    """Serves `body` as it is told to; counts the requests."""

    body = b""
    behaviour = "good"
    requests = 0
    release = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.behaviour == "redirecting":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        self.send_response(404 if self.server.behaviour == "missing" else 200)
        self.send_header("Content-Encoding", "x-gzip")  # as Apache does for .tar.gz
        if self.server.behaviour != "endless":
            self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if self.server.behaviour in ("stalling", "breaking off"):
            self.wfile.write(self.server.body[:100])
            if self.server.behaviour == "stalling":
                self.server.release.wait(10)
        elif self.server.behaviour == "endless":
            while not self.wfile.closed:
                self.wfile.write(bytes(1 << 16))
        else:
            self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.body = gzip.compress(archive.read_bytes(), mtime=0)
        server.release = threading.Event()
        published(monkeypatch, server.body, f"http://127.0.0.1:{server.server_port}/acl.tar.gz")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.release.set()
        server.shutdown()


def test_download_is_kept_and_used_again(
    data_dir: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(data_dir, report=ignore)
    assert is_prepared(data_dir)
    assert (data_dir / "downloads" / "aclImdb_v1.tar.gz").read_bytes() == server.body
    (data_dir / "imdb_reviews").rename(data_dir / "elsewhere")
    prepare(data_dir, report=ignore)
    assert server.requests == 1
    assert os.listdir(data_dir / "downloads") == ["aclImdb_v1.tar.gz"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("behaviour", ["good", "endless"])
def test_download_with_a_wrong_checksum(data_dir: Path, server: Server, behaviour: str) -> None:
    server.body, server.behaviour = b"<html>Please log in</html>", behaviour
    message = refusal(data_dir, None, verify=True)
    assert "sent something else than the published archive" in message
    assert not os.listdir(data_dir / "downloads")


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("missing", "answered 404 Not Found"),
        ("redirecting", "cannot be reached"),
        ("breaking off", "broke off"),
        ("stalling", "broke off (timed out)"),
    ],
)
def test_download_that_fails(
    data_dir: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    complaint: str,
) -> None:
    monkeypatch.setattr(preparation, "_STALL_SECONDS", 0.2)
    server.behaviour = behaviour
    with pytest.raises(DownloadUnreachable, match="--archive FILE") as caught:
        prepare(data_dir, report=ignore)
    assert complaint in str(caught.value)
    assert not is_prepared(data_dir)
    assert not os.listdir(data_dir / "downloads")


def unreachable(data_dir: Path) -> str:
    started = time.monotonic()
    with pytest.raises(DownloadUnreachable) as caught:
        prepare(data_dir, report=ignore)
    assert time.monotonic() - started < 10
    return str(caught.value)


def test_time_limits_leave_room_below_ten_seconds() -> None:
    assert preparation._ANSWER_SECONDS <= 8


def test_server_that_never_answers(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(preparation, "_STALL_SECONDS", 0.5)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        published(monkeypatch, b"", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert "did not answer within 0.3 seconds" in unreachable(data_dir)


def test_closed_port(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    published(monkeypatch, b"", f"http://127.0.0.1:{port}/")
    assert "Connection refused" in unreachable(data_dir)


def test_name_lookup_that_hangs(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> None:
        time.sleep(0.6)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(preparation, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "*")
    published(monkeypatch, b"", "http://reviews.invalid/")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert "did not answer" in unreachable(data_dir)


def test_proxy_of_the_environment_is_used(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    published(monkeypatch, b"", "http://reviews.invalid/")
    assert "Connection refused" in unreachable(data_dir)


# The real thing


@pytest.mark.real_data
def test_real_reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if "TFDS_DATA_DIR" not in os.environ or not is_prepared(default_data_dir()):
        pytest.skip("no prepared reviews in TFDS_DATA_DIR")
    for split, count in preparation._EXPECTED_COUNTS.items():
        texts, labels = read_split(default_data_dir(), split)
        assert len(texts) == len(labels) == count
        assert set(labels.tolist()) == ({-1} if split == "unsupervised" else {0, 1})
        names = None if split == "unsupervised" else read_file_names(default_data_dir(), split)
        assert names is None or len(names) == count
