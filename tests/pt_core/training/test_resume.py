"""Durable checkpoints: how many are kept, what happens to damaged ones and to those of other code, who may write."""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.checkpoint_files import open_checkpoint, verify_checkpoint
from pt_core.errors import OutOfMemory, TrainingDiverged
from pt_core.modeling.spec import ModelConfig
from pt_core.training import resume
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.memory import with_halving
from pt_core.training.requests import TrainRequest
from pt_core.training.resume import TRAINING, Trail, training_key

# 1,080 samples are 17 steps of 64; call 30 is step 13 of epoch 2.
NET = """
    class Net(nn.Module):
        calls = 0
        fails_at = {fails_at}
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(64)
            self.layer = nn.Linear(64, 10)
            self.dropout = nn.Dropout(0.2)
            # No part of the state, and yet what a step computes depends on the steps before it.
            self.register_buffer("scale", torch.ones(()), persistent=False)
            self.register_buffer("wide", torch.ones(1).expand(3), persistent=False)
        def forward(self, x):
            if self.training:
                self.calls += 1
                self.scale *= 0.98
                if self.calls == self.fails_at:
                    raise ValueError("the power went")
            return self.layer(self.dropout(self.norm(x.flatten(1)) * self.scale))
"""


@pytest.fixture
def interrupted(make_request, write_module):
    """A request whose training stopped in mid-epoch, with checkpoints of steps 20 and 25."""
    name = write_module(NET.format(fails_at=30))
    request = make_request(
        model=ModelConfig(target=f"{name}:Net"), checkpoint_every_steps=5, checkpoint_every_minutes=None
    )
    with pytest.raises(ValueError, match="the power went"):
        train(request)
    importlib.import_module(name).Net.fails_at = -1
    assert [path.name[:15] for path in checkpoints_of(request)] == ["step-0000000020", "step-0000000025"]
    return request


@pytest.fixture
def uninterrupted(make_request, write_module):
    """The weights of the same training that nothing stops."""
    name = write_module(NET.format(fails_at=-1))
    return weights_of(train(make_request(model=ModelConfig(target=f"{name}:Net"))))


def weights_of(checkpoint):
    return load_file(Path(checkpoint.directory) / WEIGHTS)


def folder_of(request):
    return Path(request.store) / TRAINING / training_key(request)


def checkpoints_of(request):
    return sorted(folder_of(request).glob("step-*"))


def assert_equal(found, expected):
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_run_goes_on_in_mid_epoch_to_the_same_bits_and_leaves_nothing(interrupted, uninterrupted):
    checkpoint = train(interrupted)
    assert checkpoint.remarks == (
        "went on after step 8 of 17 in epoch 2, where an interrupted training stood",
    )
    assert_equal(weights_of(checkpoint), uninterrupted)
    assert not (Path(interrupted.store) / TRAINING).exists()


def test_a_durable_checkpoint_is_a_whole_one(interrupted):
    for path in checkpoints_of(interrupted):
        assert verify_checkpoint(path).golden_max_abs_error is not None


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(interrupted, uninterrupted):
    newest = checkpoints_of(interrupted)[-1] / "training_state.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    checkpoint = train(interrupted)
    damaged, went_on = checkpoint.remarks
    assert "set aside as step-0000000025-" in damaged
    assert went_on.startswith("went on after step 3 of 17 in epoch 2")
    assert_equal(weights_of(checkpoint), uninterrupted)


def test_with_every_checkpoint_damaged_training_starts_again(interrupted, uninterrupted):
    for path in checkpoints_of(interrupted):
        (path / WEIGHTS).unlink()
    checkpoint = train(interrupted)
    assert len(checkpoint.remarks) == 2
    assert_equal(weights_of(checkpoint), uninterrupted)


def test_checkpoints_of_other_code_are_not_used_and_that_is_said(interrupted, uninterrupted, monkeypatch):
    monkeypatch.setattr(resume, "core_code_digest", lambda: "other")
    checkpoint = train(interrupted)
    assert [remark.partition(" is of other code")[1] != "" for remark in checkpoint.remarks] == [True, True]
    assert_equal(weights_of(checkpoint), uninterrupted)


def test_only_what_changes_no_step_may_change_between_two_attempts(interrupted):
    def key(**changes):
        config = interrupted.config.model_copy(update=changes)
        return training_key(interrupted.model_copy(update={"config": config}))

    assert key(checkpoint_every_steps=None, keep_checkpoints=9, on_out_of_memory="halve-batch") == key()
    assert key(max_bad_steps=99) == key() != key(learning_rate=1e-4)
    assert training_key(interrupted.model_copy(update={"seed": 5})) != key()


def test_only_the_newest_trainings_that_never_ended_are_kept(interrupted, make_request):
    trainings = Path(interrupted.store) / TRAINING
    for age in range(12):
        (trainings / f"old-{age:02d}").mkdir()
        os.utime(trainings / f"old-{age:02d}", (1000 - age, 1000 - age))
    train(interrupted)
    assert sorted(path.name for path in trainings.iterdir()) == [f"old-{age:02d}" for age in range(9)]


def test_where_there_are_no_locks_nothing_unfinished_is_removed(interrupted, uninterrupted, monkeypatch):
    def no_locks(_descriptor, _operation):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    trainings = Path(interrupted.store) / TRAINING
    for age in range(12):
        (trainings / f"old-{age:02d}").mkdir()
    os.utime(folder_of(interrupted), (1000, 1000))
    checkpoint = train(interrupted)
    assert checkpoint.remarks[0].startswith("went on after step 8 of 17 in epoch 2")
    assert_equal(weights_of(checkpoint), uninterrupted)
    assert len(list(trainings.iterdir())) == 12


