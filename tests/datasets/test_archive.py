"""Reading the reviews out of archives and directories, most of them not what they should be."""

import bz2
import gzip
import hashlib
import importlib.resources
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_archives import COUNTS, ignore, publish, review_files, tar_bytes

from imdb_jax.datasets.imdb import archive as archive_module
from imdb_jax.datasets.imdb.archive import read_archive
from imdb_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("small_counts")


def assert_read(source: Path, *, verify: bool = False) -> None:
    """Check that all reviews are read, each into its split and without the space around it."""
    reviews = read_archive(source, verify=verify, report=ignore)
    assert {split: len(texts) for split, texts in reviews.items()} == COUNTS
    expected = {path: content.strip() for path, content in review_files().items()}
    assert reviews["train"] | reviews["test"] | reviews["unsupervised"] == expected
    assert all("/unsup/" in path for path in reviews["unsupervised"])
    assert all(path.startswith("aclImdb/test/") for path in reviews["test"])


def refusal(source: Path, *, verify: bool = False) -> str:
    """Return the message, a single line, with which the archive is refused."""
    with pytest.raises(UserError) as caught:
        read_archive(source, verify=verify, report=ignore)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives(archive: Path, compress: Callable[[bytes], bytes]) -> None:
    archive.write_bytes(compress(archive.read_bytes()))
    assert_read(archive)


@pytest.mark.parametrize("name", ["aclImdb", "."])
def test_unpacked_directory_and_its_parent(archive: Path, tmp_path: Path, name: str) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "unpacked/aclImdb/train/pos/notes.txt").write_text("not a review")
    source = tmp_path / "unpacked" / name
    assert "no checksum" in refusal(source, verify=True)
    assert_read(source)


def test_unpacked_directory_without_a_folder(tmp_path: Path) -> None:
    for folder in ("train/pos", "test/pos"):
        (tmp_path / "aclImdb" / folder).mkdir(parents=True)
    assert "aclImdb/train/neg" in refusal(tmp_path)


def test_directory_that_holds_the_archive(archive: Path, tmp_path: Path) -> None:
    directory = tmp_path / "downloads"
    directory.mkdir()
    assert "it holds none" in refusal(directory)
    (directory / "aclImdb_notes.txt").touch()
    archive.rename(directory / "aclImdb.tar")
    (directory / "aclImdb.tgz").touch()
    assert "it holds aclImdb.tar, aclImdb.tgz" in refusal(directory)
    (directory / "aclImdb.tgz").unlink()
    assert_read(directory)


def test_absent_archive(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "absent.tar.gz")
    assert "a device" in refusal(Path("/dev/zero"))


def test_the_published_archive_is_the_one_that_tfds_downloads() -> None:
    known = importlib.resources.files("tensorflow_datasets.datasets.imdb_reviews")
    url, size, sha256, name = known.joinpath("checksums.tsv").read_text().split()
    assert (url, int(size), sha256, name) == archive_module.PUBLISHED


def test_checksum_is_demanded(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive.read_bytes()
    assert f"it has {len(content):,} bytes, not 84,125,825; accept" in refusal(archive, verify=True)
    publish(monkeypatch, content[:-1] + b"x")
    message = refusal(archive, verify=True)
    assert hashlib.sha256(content).hexdigest() in message
    assert archive_module.PUBLISHED.sha256 in message
    assert "--allow-unverified" in message
    publish(monkeypatch, content)
    assert_read(archive, verify=True)


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_counts_must_be_right(archive: Path, change: str) -> None:
    files = review_files()
    if change == "missing":
        del files["aclImdb/test/neg/0_2.txt"]
    else:
        files["aclImdb/test/neg/9_2.txt"] = b"one too many"
    archive.write_bytes(tar_bytes(files))
    expected = {"missing": "3 test reviews; there must be 4", "surplus": "more than 4 test reviews"}
    assert expected[change] in refusal(archive)


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
        (member("aclImdb/notes", tarfile.GNUTYPE_SPARSE), "is sparse"),
        (member("aclImdb/train/pos/7_7.txt", size=1 << 21), "more than any review"),
        (member("aclImdb/train/pos/0_9.txt"), "twice"),
        (member("./aclImdb/train/pos/0_9.txt"), "twice"),
    ],
)
def test_hostile_members(archive: Path, hostile: tarfile.TarInfo, complaint: str) -> None:
    archive.write_bytes(tar_bytes(review_files(), hostile))
    assert complaint in refusal(archive)


