from __future__ import annotations

import contextlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pt_core.artifacts.artifact import GOLDEN
from pt_core.artifacts.checkpoint import TRAINING_STATE, WEIGHTS, Checkpoint, CheckpointInfo
from pt_core.artifacts.checkpoint_files import load_training_state, open_checkpoint, verify_checkpoint
from pt_core.artifacts.tensors import load_tensors
from pt_core.bundle import MANIFEST, seal
from pt_core.errors import IntegrityError

FILES = (MANIFEST, WEIGHTS, TRAINING_STATE, GOLDEN)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def check_flips(checkpoint: Checkpoint, *, num_flips: int, seed: int) -> None:
    """Flip single bits, each file getting its share, and expect each to be refused by name."""
    directory, generator = Path(checkpoint.directory), np.random.default_rng(seed)
    for number in range(num_flips):
        path = directory / FILES[number % len(FILES)]
        bit = int(generator.integers(path.stat().st_size * 8))
        flip(path, bit)
        with pytest.raises(IntegrityError) as caught:
            open_checkpoint(directory)
        assert path.name in str(caught.value), f"bit {bit} of {path.name}"
        flip(path, bit)
    assert open_checkpoint(directory) == checkpoint


def test_two_hundred_single_bit_flips_are_all_refused_by_file_name(checkpoint: Checkpoint) -> None:
    assert {path.name for path in Path(checkpoint.directory).iterdir()} == set(FILES)
    check_flips(checkpoint, num_flips=200, seed=0)


@pytest.mark.campaign
def test_five_thousand_single_bit_flips_are_all_refused_by_file_name(checkpoint: Checkpoint) -> None:
    check_flips(checkpoint, num_flips=5000, seed=1)


@pytest.mark.campaign
def test_every_single_bit_of_the_manifest_counts(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.directory) / MANIFEST
    for bit in range(path.stat().st_size * 8):
        flip(path, bit)
        with pytest.raises(IntegrityError, match=MANIFEST):
            open_checkpoint(path.parent)
        flip(path, bit)


@pytest.mark.parametrize("name", FILES)
def test_truncations_are_refused_by_file_name(checkpoint: Checkpoint, name: str) -> None:
    path = Path(checkpoint.directory) / name
    whole = path.read_bytes()
    for length in sorted({0, 1, len(whole) // 2, len(whole) - 1, *range(0, len(whole), 97)}):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match=name):
            verify_checkpoint(path.parent)


@pytest.mark.parametrize("name", FILES)
def test_appended_and_zeroed_bytes_are_refused_by_file_name(checkpoint: Checkpoint, name: str) -> None:
    path = Path(checkpoint.directory) / name
    whole = path.read_bytes()
    for content in (whole + b"\0", bytes(len(whole)), whole[:-64] + bytes(64), whole + whole):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=name):
            verify_checkpoint(path.parent)


def test_two_files_that_changed_places_are_refused_by_name(checkpoint: Checkpoint, tmp_path: Path) -> None:
    directory = Path(checkpoint.directory)
    (directory / WEIGHTS).rename(tmp_path / "x")
    (directory / GOLDEN).rename(directory / WEIGHTS)
    (tmp_path / "x").rename(directory / GOLDEN)
    with pytest.raises(IntegrityError) as caught:
        verify_checkpoint(directory)
    assert WEIGHTS in str(caught.value)
    assert GOLDEN in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(checkpoint: Checkpoint, name: str) -> None:
    (Path(checkpoint.directory) / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        verify_checkpoint(Path(checkpoint.directory))


@pytest.mark.parametrize("name", ["new.bin", "sub/new.bin", ".hidden", "model.safetensors.bak"])
def test_an_added_file_is_refused_by_name(checkpoint: Checkpoint, name: str) -> None:
    path = Path(checkpoint.directory) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(IntegrityError, match=f"{name}: not in the manifest"):
        verify_checkpoint(Path(checkpoint.directory))


def check_parsers(checkpoint: Checkpoint, scratch: Path, *, num_files: int, seed: int) -> None:
    """Damage each file in one to eight places, past the digests: parsers give a value or the typed error."""
    generator = np.random.default_rng(seed)
    state = Path(checkpoint.directory) / TRAINING_STATE
    weights = Path(checkpoint.directory) / WEIGHTS
    damaged = checkpoint.model_copy(update={"directory": str(scratch)})
    for number in range(num_files):
        (scratch / WEIGHTS).write_bytes(damage(weights.read_bytes(), generator))
        if number % 2:
            (scratch / TRAINING_STATE).write_bytes(damage(state.read_bytes(), generator))
        else:
            damage_pickle(state, scratch / TRAINING_STATE, generator)
        for read in (
            lambda: load_training_state(damaged),
            lambda: load_tensors(scratch / WEIGHTS, finite=True),
        ):
            with contextlib.suppress(IntegrityError):
                read()


def damage(content: bytes, generator: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in generator.integers(len(changed), size=generator.integers(1, 9)):
        changed[place] = generator.integers(256)
    return bytes(changed)


def damage_pickle(source: Path, destination: Path, generator: np.random.Generator) -> None:
    """Copy a zip with its pickle damaged and every CRC right, so that the damage reaches the unpickler."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, damage(content, generator) if name.endswith("data.pkl") else content)


def test_parsers_answer_damage_that_was_signed_with_the_typed_error(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    check_parsers(checkpoint, tmp_path / "scratch", num_files=200, seed=0)


@pytest.mark.campaign
def test_parsers_answer_much_damage_that_was_signed_with_the_typed_error(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    check_parsers(checkpoint, tmp_path / "scratch", num_files=5000, seed=1)


def test_a_good_copy_saved_again_replaces_the_damaged_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    directory = Path(checkpoint.directory)
    copy = directory.parent / ".staging-copy"
    shutil.copytree(directory, copy)
    (copy / MANIFEST).unlink()
    flip(directory / WEIGHTS, 999)
    info = CheckpointInfo(**{name: getattr(checkpoint, name) for name in CheckpointInfo.model_fields})
    bundle = seal(copy, name="checkpoint", kind="checkpoint", info=info)
    assert bundle.directory == checkpoint.directory
    verify_checkpoint(directory)
    assert len(list(directory.parent.glob("*.damaged-*"))) == 1
