"""Training end to end: accuracy, precision, determinism, early stopping, and how it fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, log_loss

from pt_core.artifacts.checkpoint import TRAINING_STATE, WEIGHTS, Checkpoint
from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError, IntegrityError, StepFailed, TrainingDiverged
from pt_core.isolation import run_isolated
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.fit import train
from pt_core.training.requests import TrainRequest

MLP = ModelConfig(target="pt_core.modeling.mlp:mlp", initialization="kaiming")


def weights_of(checkpoint):
    return load_file(Path(checkpoint.directory) / WEIGHTS)


def probabilities(checkpoint, dataset, split):
    """Return y and the class probabilities of a network rebuilt from its spec and the file alone."""
    network = build_network(checkpoint.spec)
    network.load_state_dict(weights_of(checkpoint))
    samples = load_split(dataset, split)
    with torch.inference_mode():
        logits = network.eval()(torch.tensor(samples.x))
    return samples.y, logits.double().softmax(dim=1).numpy()


def accuracy(checkpoint, dataset, split):
    y, p = probabilities(checkpoint, dataset, split)
    return accuracy_score(y, p.argmax(axis=1))


@pytest.fixture(scope="module")
def default_run(digits, tmp_path_factory):
    """Train the shipped defaults as the flow does, in a process of its own."""
    request = TrainRequest(
        dataset=digits,
        model=ModelConfig(),
        code_sha256="0" * 64,
        config=TrainConfig(),
        seed=0,
        store=str(tmp_path_factory.mktemp("default")),
    )
    messages = []
    checkpoint = run_isolated(
        "pt_core.training.fit:train",
        request,
        reply=Checkpoint,
        timeout_s=200,
        num_threads=1,
        on_progress=messages.append,
    )
    return checkpoint, messages


def test_the_defaults_reach_98_percent_on_unseen_digits(default_run, digits):
    checkpoint, _ = default_run
    assert accuracy(checkpoint, digits, "test") >= 0.98


def test_progress_is_told_after_every_epoch(default_run):
    checkpoint, messages = default_run
    # 1,080 samples are 17 steps of 64.
    told = [(m.done, m.total, m.step) for m in messages if m.step is not None]
    assert told == [(17 * epoch, 17 * 20, epoch) for epoch in range(1, 21)]
    last = checkpoint.history[-1]
    assert messages[-1].figures["validation_loss"] == last.validation_loss
    assert messages[-1].message == (
        f"loss {last.train_loss:.3f}, validation accuracy {last.validation_accuracy:.3f}"
    )


def test_without_early_stopping_the_last_epoch_is_kept(default_run, digits):
    checkpoint, _ = default_run
    assert (checkpoint.epoch, len(checkpoint.history)) == (20, 20)
    assert checkpoint.dataset_digest == digits.digest
    assert checkpoint.data_fingerprint == digits.fingerprint
    assert checkpoint.num_parameters == sum(
        value.numel() for name, value in weights_of(checkpoint).items() if name.endswith(("weight", "bias"))
    )


def test_recorded_losses_are_those_scikit_learn_computes(make_request, digits):
    checkpoint = train(make_request(label_smoothing=0.0))
    y, p = probabilities(checkpoint, digits, "validation")
    last = checkpoint.history[-1]
    assert last.validation_loss == pytest.approx(log_loss(y, p, labels=range(10)), rel=1e-5)
    assert last.validation_accuracy == pytest.approx(accuracy_score(y, p.argmax(axis=1)), abs=1e-12)


@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed"])
def test_mixed_precision_is_within_two_points_of_fp32(make_request, digits, precision):
    request = make_request(epochs=8, precision=precision)
    mixed, full = train(request), train(make_request(epochs=8))
    assert mixed.precision == precision
    assert not all(
        torch.equal(*pair) for pair in zip(weights_of(mixed).values(), weights_of(full).values(), strict=True)
    )
    assert {value.dtype for name, value in weights_of(mixed).items() if "tracked" not in name} == {
        torch.float32
    }
    assert accuracy(mixed, digits, "test") == pytest.approx(accuracy(full, digits, "test"), abs=0.02)
    assert accuracy(full, digits, "test") > 0.95


def test_the_gradient_norm_is_measured_after_unscaling(make_request):
    mixed, full = (train(make_request(epochs=1, precision=name)) for name in ("fp16-mixed", "fp32"))
    # The scaler multiplies by 65,536: forgotten, the norms would differ by as much.
    assert mixed.history[0].gradient_norm == pytest.approx(full.history[0].gradient_norm, rel=0.5)


@pytest.mark.parametrize(
    "model", [ModelConfig(arguments={"width": 8}), MLP.model_copy(update={"arguments": {"dropout": 0.3}})]
)
def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(make_request, model):
    first, again, other = (train(make_request(model=model, seed=seed)) for seed in (7, 7, 8))
    assert all(torch.equal(value, weights_of(again)[name]) for name, value in weights_of(first).items())
    assert first.history[-1].train_loss == again.history[-1].train_loss
    assert not all(torch.equal(value, weights_of(other)[name]) for name, value in weights_of(first).items())


def test_gradient_checkpointing_gives_the_same_bits(make_request):
    plain = ModelConfig(arguments={"width": 8})
    saving = plain.model_copy(update={"gradient_checkpointing": True})
    expected, found = (weights_of(train(make_request(model=model))) for model in (plain, saving))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_early_stopping_keeps_the_epoch_with_the_lowest_validation_loss(make_request, noise):
    request = make_request(
        noise, model=MLP, epochs=60, early_stopping_patience=4, label_smoothing=0.0, schedule="constant"
    )
    checkpoint = train(request)
    losses = [metrics.validation_loss for metrics in checkpoint.history]
    assert checkpoint.epoch == int(np.argmin(losses)) + 1
    assert len(losses) == checkpoint.epoch + 4 < 60
    y, p = probabilities(checkpoint, noise, "validation")
    assert min(losses) == pytest.approx(log_loss(y, p, labels=range(3)), rel=1e-5)


def test_the_training_state_is_of_the_kept_epoch_and_loads_without_a_pickle(make_request, noise):
    checkpoint = train(
        make_request(noise, model=MLP, epochs=60, early_stopping_patience=2, schedule="constant")
    )
    state = torch.load(Path(checkpoint.directory) / TRAINING_STATE, weights_only=True)
    steps_per_epoch = -(-noise.split("train").num_samples // 64)
    assert state["epoch"] == checkpoint.epoch < len(checkpoint.history)
    assert float(state["optimizer"]["state"][0]["step"]) == checkpoint.epoch * steps_per_epoch
    assert state["schedule"]["num_steps"] == checkpoint.epoch * steps_per_epoch
    assert {"shuffle", "torch", "python", "numpy"} <= set(state["rng"])


def test_golden_inputs_are_raw_validation_samples(make_request, digits):
    checkpoint = train(make_request(epochs=1))
    golden = load_file(Path(checkpoint.directory) / "golden.safetensors")
    np.testing.assert_array_equal(golden["inputs"].numpy(), load_split(digits, "validation").x[:16])


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.05},
        {"max_gradient_norm": None},
        {"schedule": "cosine", "channels_last": False},
    ],
)
def test_every_choice_learns(make_request, changes):
    history = train(make_request(epochs=3, **changes)).history
    assert history[-1].train_accuracy > 0.7
    assert history[-1].train_loss < history[0].train_loss


def test_a_network_that_mixed_precision_breaks_is_refused_before_training(make_request, write_module):
    name = write_module("""
        class net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                h = self.layer(x.flatten(1))
                return h / float(h.detach().numpy().std())  # NumPy has no bfloat16
    """)
    model = ModelConfig(target=f"{name}:net")
    assert train(make_request(model=model, epochs=1, precision="fp32")).epoch == 1
    with pytest.raises(ConfigError, match="failed in training mode and bf16-mixed on a batch of shape"):
        train(make_request(model=model, epochs=1, precision="bf16-mixed"))


def test_an_exploding_loss_names_epoch_and_step_and_what_to_do(make_request, write_module):
    name = write_module("""
        class Net(nn.Module):
            calls = 0
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                self.calls += self.training
                # 1,080 samples are 17 steps of 64: call 20 is step 3 of epoch 2.
                return self.layer(x.flatten(1)) * (float("inf") if self.calls == 20 else 1.0)
    """)
    request = make_request(model=ModelConfig(target=f"{name}:Net"), max_bad_steps=0)
    with pytest.raises(
        TrainingDiverged, match=r"the loss is (nan|inf) at epoch 2, step 3; lower train\.learning_rate"
    ):
        train(request)
    assert not Path(request.store).exists()


def test_a_loss_that_only_validation_shows_is_refused_too(make_request, write_module):
    name = write_module("""
        class Net(nn.Module):
            has_trained = False
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                self.has_trained |= self.training
                broken = self.has_trained and not self.training
                return self.layer(x.flatten(1)) * (float("nan") if broken else 1.0)
    """)
    with pytest.raises(
        StepFailed, match=r"validation loss is nan after epoch 1; set train\.precision to fp32"
    ):
        train(make_request(model=ModelConfig(target=f"{name}:Net"), precision="bf16-mixed"))


def test_a_device_that_is_not_here_is_refused(make_request):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match=r"train\.device: cuda is not available"):
        train(make_request(device="cuda"))


def test_a_dataset_with_rewritten_labels_is_refused(make_request, digits, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(digits.directory, copy)
    labels = np.load(copy / "train_y.npy")
    np.save(copy / "train_y.npy", labels[::-1])
    with pytest.raises(IntegrityError, match=r"train_y\.npy: SHA-256"):
        train(make_request(digits.model_copy(update={"directory": str(copy)})))