def test_negative_sizes(archive: Path) -> None:
    """With which reading would go back and never end."""
    header = member("aclImdb/notes", size=-512).tobuf(tarfile.GNU_FORMAT)
    archive.write_bytes(header + archive.read_bytes())
    assert "of negative size" in refusal(archive)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_extended_headers_are_skipped_unread(
    archive: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    """However large, and in however long a chain, which tarfile follows by recursion."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tarfile.TarInfo, "_proc_pax", fail)
    monkeypatch.setattr(tarfile.TarInfo, "_proc_gnulong", fail)
    extended = [member("/header", kind, size=3000) for _ in range(1100)]
    archive.write_bytes(tar_bytes(review_files(), *extended, member("aclImdb/train/last")))
    assert_read(archive)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_format_of_tar(archive: Path, form: int) -> None:
    with tarfile.open(archive, "w", format=form, pax_headers={"comment": "for all"}) as tar:
        for name, content in review_files().items():
            file = tarfile.TarInfo(name)
            file.size, file.mtime = len(content), 1.5  # which needs a pax header
            tar.addfile(file, io.BytesIO(content))
        tar.addfile(tarfile.TarInfo("aclImdb/" + "n" * 95 + "/file"))
    assert_read(archive)


@pytest.mark.parametrize(
    ("limit", "bound", "complaint"),
    [
        ("_MAX_UNPACKED_BYTES", 1 << 20, "unpacks to more"),
        ("_MAX_TEXT_BYTES", 300, "more text than the published reviews"),
        ("_MAX_OTHER_MEMBERS", 1, "too many files that are not reviews"),
    ],
)
def test_unpacking_is_bounded(
    archive: Path, monkeypatch: pytest.MonkeyPatch, limit: str, bound: int, complaint: str
) -> None:
    monkeypatch.setattr(archive_module, limit, bound)
    bomb = member("aclImdb/train/labeledBow.feat", size=1 << 22)
    archive.write_bytes(gzip.compress(tar_bytes(review_files(), bomb)))
    assert complaint in refusal(archive)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_truncated_archives(archive: Path, compress: Callable[[bytes], bytes]) -> None:
    content = compress(archive.read_bytes())
    archive.write_bytes(content[: len(content) // 2])
    message = refusal(archive)
    assert "not an intact tar archive" in message or "there must be" in message


def test_xz_with_a_huge_dictionary(archive: Path) -> None:
    small = lzma.compress(archive.read_bytes())
    # 0x16 is 8 MB and 0x20 256 MB; the header of the block ends in its checksum.
    header = small[12:20].replace(b"\x16", b"\x20")
    checksum = zlib.crc32(header).to_bytes(4, "little")
    archive.write_bytes(small[:12] + header + checksum + small[24:])
    assert "Memory usage limit exceeded" in refusal(archive)


def test_gzip_with_a_wrong_checksum(archive: Path) -> None:
    content = bytearray(gzip.compress(archive.read_bytes()))
    content[-5] ^= 1
    archive.write_bytes(content)
    assert "CRC" in refusal(archive)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" * 500, b"\x1f\x8bjunk" * 200])
def test_not_an_archive(archive: Path, content: bytes) -> None:
    archive.write_bytes(content)
    assert "not an intact tar archive" in refusal(archive)


def test_random_damage_is_a_user_error_or_harmless(archive: Path) -> None:
    intact = archive.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(intact)
        for position in generator.integers(0, len(damaged), size=20):
            damaged[position] = generator.integers(0, 256)
        archive.write_bytes(damaged)
        try:
            read_archive(archive, verify=False, report=ignore)
        except UserError:
            continue
