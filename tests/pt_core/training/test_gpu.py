"""Training on an NVIDIA GPU: ``pytest -m gpu`` runs this where there is one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import load_tensors
from pt_core.data.dataset import load_split
from pt_core.modeling.memory import gradient_checkpointing
from pt_core.modeling.network import build_network
from pt_core.modeling.resnet import resnet18
from pt_core.modeling.spec import ModelConfig
from pt_core.training.fit import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here"),
]
MLP = ModelConfig(target="pt_core.modeling.mlp:mlp", initialization="kaiming")
STOPS = """
    class Net(nn.Module):
        calls, fails_at = 0, {fails_at}
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
        def forward(self, x):
            if self.training:
                Net.calls += 1
                if Net.calls == self.fails_at:
                    raise ValueError("the power went")
            return self.layers(x)
"""


def accuracy_on_the_cpu(checkpoint, dataset):
    network = build_network(checkpoint.spec).eval()
    network.load_state_dict(tensors_of(checkpoint))
    samples = load_split(dataset, "test")
    with torch.inference_mode():
        return accuracy_score(samples.y, network(torch.tensor(samples.x)).argmax(dim=1))


def tensors_of(checkpoint):
    found = load_tensors(Path(checkpoint.directory) / WEIGHTS, finite=True)
    return {name: torch.from_numpy(value) for name, value in found.items()}


def assert_close(found, expected):
    assert [one.train_loss for one in found.history] == pytest.approx(
        [one.train_loss for one in expected.history], rel=1e-3
    )
    for name, value in tensors_of(expected).items():
        torch.testing.assert_close(tensors_of(found)[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed"])
def test_mixed_precision_is_within_two_points_of_fp32_and_answers_on_a_cpu(make_request, digits, precision):
    mixed, full = (train(make_request(epochs=8, precision=one, device="cuda")) for one in (precision, "fp32"))
    assert (mixed.precision, mixed.device, full.device) == (precision, "cuda", "cuda")
    expected = accuracy_on_the_cpu(full, digits)
    assert expected > 0.95
    assert accuracy_on_the_cpu(mixed, digits) == pytest.approx(expected, abs=0.02)


def test_auto_takes_the_gpu_in_mixed_precision(make_request):
    checkpoint = train(make_request(epochs=1, device="auto", precision="auto"))
    assert checkpoint.device == "cuda"
    assert checkpoint.precision in ("bf16-mixed", "fp16-mixed")


def test_an_interrupted_training_goes_on(make_request, write_module):
    name = write_module(STOPS.format(fails_at=30))
    settings = {"device": "cuda", "checkpoint_every_steps": 5, "optimizer": "sgd", "learning_rate": 0.05}
    request = make_request(model=ModelConfig(target=f"{name}:Net"), **settings)
    with pytest.raises(ValueError, match="the power went"):
        train(request)
    importlib.import_module(name).Net.fails_at = -1
    found = train(request)
    assert any("went on after step 8 of 17 in epoch 2" in remark for remark in found.remarks)
    whole = write_module(STOPS.format(fails_at=-1))
    assert_close(found, train(make_request(model=ModelConfig(target=f"{whole}:Net"), **settings)))


def test_one_process_of_ddp_trains_by_nccl_as_none_does(make_request):
    settings = {"device": "cuda", "optimizer": "sgd", "learning_rate": 0.05, "model": MLP}
    alone = train(make_request(**settings))
    shared = train(make_request(**settings, parallel={"strategy": "ddp", "processes": 1}))
    assert_close(shared, alone)


def test_a_network_in_two_stages_trains_as_one_in_one_piece(make_request):
    settings = {"device": "cuda", "optimizer": "sgd", "learning_rate": 0.05}
    second = "cuda:1" if torch.cuda.device_count() > 1 else "cpu"
    staged = {"strategy": "model_parallel", "split_at": "0.3", "devices": ["cuda:0", second]}
    assert_close(train(make_request(**settings, parallel=staged)), train(make_request(**settings)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="dp needs two NVIDIA GPUs")
def test_dp_trains_as_none_does(make_request):
    settings = {"device": "cuda", "optimizer": "sgd", "learning_rate": 0.05, "model": MLP}
    assert_close(
        train(make_request(**settings, parallel={"strategy": "dp"})), train(make_request(**settings))
    )


def test_gradient_checkpointing_takes_less_memory():
    def peak(network):
        x = torch.rand(64, 3, 64, 64, device="cuda")
        network(x).sum().backward()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        network(x).sum().backward()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    network = resnet18(input_shape=(3, 64, 64), num_classes=10).cuda().train()
    without = peak(network)
    with gradient_checkpointing(network):
        assert peak(network) < 0.7 * without
