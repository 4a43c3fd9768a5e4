from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from pt_core.artifacts.artifact import GOLDEN, Artifact
from pt_core.artifacts.integrity import RELATIVE_TOLERANCE, IntegrityReport
from pt_core.artifacts.tensors import load_tensors, save_tensors
from pt_core.errors import IntegrityError
from pt_core.inference.requests import VerifyRequest
from pt_core.inference.verify import verify
from pt_core.isolation import run_isolated
from pt_core.keys import Trust


def verified(directory: str | Path, **more: str) -> IntegrityReport:
    """Verify a bundle that the caller vouches for by its name."""
    trust = Trust(trusted_keys="", unsigned=(Path(directory).name,))
    return verify(VerifyRequest(directory=str(directory), trust=trust, **more))


@pytest.fixture
def program(builder: tiny.Builder, tmp_path: Path) -> Artifact:
    """A TorchScript artifact of its own, to be changed."""
    original = builder.chain("torchscript")
    directory = shutil.copytree(original.directory, tmp_path / "program")
    return original.model_copy(update={"directory": str(directory)})


class Scaled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * 1.001


def test_a_checkpoint_an_artifact_and_a_dataset_each_verify_in_a_process_of_their_own(
    builder, dataset
) -> None:
    kinds = {"checkpoint": builder.checkpoint, "artifact": builder.chain("torchscript"), "dataset": dataset}
    for kind, bundle in kinds.items():
        report = run_isolated(
            "pt_core.inference.verify:verify",
            VerifyRequest(directory=bundle.directory, expected_digest=bundle.digest),
            reply=IntegrityReport,
            timeout_s=120,
        )
        assert (report.kind, report.digest, report.size_bytes) == (kind, bundle.digest, bundle.size_bytes)
        assert (report.golden_max_abs_error is None) == (kind == "dataset")
        assert any("replayed" in check for check in report.checks) == (kind != "dataset")


def test_the_report_of_an_artifact_names_its_format_and_runtime(builder) -> None:
    report = verified(builder.chain("torchscript").directory)
    assert any("loads as torchscript in torch" in check.lower() for check in report.checks)


def test_an_intact_bundle_that_is_not_the_expected_one_is_refused(builder) -> None:
    with pytest.raises(IntegrityError, match=r"expected 0000.*it is intact but it is another bundle"):
        verified(builder.checkpoint.directory, expected_digest="0" * 64)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="not a bundle"):
        verified(tmp_path)
    with pytest.raises(IntegrityError, match="not a bundle"):
        verified(tmp_path / "nothing")


def test_a_changed_byte_of_an_artifact_is_refused_by_file_name(program: Artifact) -> None:
    path = Path(program.directory) / "model.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.pt: SHA-256"):
        verified(program.directory)


def test_a_resealed_artifact_that_computes_something_else_fails_its_golden_replay(
    program: Artifact, tmp_path: Path
) -> None:
    assert verified(tiny.reseal(program, tmp_path / "same").directory).golden_max_abs_error is not None
    path = str(Path(program.directory) / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Scaled(torch.jit.load(path))), path)
    changed = tiny.reseal(program, tmp_path / "changed")
    with pytest.raises(IntegrityError, match="golden outputs differ"):
        verified(changed.directory)


def test_the_tolerance_is_that_of_the_precision(program: Artifact, tmp_path: Path) -> None:
    path = Path(program.directory) / GOLDEN
    arrays = load_tensors(path)
    save_tensors(path, {**arrays, "logits": arrays["logits"] * 1.02})
    int8 = tiny.reseal(program.model_copy(update={"precision": "int8"}), tmp_path / "int8")
    assert verified(int8.directory).golden_max_abs_error > 0
    for precision in ("fp32", "fp16"):
        assert RELATIVE_TOLERANCE[precision] < 0.02
        other = tiny.reseal(program.model_copy(update={"precision": precision}), tmp_path / precision)
        with pytest.raises(IntegrityError, match="golden outputs differ"):
            verified(other.directory)


def test_a_resealed_artifact_without_its_payload_is_refused(program: Artifact, tmp_path: Path) -> None:
    (Path(program.directory) / "model.pt").unlink()
    with pytest.raises(IntegrityError, match=r"model\.pt: missing"):
        verified(tiny.reseal(program, tmp_path / "b").directory)