def test_of_two_that_train_the_same_only_one_keeps_checkpoints(interrupted, uninterrupted, monkeypatch):
    monkeypatch.setattr(resume, "_LOCK_PATIENCE_S", 0.2)
    before = checkpoints_of(interrupted)
    other = os.open(folder_of(interrupted), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    checkpoint = train(interrupted)
    os.close(other)
    assert len(checkpoint.remarks) == 1
    assert "another process trains the same" in checkpoint.remarks[0]
    assert checkpoints_of(interrupted) == before
    assert_equal(weights_of(checkpoint), uninterrupted)


def test_a_folder_that_another_training_removed_meanwhile_is_made_anew(tmp_path):
    folder = tmp_path / "training" / "one"
    first, second = (Trail(folder, TrainConfig()) for _ in range(2))
    assert first._own()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second._own)
        time.sleep(0.3)
        first.clear()
        assert waiting.result(timeout=5)
    assert folder.is_dir()
    # The lock that it got is that of the folder that stands there: a third one is kept out.
    third = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(third)
    second.clear()
    assert not folder.parent.exists()


def test_a_folder_that_another_training_made_anew_meanwhile_is_not_forgotten(tmp_path, monkeypatch):
    oldest, own = tmp_path / "oldest", tmp_path / "own"
    before, anew = (Trail(oldest, TrainConfig()) for _ in range(2))
    own.mkdir()
    assert before._own()
    flock = fcntl.flock

    def after_a_change(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        before.clear()
        assert anew._own()
        flock(descriptor, operation)

    monkeypatch.setattr(resume, "_MAX_UNFINISHED", 1)
    os.utime(oldest, (1000, 1000))
    monkeypatch.setattr(fcntl, "flock", after_a_change)
    resume._forget_oldest(own)
    assert oldest.is_dir()


def test_a_checkpoint_is_due_after_so_many_steps_or_minutes_whichever_comes_first(tmp_path):
    trail = Trail(tmp_path, TrainConfig(checkpoint_every_steps=10, checkpoint_every_minutes=0.5))
    assert [trail.is_due(num) for num in (9, 10, 11)] == [False, True, True]
    trail.went_on(10)
    assert not trail.is_due(19)
    trail._written_at -= 29
    assert not trail.is_due(11)
    trail._written_at -= 2
    assert trail.is_due(11)
    trail.went_on(11)
    assert not trail.is_due(20)
    silent = Trail(tmp_path, TrainConfig(checkpoint_every_minutes=None))
    silent._written_at -= 1e6
    assert not silent.is_due(10**9)


def test_a_diverged_training_keeps_what_was_finite_and_goes_on_from_it(make_request, write_module):
    # Of the 34 steps the 5th, the 11th and every one from the 20th on give NaN.
    name = write_module("""
        class Net(nn.Module):
            calls = 0
            is_mended = False
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm1d(64)
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                return self.layer(self.norm(x.flatten(1) * (1.0 if self.is_good() else float("nan"))))
            def is_good(self):
                if not self.training:
                    return True
                self.calls += 1
                return Net.is_mended or not (self.calls in (5, 11) or self.calls >= 20)
    """)
    request = make_request(model=ModelConfig(target=f"{name}:Net"), max_bad_steps=4)
    with pytest.raises(
        TrainingDiverged, match=r"at epoch 2, step 5, after 4 such steps were skipped; "
    ) as caught:
        train(request)
    path = Path(caught.value.message.partition("the last finite checkpoint is ")[2])
    verify_checkpoint(path)
    kept = open_checkpoint(path)
    assert [metrics.num_bad_steps for metrics in kept.history] == [2]

    importlib.import_module(name).Net.is_mended = True
    config = request.config.model_copy(update={"max_bad_steps": 5})
    checkpoint = train(request.model_copy(update={"config": config}))
    assert checkpoint.remarks[0].startswith("went on after step 5 of 17 in epoch 2")
    assert [metrics.num_bad_steps for metrics in checkpoint.history] == [2, 3]


def test_out_of_memory_halves_the_batch_once_and_trains_the_same_steps(make_request, write_module):
    code = """
        class Net(nn.Module):
            most = {most}
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                if len(x) > self.most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
                return self.layer(x.flatten(1))
    """
    roomy, tight, tiny = (
        ModelConfig(target=f"{write_module(code.format(most=most))}:Net") for most in (64, 32, 31)
    )
    expected = train(make_request(model=roomy))
    with pytest.raises(OutOfMemory, match=r"set train\.on_out_of_memory to halve-batch"):
        with_halving(train, make_request(model=tight))
    found = with_halving(train, make_request(model=tight, on_out_of_memory="halve-batch"))
    assert (found.micro_batch, expected.micro_batch) == (32, None)
    for name, value in weights_of(expected).items():
        torch.testing.assert_close(weights_of(found)[name], value, rtol=1e-4, atol=1e-5)
    with pytest.raises(OutOfMemory, match=r"with 32 samples .*the batch of 64 was halved already"):
        with_halving(train, make_request(model=tiny, on_out_of_memory="halve-batch"))


def test_a_batch_of_two_is_not_halved():
    asked = []

    def train(request):
        asked.append(request)
        raise OutOfMemory("train: out of memory")

    config = TrainConfig(batch_size=2, on_out_of_memory="halve-batch")
    with pytest.raises(OutOfMemory, match="a batch of 2 cannot be halved"):
        with_halving(train, TrainRequest.model_construct(config=config, halve_batch=False))
    assert len(asked) == 1
