"""Parameters on disk: read back as they were, on other devices too, or refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from imdb_jax.checkpoint import load_params, save_params
from imdb_jax.errors import UserError
from imdb_jax.pipeline import data_mesh, replicated

PARAMS = {
    "Dense_0": {
        "kernel": np.arange(6, dtype="f").reshape(2, 3),
        "bias": np.float32([1e-30, 0, -1]),
    },
    "Embed_0": {"embedding": np.random.default_rng(0).normal(size=(70, 5)).astype("f")},
}
LIKE = jax.eval_shape(lambda: PARAMS)


@pytest.fixture
def saved(tmp_path):
    save_params(tmp_path / "params", PARAMS)
    return tmp_path / "params"


def refusal(path, like=LIKE):
    with pytest.raises(UserError) as caught:
        load_params(path, like)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("like", [LIKE, PARAMS], ids=["shapes", "arrays"])
def test_what_is_saved_is_read_back_bit_by_bit(saved, like):
    loaded = load_params(saved, like)
    jax.tree.map(np.testing.assert_array_equal, loaded, PARAMS)
    assert jax.tree.structure(loaded) == jax.tree.structure(PARAMS)


def test_read_without_the_devices_that_it_was_saved_from(tmp_path):
    assert jax.device_count() > 1
    save_params(tmp_path / "params", jax.device_put(PARAMS, replicated(data_mesh())))
    program = f"""if True:
        import jax, numpy as np
        from pathlib import Path
        from imdb_jax.checkpoint import load_params
        assert jax.device_count() == 1
        like = {{
            "Dense_0": {{"kernel": np.zeros((2, 3), "f"), "bias": np.zeros(3, "f")}},
            "Embed_0": {{"embedding": np.zeros((70, 5), "f")}},
        }}
        print(load_params(Path({str(tmp_path / "params")!r}), like)["Dense_0"]["kernel"].tolist())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]\n", "")


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_params(Path("params"), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, load_params(Path("params"), LIKE), PARAMS)


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_nothing_there(tmp_path, kind):
    if kind == "file":
        (tmp_path / "params").write_text("")
    assert "there is no checkpoint" in refusal(tmp_path / "params")


def test_directory_that_is_no_checkpoint(tmp_path):
    assert "incomplete or damaged" in refusal(tmp_path)


@pytest.mark.parametrize("damage", ["flip a bit", "truncate", "empty", "delete"])
def test_damage_to_any_file_is_noticed(saved, capfd, damage):
    files = [file for file in saved.rglob("*") if file.is_file()]
    assert len(files) > 3
    for file in files:
        intact = file.read_bytes()
        if damage == "flip a bit":
            middle = len(intact) // 2
            file.write_bytes(intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :])
        elif damage == "truncate":
            file.write_bytes(intact[:-1] if file.suffix != ".json" else intact[:-2])
        elif damage == "empty":
            file.write_bytes(b"")
        else:
            file.unlink()
        assert "damaged" in refusal(saved)
        file.write_bytes(intact)
    load_params(saved, LIKE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"_METADATA": 1}', "\x80\x04pickle", "3"])
def test_foreign_checksums(saved, content):
    for file in saved.rglob("*"):
        if file.is_file():
            file.write_bytes(content.encode("latin-1"))
    refusal(saved)


def changed(layer, name, leaf):
    like = {key: dict(value) for key, value in LIKE.items()}
    like.setdefault(layer, {})
    if leaf is None:
        del like[layer][name]
    else:
        like[layer][name] = leaf
    return like


@pytest.mark.parametrize(
    ("like", "complaint"),
    [
        (
            changed("Dense_0", "kernel", np.zeros((3, 3), "f")),
            "its Dense_0.kernel is float32[2, 3], this model's float32[3, 3]",
        ),
        (changed("Dense_0", "kernel", np.zeros((1, 3), "f")), "Dense_0.kernel"),
        (
            changed("Dense_0", "bias", np.zeros(3, np.float16)),
            "its Dense_0.bias is float32[3], this model's float16[3]",
        ),
        (
            changed("Dense_1", "bias", np.zeros(3, "f")),
            "its Dense_1.bias is absent, this model's float32[3]",
        ),
        (
            changed("Embed_0", "embedding", None),
            "its Embed_0.embedding is float32[70, 5], this model's absent",
        ),
    ],
)
def test_parameters_of_another_model(saved, capfd, like, complaint):
    assert complaint in refusal(saved, like)
    assert capfd.readouterr() == ("", "")


def test_earlier_checkpoint_is_not_overwritten(saved):
    with pytest.raises(ValueError, match="already exists"):
        save_params(saved, jax.tree.map(np.zeros_like, PARAMS))
    jax.tree.map(np.testing.assert_array_equal, load_params(saved, LIKE), PARAMS)


def test_nothing_is_pickled(saved):
    for file in saved.rglob("*"):
        # Protocols 2 and up begin with these, and all end with a full stop.
        assert not (file.is_file() and file.read_bytes().startswith(b"\x80"))
