"""Several processes train as one does; one that is lost ends the training by name, or makes all start again."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import ranked
import torch
from pydantic import ValidationError

from pt_core.artifacts.checkpoint import WEIGHTS, Checkpoint
from pt_core.artifacts.tensors import load_tensors
from pt_core.errors import ConfigError, StepFailed, TrainingDiverged
from pt_core.isolation import CODE_PATH_VARIABLE, Progress, run_isolated
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.last_pass import refuse_lone_samples
from pt_core.training.parallel import share_of_step
from pt_core.training.requests import TrainRequest

STEPS_OF_64 = {"batch_size": 16, "accumulation_steps": 4}
ONE_PROCESS = {"batch_size": 32, "accumulation_steps": 2}
"""The same steps, and in each forward pass the samples that two processes have in theirs."""


def ask(dataset, store, *, dropout=0.0, **changes):
    # Not AdamW: before a batch normalisation some gradients are nothing but rounding, which it makes whole steps of.
    plain = {"epochs": 2, "precision": "fp32", "device": "cpu", "optimizer": "sgd", "learning_rate": 0.05}
    plain |= {"ema_decay": 0.9, "checkpoint_every_steps": 4}
    return TrainRequest(
        dataset=dataset,
        model=ModelConfig(target="ranked:Ranked", arguments={"dropout": dropout}),
        code_sha256="0" * 64,
        config=TrainConfig.model_validate({**plain, **changes}),
        seed=0,
        store=str(store),
    )


def in_processes(request, said=None):
    return run_isolated(
        "pt_core.training.fit:train",
        request,
        reply=Checkpoint,
        timeout_s=240,
        num_threads=2,
        on_progress=None if said is None else said.append,
    )


def weights_of(checkpoint):
    arrays = load_tensors(Path(checkpoint.directory) / WEIGHTS, finite=True)
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def notes_in(folder):
    return {path.name[5]: json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))}


def processes_with(value):
    """Return the processes whose environment holds a value."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path.parent.name] if value.encode() in path.read_bytes() else []
        except OSError:
            continue
    return found


def left_of(value, seconds=20):
    """Return the processes that stay: one that was just killed may still be there for a moment."""
    end = time.monotonic() + seconds
    while (found := processes_with(value)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


class Killed(NamedTuple):
    """Two trainings of one request: the first lost a process twice, the second went on from there."""

    failure: StepFailed
    checkpoint: Checkpoint
    said: list[Progress]
    notes: Path
    store: Path
    left: list[str]
    num_kills: int


@pytest.fixture(scope="module")
def environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CODE_PATH_VARIABLE, str(Path(ranked.__file__).parent))
        yield patch


@pytest.fixture(scope="module")
def killed(digits, tmp_path_factory, environment):
    folder = tmp_path_factory.mktemp("killed")
    notes, store = folder / "notes", folder / "store"
    notes.mkdir()
    environment.setenv(ranked.NOTES, str(notes))
    environment.setenv(ranked.KILL, "1:11:2")
    request = ask(digits, store, **STEPS_OF_64, parallel={"strategy": "ddp", "max_restarts": 1})
    with pytest.raises(StepFailed) as caught:
        in_processes(request)
    left, said = left_of(str(notes)), []
    checkpoint = in_processes(request, said)
    num_kills = len(list(notes.glob("killed-*")))
    environment.delenv(ranked.NOTES)
    return Killed(caught.value, checkpoint, said, notes, store, left, num_kills)


def test_a_killed_process_starts_all_again_as_often_as_allowed_and_is_then_named(killed):
    assert killed.num_kills == 2
    assert "rank 1 of 2" in killed.failure.message
    assert "was killed by SIGKILL, after all 1 of train.parallel.max_restarts" in killed.failure.message
    assert killed.left == []


def test_a_training_that_was_killed_goes_on_from_the_last_durable_checkpoint(killed):
    # Each process passes twice a step: killed in step 6, after 4; then in step 10 of those, after 8.
    assert killed.checkpoint.remarks == (
        "went on after step 8 of 17 in epoch 1, where an interrupted training stood",
    )


def test_two_processes_train_as_one_does_on_the_same_batches(killed, digits, tmp_path):
    alone = train(ask(digits, tmp_path, **ONE_PROCESS))
    for found, expected in zip(killed.checkpoint.history, alone.history, strict=True):
        for name in ("train_loss", "validation_loss", "gradient_norm", "learning_rate"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5)
        assert found.train_accuracy == pytest.approx(expected.train_accuracy, abs=2e-3)
        assert found.validation_accuracy == pytest.approx(expected.validation_accuracy, abs=2e-3)
    expected = weights_of(alone)
    found = weights_of(killed.checkpoint)
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_only_the_first_process_writes_and_tells(killed):
    assert [progress.step for progress in killed.said if progress.step] == [1, 2]
    assert [path.name for path in killed.store.iterdir()] == [Path(killed.checkpoint.directory).name]


def test_the_processes_belong_to_the_session_that_is_watched_and_share_its_cores(killed):
    first, second = notes_in(killed.notes).values()
    assert first["pid"] != second["pid"]
    assert first["session"] == second["session"] == first["group"] == second["group"]
    assert first["session"] not in (first["pid"], second["pid"])
    assert first["num_threads"] == second["num_threads"] == 1


