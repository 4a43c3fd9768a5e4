"""The load guard: who can write the store, but not the keys, gets no program run at a door."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from pt_core.artifacts import guard
from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.plugin import Quantizer, Rewrite
from pt_core.artifacts.registry import make_step, step_names
from pt_core.building.build import StepRequest, build_step, checkpoint_source
from pt_core.child import call
from pt_core.errors import ConfigError, IntegrityError
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.torchscript import TorchScriptFormat
from pt_core.inference.predict import predict
from pt_core.inference.requests import PredictRequest, VerifyRequest
from pt_core.inference.verify import verify
from pt_core.keys import Keys, Trust, keys_of
from pt_core.manifest import SIGNATURE
from pt_core.signing import check_signature, sign, sign_published


class Writing(nn.Module):
    """A program that writes a file when it runs."""

    __constants__ = ("path",)

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x.flatten(1)[:, :10]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return keys_of(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def trust(keys: Keys) -> Trust:
    return Trust(trusted_keys=keys.trusted)


@pytest.fixture(scope="module")
def source(store: Path, dataset) -> Artifact:
    return tiny.root_artifact(tiny.checkpoint(store, dataset), store)


@pytest.fixture(scope="module")
def program(source: Artifact, store: Path, keys: Keys) -> Artifact:
    """A signed TorchScript artifact."""
    made = tiny.apply(TorchScriptFormat(), source, store)
    artifact = tiny.reseal(made.model_copy(update={"payload": ("model.pt",)}), store)
    sign(Path(artifact.directory), keys)
    return artifact


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("inputs") / "zeros.npy"
    np.save(path, np.zeros((2, 1, 8, 8), dtype=np.float32))
    return str(path)


def remade(program: Artifact, parent: Path, canary: Path) -> Artifact:
    """Return what someone makes of a bundle who can write the store: another program under a manifest that fits."""
    folder = Path(shutil.copytree(program.directory, parent / "copy"))
    (folder / SIGNATURE).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Writing(str(canary))), str(folder / "model.pt"))
    return tiny.reseal(program.model_copy(update={"directory": str(folder)}), parent)


def ask(artifact: Artifact, image: str, trust: Trust) -> None:
    predict(PredictRequest(bundle=artifact.directory, inputs=(image,), trust=trust))


def test_every_format_says_whether_it_is_a_program() -> None:
    plugins = [make_step(Step(name=name)) for name in step_names()]
    formats = {plugin.name for plugin in plugins if not isinstance(plugin, Quantizer | Rewrite)}
    programs = {name for name in formats if guard.is_program(name)}
    assert programs == {"torchscript", "exported", "compiled", "tensorrt"}
    assert formats - programs == {"torch", "onnx", "openvino"}
    assert all("is_program" in vars(type(make_step(Step(name=name)))) for name in formats)


def test_a_format_that_does_not_say_is_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not guard.is_program("onnx")
    monkeypatch.delattr(OnnxFormat, "is_program")
    assert guard.is_program("onnx")


def test_a_signed_program_loads_at_the_doors(program: Artifact, image: str, trust: Trust) -> None:
    ask(program, image, trust)
    report = verify(VerifyRequest(directory=program.directory, trust=trust))
    assert any(line.startswith("Signed by the trusted key ") for line in report.checks)
    assert report.notes == ()


def test_a_remade_program_never_runs(program: Artifact, image: str, trust: Trust, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = remade(program, tmp_path, canary)
    signed_before = Path(program.directory) / SIGNATURE
    for put in (lambda: None, lambda: shutil.copyfile(signed_before, Path(evil.directory) / SIGNATURE)):
        put()
        for door in (
            lambda: ask(evil, image, trust),
            lambda: verify(VerifyRequest(directory=evil.directory, trust=trust)),
            lambda: guard.open_trusted(Path(evil.directory), trust),
        ):
            with pytest.raises(IntegrityError, match=r"torchscript artifacts are programs.*--trust-unsigned"):
                door()
    sign(Path(evil.directory), keys_of(tmp_path / "attacker"))
    with pytest.raises(IntegrityError, match="none of the 1 trusted"):
        ask(evil, image, trust)
    assert not canary.exists()
    # The same call does run it, once the user names it: the canary sings.
    ask(evil, image, trust.accepting(evil.digest))
    assert canary.exists()


def test_whom_a_home_trusts_counts_where_nothing_else_is_said(
    program: Artifact, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    with pytest.raises(IntegrityError, match="none of the 0 trusted"):
        guard.open_trusted(Path(program.directory))
    monkeypatch.setenv("PT_PIPELINE_TRUSTED_KEYS", keys.trusted)
    assert guard.open_trusted(Path(program.directory)) == program


def test_what_is_no_program_loads_unsigned_and_says_that_nothing_is_known_of_its_writer(
    source: Artifact, image: str, trust: Trust, tmp_path: Path
) -> None:
    ask(source, image, trust)
    unsigned = verify(VerifyRequest(directory=source.directory, trust=trust))
    assert unsigned.notes == ("Not signed: nothing says who wrote it.",)
    copy = Path(shutil.copytree(source.directory, tmp_path / "copy"))
    sign(copy, keys_of(tmp_path / "stranger"))
    (note,) = verify(VerifyRequest(directory=str(copy), trust=trust)).notes
    assert "not trusted here" in note
    (copy / SIGNATURE).write_text("{}")
    with pytest.raises(IntegrityError, match="damaged"):
        verify(VerifyRequest(directory=str(copy), trust=trust))


def gadgets(folder: Path) -> dict[str, dict[str, object]]:
    """Functions of installed packages that stand beside torch code, and what they do: write over a file, run a text."""
    victim, canary = folder / "victim", folder / "canary"
    victim.write_text("precious")
    return {
        "safetensors.torch:save_file": {"tensors": {}, "filename": str(victim)},
        "openvino.frontend.pytorch.utils:build_wrapper": {
            "template": f"__import__('pathlib').Path({str(canary)!r}).write_text('it ran')",
            "model": None,
        },
    }


def unharmed(folder: Path) -> bool:
    return (folder / "victim").read_text() == "precious" and not (folder / "canary").exists()


@pytest.mark.parametrize(
    "target", ["safetensors.torch:save_file", "openvino.frontend.pytorch.utils:build_wrapper"]
)
def test_what_names_a_function_that_is_not_ours_calls_it_only_if_someone_vouches(
    source: Artifact, store: Path, dataset, image: str, trust: Trust, tmp_path: Path, target: str
) -> None:
    changes = {"target": target, "arguments": gadgets(tmp_path)[target]}
    evil = tiny.reseal(
        source.model_copy(update={"spec": source.spec.model_copy(update=changes)}), tmp_path / "store"
    )
    trained = tiny.checkpoint(store, dataset)
    hostile = tiny.reseal_checkpoint(
        trained.model_copy(update={"spec": trained.spec.model_copy(update=changes)}), tmp_path / "store"
    )
    for door in (
        lambda: ask(evil, image, trust),
        lambda: verify(VerifyRequest(directory=evil.directory, trust=trust)),
        lambda: guard.open_trusted(Path(evil.directory), trust),
        lambda: verify(VerifyRequest(directory=hostile.directory, trust=trust)),
    ):
        with pytest.raises(IntegrityError, match=f"not signed.*built by calling {target}.*--trust-unsigned"):
            door()
    assert unharmed(tmp_path)
    # The same call does harm, once the user names it.
    with pytest.raises(ConfigError):
        ask(evil, image, trust.accepting(evil.digest))
    assert not unharmed(tmp_path)


def test_a_network_of_the_users_own_loads_signed(store: Path, dataset, image: str, tmp_path: Path) -> None:
    keys = keys_of(tmp_path / "home")
    trust = Trust(trusted_keys=keys.trusted)
    trained = tiny.checkpoint(tmp_path / "store", dataset, target="tiny:Scaling")
    own = tiny.root_artifact(trained, tmp_path / "store")
    with pytest.raises(IntegrityError, match="not signed"):
        verify(VerifyRequest(directory=trained.directory, trust=trust))
    name = sign_published(Path(trained.directory), keys)
    sign(Path(own.directory), keys)
    ask(own, image, trust)
    report = verify(VerifyRequest(directory=trained.directory, trust=trust))
    assert report.checks[-1] == f"Signed by the trusted key {name[:16]}."
    assert [path.name for path in (tmp_path / "store").glob(".*.sig")] == []


def test_a_step_signs_what_it_publishes_and_without_a_key_leaves_it_unsigned(
    source: Artifact, dataset, keys: Keys, tmp_path: Path
) -> None:
    def here(target, request, *, reply):
        return call(target, request.to_json())

    checkpoint = tiny.checkpoint(tmp_path, dataset)
    request = StepRequest(
        source=checkpoint_source(checkpoint),
        reference=None,
        step=Step(name="torch"),
        dataset=dataset,
        store=str(tmp_path),
    )
    plain = build_step(request, here)
    assert not (Path(plain.directory) / SIGNATURE).exists()
    signed = build_step(request.model_copy(update={"signing_keys": keys}), here)
    # The same bytes, under a signature now.
    assert signed == plain
    assert check_signature(Path(signed.directory), Path(keys.trusted))
