"""The C++ program: built by the commands of its README, it reproduces what the bundles hold and refuses what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pt_core.artifacts.artifact import GOLDEN

ROOT = Path(__file__).parents[2]
README = ROOT / "examples" / "cpp" / "README.md"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in ("cmake", "c++") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"the C++ example needs {' and '.join(missing)}; apt-get install cmake g++")
    build = tmp_path_factory.mktemp("cpp")
    configure, compile_, run = README.read_text().split("```")[1].strip().splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in (configure, compile_):
        command = command.replace("build/cpp", str(build))
        done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / Path(run.split()[0]).name


def run(program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, folder], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("chain", [("torchscript",), ("exported", "compiled")], ids="-".join)
def test_a_bundle_gives_its_golden_outputs_without_python(program, builder, chain):
    done = run(program, Path(builder.chain(*chain).directory))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("max_abs_error ")
    assert "16 samples" in done.stdout


def test_other_outputs_than_the_golden_ones_are_a_failure(program, builder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(builder.chain("torchscript").directory, copy)
    golden = load_file(copy / GOLDEN)
    golden["logits"][3, 1] += 0.01
    save_file(golden, copy / GOLDEN)
    done = run(program, copy)
    assert done.returncode == 1
    assert "max_abs_error 0.01" in done.stdout


def test_an_exported_program_is_refused_because_it_needs_python(program, builder):
    done = run(program, Path(builder.chain("exported").directory))
    assert done.returncode == 1
    assert "expected a bundle of format torchscript or compiled" in done.stderr


def with_header(header: str, *, length: int | None = None, payload: bytes = b"\0" * 16) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header.encode() + payload


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> str:
    return json.dumps({"inputs": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\1\2", "no header"),
        (with_header("{}", length=2**63), "longer than the file"),
        (with_header("{" * 50), "safetensors header"),
        (with_header('{"inputs'), "unfinished string"),
        (with_header(entry([4], [0, 16], "F64")), "is F64, expected F32"),
        (with_header(entry([4], [0, 32])), "outside the file"),
        (with_header(entry([4], [16, 0])), "outside the file"),
        (with_header(entry([2**32, 2**32], [0, 16])), "impossible shape"),
        (with_header(entry([3], [0, 16])), "do not fit its shape"),
        (with_header(entry([-1], [0, 16])), "no number"),
        (with_header(entry([99999999999999999999], [0, 16])), "no file is as long"),
    ],
    ids=str,
)
def test_a_damaged_golden_file_is_refused_and_never_read_beyond_its_end(program, tmp_path, content, message):
    (tmp_path / GOLDEN).write_bytes(content)
    done = run(program, tmp_path)
    assert done.returncode == 1
    assert message in done.stderr


def test_what_the_tiny_reader_reads_is_what_was_written(program, builder, tmp_path):
    # Names in another order, metadata and padding, as other writers leave them.
    copy = tmp_path / "copy"
    shutil.copytree(builder.chain("torchscript").directory, copy)
    golden = load_file(copy / GOLDEN)
    save_file(
        {"logits": golden["logits"], "inputs": golden["inputs"], "extra": np.ones(3, np.float32)},
        copy / GOLDEN,
        metadata={"by": "a test"},
    )
    assert run(program, copy).returncode == 0
