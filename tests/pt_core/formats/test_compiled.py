"""Compiled packages: what is in them, where they are refused, and what they leave behind (nothing)."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from pt_core.artifacts.artifact import GOLDEN, Artifact
from pt_core.data.dataset import load_split
from pt_core.errors import IntegrityError, StepFailed, StepUnavailable
from pt_core.formats.compiled import FILE, PASSPORT, CompiledFormat
from pt_core.formats.exported import ExportedFormat
from pt_core.formats.inductor import Passport
from pt_core.inference.predictor import load_predictor
from pt_core.quantizers.pt2e_static import Int8Static


@pytest.fixture
def artifact(builder) -> Artifact:
    reason = CompiledFormat().unavailable()
    if reason:
        pytest.skip(reason)
    return builder.chain("exported", "compiled")


@pytest.fixture
def copied(artifact, tmp_path) -> Artifact:
    copy = tmp_path / "copy"
    shutil.copytree(artifact.directory, copy)
    return artifact.model_copy(update={"directory": str(copy)})


def test_a_package_takes_batches_that_no_one_ever_tried(artifact, builder):
    samples = np.random.default_rng(0).random((200, 1, 8, 8), dtype=np.float32)
    predictor, reference = load_predictor(artifact), load_predictor(builder.chain())
    for size in (1, 5, 200):
        expected = reference.logits(samples[:size])
        np.testing.assert_allclose(predictor.logits(samples[:size]), expected, atol=1e-5)


def test_a_package_holds_no_path_of_the_machine_that_built_it(artifact):
    assert artifact.payload == (FILE, PASSPORT)
    with zipfile.ZipFile(Path(artifact.directory) / FILE) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    places = (
        tempfile.gettempdir(),
        Path(torch.__file__).parent,
        Path.home(),
        Path(artifact.directory).parent,
    )
    assert [place for place in map(str, places) if place.encode() in content] == []


def test_code_built_by_one_thread_asks_for_threads_when_it_runs(artifact):
    with zipfile.ZipFile(Path(artifact.directory) / FILE) as archive:
        library = next(archive.read(name) for name in archive.namelist() if name.endswith(".so"))
    assert b"GOMP_parallel" in library or b"__kmpc_fork_call" in library


def test_a_package_has_fewer_kernels_than_the_program_has_operators(artifact, builder):
    runtime = load_predictor(artifact).runtime()
    # Sub, div, 4 conv-bn-relu blocks, 2 poolings, flatten, 2 linear layers and a relu; 6 of them have weights.
    assert runtime.num_nodes == 2 + 4 * 3 + 2 + 1 + 3
    assert 6 <= runtime.num_nodes_optimized <= 12
    program = load_predictor(builder.chain("exported")).runtime()
    assert (program.num_nodes, program.num_nodes_optimized) == (20, 20)


def test_a_loaded_package_leaves_no_file_behind_while_it_runs(artifact, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    predictor = load_predictor(artifact)
    assert list(tmp_path.iterdir()) == []
    assert os.environ["TMPDIR"] == str(tmp_path)
    assert predictor.logits(np.zeros((3, 1, 8, 8), np.float32)).shape == (3, 10)


def test_a_home_of_any_name_gets_a_package_and_nothing_else(root, tmp_path, monkeypatch):
    name = """Bob's "x" y"""
    if CompiledFormat().unavailable():
        pytest.skip(CompiledFormat().unavailable())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    for folder in ("scratch", name):
        (tmp_path / folder).mkdir()
    made = tiny.apply(CompiledFormat(), tiny.apply(ExportedFormat(), root, tmp_path), tmp_path / name)
    assert {path.name for path in Path(made.directory).iterdir()} == {FILE, PASSPORT, GOLDEN}
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("name", ["Bob's", 'a "b"', "a space"])
def test_a_folder_for_temporary_files_that_no_compiler_can_be_given_is_named(
    tmp_path, monkeypatch, name, root, made
):
    program = made(ExportedFormat(), root)
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    with pytest.raises(
        StepFailed, match=f"temporary files is {re.escape(str(tmp_path / name))}, .*set TMPDIR"
    ):
        made(CompiledFormat(), program)
    assert list((tmp_path / name).iterdir()) == []


def test_a_machine_without_a_compiler_builds_no_package_and_loads_one(artifact, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler; apt-get install g++" in CompiledFormat().unavailable()
    load_predictor(artifact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torch": "1.2.3"}, "the torch is .*, it was compiled for 1.2.3"),
        ({"machine": "riscv64"}, "the processor is .*, it was compiled for riscv64"),
        ({"platform": "plan9"}, "the operating system is .*, it was compiled for plan9"),
        ({"instruction_sets": ("avx2", "avx4096")}, "the processor lacks .*avx4096"),
    ],
)
def test_code_for_another_machine_is_refused_with_the_remedy(copied, change, message):
    path = Path(copied.directory) / PASSPORT
    passport = Passport.from_json(path.read_bytes())
    path.write_text(passport.model_copy(update=change).to_json())
    with pytest.raises(StepUnavailable, match=f"{message}.*build it again"):
        CompiledFormat().load(copied, "cpu")


def test_a_package_for_the_cpu_is_refused_for_another_device(artifact):
    with pytest.raises(StepUnavailable, match="device asked for is cuda, it was compiled for cpu"):
        CompiledFormat().load(artifact, "cuda")


def test_a_package_without_a_passport_is_not_run(copied):
    path = Path(copied.directory) / PASSPORT
    path.write_text('{"torch": 2}')
    with pytest.raises(IntegrityError, match="no passport"):
        CompiledFormat().load(copied, "cpu")
    path.unlink()
    with pytest.raises(IntegrityError, match="no passport"):
        CompiledFormat().load(copied, "cpu")


def test_an_int8_convolution_of_one_channel_and_any_batch_is_compiled_rightly(dataset, tmp_path, made):
    # torch 2.13 by itself takes its output for contiguous, and what reads it then gets scrambled numbers.
    checkpoint = tiny.checkpoint(tmp_path, dataset, target="tiny:TwoConvolutions")
    samples = np.array(load_split(dataset, "calibration").x[:32])
    program = made(Int8Static(), tiny.root_artifact(checkpoint, tmp_path), tiny.step_data(samples))
    package = made(CompiledFormat(), program)
    for size in (1, 5):
        expected = ExportedFormat().load(program, "cpu").logits(samples[:size])
        found = CompiledFormat().load(package, "cpu").logits(samples[:size])
        assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
