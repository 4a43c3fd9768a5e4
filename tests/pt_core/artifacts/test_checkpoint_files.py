from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pt_core.artifacts.artifact import GOLDEN
from pt_core.artifacts.checkpoint import TRAINING_STATE, WEIGHTS, Checkpoint, CheckpointInfo
from pt_core.artifacts.checkpoint_files import (
    load_network,
    load_training_state,
    open_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from pt_core.artifacts.tensors import load_tensors, save_tensors
from pt_core.bundle import MANIFEST, Bundle, seal
from pt_core.errors import ConfigError, IntegrityError
from pt_core.record import Record


def reseal(checkpoint: Checkpoint, info: Record | None = None) -> Bundle:
    """Sign a changed checkpoint anew, as someone who tampers with it could."""
    folder = Path(checkpoint.directory)
    (folder / MANIFEST).unlink()
    if info is None:
        fields = {name: getattr(checkpoint, name) for name in CheckpointInfo.model_fields}
        info = CheckpointInfo.model_validate(fields)
    return seal(folder, name="tampered", kind="checkpoint", info=info)


def test_a_saved_checkpoint_verifies_and_says_what_was_checked(checkpoint: Checkpoint) -> None:
    report = verify_checkpoint(Path(checkpoint.directory))
    assert (report.kind, report.digest, report.num_files) == ("checkpoint", checkpoint.digest, 3)
    assert report.golden_max_abs_error == pytest.approx(0, abs=1e-6)
    text = " ".join(report.checks)
    for word in ("SHA-256", "finite", "names, shapes", "shape (4, 3)", "replayed", "nothing but data"):
        assert word in text


def test_opening_gives_back_the_record_that_saving_gave(checkpoint: Checkpoint) -> None:
    assert open_checkpoint(Path(checkpoint.directory)) == checkpoint


def test_weights_and_training_state_come_back_bit_for_bit(
    checkpoint: Checkpoint, network: nn.Module, training_state: dict[str, object]
) -> None:
    again = load_network(checkpoint, checkpoint.spec)
    assert not again.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    state = load_training_state(checkpoint)
    assert state["losses"] == training_state["losses"]
    assert torch.equal(state["rng"], training_state["rng"])
    moments = training_state["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(state["optimizer"]["state"][0]["exp_avg"], moments)


def test_saving_keeps_the_mode_of_every_layer(
    checkpoint: Checkpoint, network: nn.Module, tmp_path, info, golden_inputs
) -> None:
    network.train()
    frozen = network.network[1]
    frozen.eval()
    save_checkpoint(
        tmp_path / "b", info=info, network=network, training_state={}, golden_inputs=golden_inputs
    )
    assert network.training
    assert not frozen.training


def test_saving_the_same_twice_gives_one_directory(
    checkpoint: Checkpoint, network, training_state, golden_inputs, info
) -> None:
    store = Path(checkpoint.directory).parent
    again = save_checkpoint(
        store, info=info, network=network, training_state=training_state, golden_inputs=golden_inputs
    )
    assert again == checkpoint
    assert [path.name for path in store.iterdir()] == [Path(checkpoint.directory).name]


def test_tied_and_strided_weights_survive(tmp_path, info, network, golden_inputs) -> None:
    first, last = network.network[1], network.network[3]
    with torch.no_grad():
        first.weight = nn.Parameter(torch.arange(32.0).reshape(8, 4).t() / 32)
        first.bias = nn.Parameter(torch.rand(8)[::2])
        last.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    saved = save_checkpoint(
        tmp_path, info=info, network=network, training_state={}, golden_inputs=golden_inputs
    )
    again = load_network(saved, saved.spec).network
    assert torch.equal(again[1].weight, first.weight)
    assert torch.equal(again[1].bias, first.bias)
    verify_checkpoint(Path(saved.directory))


def test_non_finite_weights_are_not_saved(tmp_path, info, network, golden_inputs) -> None:
    with torch.no_grad():
        network.network[1].bias[0] = float("nan")
    with pytest.raises(IntegrityError, match=r"network\.1\.bias: 1 of 4"):
        save_checkpoint(tmp_path, info=info, network=network, training_state={}, golden_inputs=golden_inputs)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_finite_weights_whose_outputs_are_not_is_not_saved(
    tmp_path, info, network, golden_inputs
) -> None:
    with torch.no_grad():
        network.network[3].bias[0] = 3e38
        network.network[3].weight[0] = 3e38
    with pytest.raises(IntegrityError, match=rf"epoch {info.epoch}: the outputs are not finite"):
        save_checkpoint(
            tmp_path, info=info, network=network, training_state={}, golden_inputs=golden_inputs * 1e6
        )
    assert list(tmp_path.iterdir()) == []


def test_state_that_needs_a_pickle_is_not_saved(tmp_path, info, network, golden_inputs) -> None:
    class Stateful(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"a": 1}

    network.network[1] = Stateful(8, 4)
    with pytest.raises(ConfigError, match="_extra_state"):
        save_checkpoint(tmp_path, info=info, network=network, training_state={}, golden_inputs=golden_inputs)


def test_a_training_state_that_would_not_load_safely_is_not_saved(
    tmp_path, info, network, golden_inputs
) -> None:
    state = {"path": Path("a")}
    with pytest.raises(IntegrityError, match=TRAINING_STATE):
        save_checkpoint(
            tmp_path, info=info, network=network, training_state=state, golden_inputs=golden_inputs
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_resealed_non_finite_weights_are_refused_by_name(checkpoint: Checkpoint, value: float) -> None:
    path = Path(checkpoint.directory) / WEIGHTS
    arrays = load_tensors(path)
    arrays["network.3.weight"][1, 2] = value
    save_tensors(path, arrays)
    with pytest.raises(IntegrityError, match=r"model\.safetensors(.|\n)*network\.3\.weight: 1 of 12"):
        verify_checkpoint(Path(reseal(checkpoint).directory))


def test_resealed_wrong_names_and_shapes_are_all_listed(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.directory) / WEIGHTS
    arrays = load_tensors(path)
    arrays["extra.weight"] = arrays.pop("network.1.weight")
    arrays["network.3.weight"] = arrays["network.3.weight"].T
    arrays["network.3.bias"] = np.array([1, 2, 3])
    save_tensors(path, arrays)
    with pytest.raises(IntegrityError) as caught:
        verify_checkpoint(Path(reseal(checkpoint).directory))
    assert set(caught.value.details) == {
        "network.1.weight: missing",
        "extra.weight: unexpected",
        "network.3.weight: shape (4, 3), expected (3, 4)",
        "network.3.bias: torch.int64, expected torch.float32",
    }
    assert WEIGHTS in caught.value.message


def test_resealed_changed_weights_fail_the_golden_replay(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.directory) / WEIGHTS
    arrays = load_tensors(path)
    arrays["network.3.bias"][0] += 0.01
    save_tensors(path, arrays)
    with pytest.raises(IntegrityError, match=r"golden outputs differ by 0\.01"):
        verify_checkpoint(Path(reseal(checkpoint).directory))


def test_resealed_logits_of_the_wrong_width_are_refused(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.directory) / GOLDEN
    arrays = load_tensors(path)
    save_tensors(path, {**arrays, "logits": arrays["logits"][:, :2]})
    with pytest.raises(IntegrityError, match=r"golden logits are \(4, 2\), expected \(4, 3\)"):
        verify_checkpoint(Path(reseal(checkpoint).directory))


def test_a_resealed_description_with_a_wrong_field_is_refused_by_name(checkpoint: Checkpoint) -> None:
    class Other(Record):
        spec: str = "nothing"

    with pytest.raises(IntegrityError, match=r"manifest\.json: describes no Checkpoint: spec"):
        verify_checkpoint(Path(reseal(checkpoint, Other()).directory))


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING_STATE, GOLDEN])
def test_a_resealed_checkpoint_without_one_of_its_files_is_refused(checkpoint: Checkpoint, name: str) -> None:
    (Path(checkpoint.directory) / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name}: missing"):
        verify_checkpoint(Path(reseal(checkpoint).directory))


SAVE_WITH_A_LIMIT = """
import resource, signal, sys
from pathlib import Path
import torch
from pt_core.artifacts.checkpoint_files import open_checkpoint, load_network, save_checkpoint
from pt_core.artifacts.checkpoint import CheckpointInfo
from pt_core.errors import StepFailed
store = Path(sys.argv[1])
old = open_checkpoint(next(store.glob("checkpoint-*")))
info = CheckpointInfo(**{**{n: getattr(old, n) for n in CheckpointInfo.model_fields}, "epoch": 2})
network = load_network(old, old.spec)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state = {"a": torch.zeros(2000)}
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_checkpoint(store, info=info, network=network, training_state=state, golden_inputs=torch.ones(2, 8))
    except StepFailed as error:
        sys.stdout.write(f"StepFailed {error}\\n")
    left = [path.name for path in store.iterdir()]
    assert left == [Path(old.directory).name], left
"""


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("container", ["zip", "pickle", "torchscript"])
def test_a_resealed_hostile_pickle_is_refused_and_never_runs(
    checkpoint: Checkpoint, tmp_path: Path, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The call must be safe by itself, not by the second lock that every process of the product sets.
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    path, marker = Path(checkpoint.directory) / TRAINING_STATE, tmp_path / "ran"
    if container == "pickle":
        path.write_bytes(pickle.dumps(Payload(marker)))
    else:
        torch.save({"state": Payload(marker)}, path)
    if container == "torchscript":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/constants.pkl", b"\x80\x02).")
    with pytest.raises(IntegrityError, match=TRAINING_STATE) as caught:
        verify_checkpoint(Path(reseal(checkpoint).directory))
    assert not marker.exists()
    assert "set to `False`" not in str(caught.value), "it advises what must never be done"
    assert container != "zip" or "mkdir" in str(caught.value)


def test_the_hostile_pickle_of_these_tests_does_run_where_nothing_stops_it(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.save({"state": Payload(tmp_path / "ran")}, tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_a_resealed_compressed_bomb_is_refused_unread(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.directory) / TRAINING_STATE
    torch.save({"a": torch.zeros(2**22)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert path.stat().st_size < 2**16
    with pytest.raises(IntegrityError, match=r"training_state\.pt: entry .* is compressed"):
        verify_checkpoint(Path(reseal(checkpoint).directory))


def test_a_resealed_tensor_that_claims_more_than_it_stores_is_refused(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.directory) / TRAINING_STATE
    torch.save({"deep": [{"a": torch.zeros(1).expand(2**40)}]}, path)
    with pytest.raises(IntegrityError, match=r"state\['deep'\]\[0\]\['a'\] claims shape \(1099511627776,\)"):
        verify_checkpoint(Path(reseal(checkpoint).directory))


def test_a_resealed_name_of_a_function_that_builds_no_network_is_never_called(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    fields = {name: getattr(checkpoint, name) for name in CheckpointInfo.model_fields}
    arguments = {"path": str(tmp_path / "ran")}
    spec = checkpoint.spec.model_copy(update={"target": "os:mkdir", "arguments": arguments})
    with pytest.raises(ConfigError, match="os:mkdir shows no sign of building a network"):
        verify_checkpoint(Path(reseal(checkpoint, CheckpointInfo(**{**fields, "spec": spec})).directory))
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_a_typed_failure_and_leaves_the_earlier_checkpoint(checkpoint: Checkpoint) -> None:
    store, limits = Path(checkpoint.directory).parent, ["100", "1000", "3000", "6000"]
    child = subprocess.run(
        [sys.executable, "-c", SAVE_WITH_A_LIMIT, str(store), *limits],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = child.stdout.splitlines()
    assert len(lines) == len(limits)
    assert all("StepFailed" in line and "could not be written" in line for line in lines)
    verify_checkpoint(Path(checkpoint.directory))


def test_a_training_state_beyond_the_bound_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(IntegrityError, match="at most 1000 are allowed"):
        load_training_state(checkpoint, max_bytes=1000)
