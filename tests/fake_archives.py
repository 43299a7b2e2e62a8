"""Archives of a few reviews that stand in for the published one, for the tests."""

import hashlib
import io
import tarfile

import pytest

from imdb_jax.datasets.imdb import archive
from imdb_jax.datasets.imdb.prepare import prepare

COUNTS = {"train": 6, "test": 4, "unsupervised": 5}


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


def publish(monkeypatch, content, url="unused"):
    """Makes `content` the published archive."""
    sha256 = hashlib.sha256(content).hexdigest()
    published = archive.PublishedArchive(url, len(content), sha256, "aclImdb_v1.tar.gz")
    monkeypatch.setattr(archive, "PUBLISHED", published)


def prepare_fake(directory):
    """Prepares the reviews below `directory`; gives the data directory."""
    file, data_dir = directory / "reviews.tar", directory / "data"
    file.write_bytes(tar_bytes(review_files()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "COUNTS", COUNTS)
        prepare(data_dir, file, verify=False, report=ignore)
    return data_dir


def ignore(line):
    """Reports to nobody."""