@pytest.mark.campaign
def test_a_killed_training_with_dropout_ends_with_the_bits_of_one_that_was_not(digits, tmp_path, environment):
    changes = {**STEPS_OF_64, "dropout": 0.3}
    whole = in_processes(ask(digits, tmp_path / "whole", **changes, parallel={"strategy": "ddp"}))
    environment.setenv(ranked.NOTES, str(tmp_path))
    environment.setenv(ranked.KILL, "0:21:1")
    again = {"strategy": "ddp", "max_restarts": 1}
    found = in_processes(ask(digits, tmp_path / "killed", **changes, parallel=again))
    environment.delenv(ranked.NOTES)
    assert any("went on after step 8" in remark for remark in found.remarks)
    for name, value in weights_of(whole).items():
        assert torch.equal(weights_of(found)[name], value), name


@pytest.mark.campaign
def test_nodes_that_meet_at_an_endpoint_train_as_one_does(digits, tmp_path, environment):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    parallel = {"strategy": "ddp", "processes": 1, "nodes": 2, "rendezvous_endpoint": f"127.0.0.1:{port}"}
    request = ask(digits, tmp_path / "nodes", **STEPS_OF_64, parallel=parallel)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(in_processes, [request, request])
    assert first == second
    expected = weights_of(train(ask(digits, tmp_path / "alone", **ONE_PROCESS)))
    for name, value in weights_of(first).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.campaign
def test_what_a_process_refuses_keeps_its_type_and_is_not_tried_again(digits, tmp_path, environment):
    request = ask(digits, tmp_path, learning_rate=1e30, max_bad_steps=2, parallel={"strategy": "ddp"})
    with pytest.raises(
        TrainingDiverged, match=r"after 2 such steps were skipped; .*no finite checkpoint had been"
    ):
        in_processes(request)


@pytest.mark.parametrize("num", [1, 2, 3])
@pytest.mark.parametrize("num_rows", [64, 61, 51])
def test_the_shares_of_a_step_hold_every_row_once_in_as_many_turns(num, num_rows):
    rows = torch.randperm(100)[:num_rows]
    shares = [share_of_step(rows, 8, rank=rank, num=num) for rank in range(num)]
    assert len({len(share) for share in shares}) == 1
    turns = [torch.cat(turn) for turn in zip(*shares, strict=True)]
    assert torch.equal(torch.cat(turns), rows)
    assert all(1 <= len(part) <= 9 for share in shares for part in share)


@pytest.mark.parametrize(
    ("parallel", "expected"),
    [
        ({"strategy": "none", "max_restarts": 1}, "max_restarts: strategy none does not read it"),
        (
            {"strategy": "dp", "split_at": "last"},
            "split_at: strategy dp does not read it; .* to model_parallel",
        ),
        ({"strategy": "model_parallel"}, "split_at: model_parallel needs the name"),
        ({"strategy": "ddp", "nodes": 2}, "rendezvous_endpoint: 2 nodes need host:port"),
        ({"strategy": "ddp", "rendezvous_endpoint": "a:1"}, "one node meets nobody"),
        ({"strategy": "ddp", "nodes": 2, "rendezvous_endpoint": "a"}, "should match pattern"),
        ({"strategy": "ddp", "processes": 65}, "batch_size: 64 samples for 65 processes"),
        ({"strategy": "fsdp"}, "Input should be 'none', 'dp', 'ddp' or 'model_parallel'"),
    ],
)
def test_a_combination_that_cannot_work_is_refused_with_the_remedy(parallel, expected):
    with pytest.raises(ValidationError, match=expected):
        TrainConfig.model_validate({"parallel": parallel})


def test_a_device_that_processes_cannot_share_is_refused():
    with pytest.raises(ValidationError, match="ddp does not run on mps; set device to cpu"):
        TrainConfig.model_validate({"device": "mps", "parallel": {"strategy": "ddp"}})


def test_dp_without_gpus_trains_as_none_does_and_says_so(digits, tmp_path):
    alone, spread = (
        train(ask(digits, tmp_path / name, epochs=1, parallel={"strategy": name})) for name in ("none", "dp")
    )
    assert spread.remarks == ("dp shares batches among GPUs; on the CPU it trains as strategy none does",)
    for name, value in weights_of(alone).items():
        assert torch.equal(weights_of(spread)[name], value)


@pytest.mark.parametrize(("num_samples", "num_gpus"), [(9, 8), (8, 8), (3, 2), (5, 4)])
def test_dp_is_refused_where_a_gpu_would_normalise_a_single_sample(num_samples, num_gpus):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    # 9 on 8 GPUs are 2, 2, 2, 2 and 1.
    with pytest.raises(ConfigError, match=f"{num_samples} samples, of which dp gives one of {num_gpus} GPUs"):
        refuse_lone_samples(network, num_samples, num_gpus=num_gpus)
    refuse_lone_samples(network[:1], num_samples, num_gpus=num_gpus)
    refuse_lone_samples(network, 2 * num_gpus, num_gpus=num_gpus)


def test_more_processes_than_gpus_are_refused(digits, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.device: cuda is not available|needs one for each"):
        train(ask(digits, tmp_path, device="cuda", parallel={"strategy": "ddp", "processes": 64}))
