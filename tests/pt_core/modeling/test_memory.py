"""Checkpointing changes when activations exist, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from pt_core.errors import ConfigError
from pt_core.modeling.cnn import cnn
from pt_core.modeling.memory import choose_modules, find_blocks, gradient_checkpointing, saving_memory
from pt_core.modeling.mlp import mlp
from pt_core.modeling.resnet import ResidualBlock, resnet18

NETWORKS = {
    "cnn": lambda: cnn((1, 8, 8), 10, width=8),
    "resnet18": lambda: resnet18((1, 8, 8), 10, width=4),
    "dropout": lambda: nn.Sequential(
        nn.Sequential(nn.Flatten(), mlp((64,), 32, dropout=0.5)), nn.Linear(32, 10)
    ),
}


def built(name):
    torch.manual_seed(0)
    return NETWORKS[name]()


def one_step(network, precision=torch.float32):
    torch.manual_seed(1)
    x, y = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
        logits = network(x)
    loss = nn.functional.cross_entropy(logits.float(), y)
    loss.backward()
    return loss, [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_gradients_and_batch_statistics_are_the_same_bits(name, precision):
    plain, saving = built(name), built(name)
    expected_loss, expected_grads = one_step(plain, precision)
    with gradient_checkpointing(saving) as num_blocks:
        loss, grads = one_step(saving, precision)
    assert num_blocks > 0
    assert torch.equal(loss, expected_loss)
    assert all(torch.equal(*pair) for pair in zip(grads, expected_grads, strict=True))
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in saving.state_dict().items())


def kept_bytes(network):
    """Return the memory that a forward pass leaves allocated for the backward pass, by torch's profiler."""
    x = torch.rand(64, 1, 32, 32)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        logits = network(x)
    assert logits.requires_grad
    return sum(event.self_cpu_memory_usage for event in profiler.key_averages())


@pytest.mark.parametrize(("name", "share"), [("cnn", 0.6), ("resnet18", 0.4)])
def test_less_memory_is_kept_for_the_backward_pass(name, share):
    network = built(name)
    kept_bytes(network)
    plain = kept_bytes(network)
    with gradient_checkpointing(network):
        saving = kept_bytes(network)
    assert 0 < saving < share * plain, (saving, plain)


def test_blocks_of_a_residual_network_are_its_residual_blocks_stem_and_classifier():
    blocks = find_blocks(built("resnet18"))
    assert sum(isinstance(block, ResidualBlock) or len(list(block.children())) > 2 for block in blocks) >= 8


def test_keys_stay_and_the_network_is_as_before_when_the_context_ends():
    network = built("cnn")
    keys = list(network.state_dict())
    with gradient_checkpointing(network):
        assert list(network.state_dict()) == keys
    assert not any("forward" in module.__dict__ for module in network.modules())


def test_a_forward_of_the_instances_own_is_called_and_put_back():
    network = Deep()
    own = lambda x: nn.Sequential.forward(network.mixer, x) * 2  # noqa: E731
    network.mixer.forward = own
    expected, _ = one_step(network)
    with gradient_checkpointing(network, ["mixer"]):
        assert torch.equal(one_step(network)[0], expected)
    assert network.mixer.forward is own


def test_evaluation_and_export_inside_the_context_see_the_plain_network():
    network = built("cnn").eval()
    x = torch.rand(4, 1, 8, 8)
    expected = network(x)
    with gradient_checkpointing(network), torch.no_grad():
        assert torch.equal(network(x), expected)
        exported = torch.export.export(network, (x,))
        assert "checkpoint" not in str(exported.graph)
        torch.testing.assert_close(exported.module()(x), expected)


def test_a_network_without_blocks_is_refused_with_what_to_do():
    with (
        pytest.raises(ConfigError, match=r"Sequential has no blocks.*or set it to false"),
        gradient_checkpointing(mlp((64,), 10)),
    ):
        pass


class Deep(nn.Module):
    """Blocks with dropout and batch normalisation in a list, and attention-like parts outside any container."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(64, 32)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5)) for _ in range(3)
        )
        self.mixer = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.2))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.mixer(x) + self.mixer(x))


@pytest.mark.parametrize("patterns", [["blocks.*"], ["mixer", "blocks.1"], ["*"], ["blocks.*.1", "head"]])
def test_chosen_modules_give_the_same_bits_with_dropout_and_batch_statistics(patterns):
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(Deep())
    plain, saving = networks
    expected_loss, expected_grads = one_step(plain)
    with gradient_checkpointing(saving, patterns) as num_modules:
        loss, grads = one_step(saving)
    assert num_modules > 0
    assert torch.equal(loss, expected_loss)
    assert all(torch.equal(*pair) for pair in zip(grads, expected_grads, strict=True))
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in saving.state_dict().items())
    assert int(saving.blocks[1][1].num_batches_tracked) == 1


def test_only_the_chosen_modules_are_computed_again():
    network, counts = Deep(), {"blocks.0": 0, "blocks.2": 0}
    for name in counts:
        hook = lambda *_, name=name: counts.update({name: counts[name] + 1})  # noqa: E731
        network.get_submodule(name)[0].register_forward_hook(hook)
    with gradient_checkpointing(network, ["blocks.2"]):
        one_step(network)
    assert counts == {"blocks.0": 1, "blocks.2": 2}


def test_of_a_module_inside_another_the_outer_one_is_taken():
    network = Deep()
    assert choose_modules(network, ["blocks.*"]) == list(network.blocks)
    assert choose_modules(network, ["blocks.0*", "mixer"]) == [network.blocks[0], network.mixer]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["block.*"], r"model\.gradient_checkpointing\[0\]: 'block\.\*' matches no name; near are blocks"),
        (["blocks"], r"blocks is an nn\.ModuleList, which is never called itself; .* by blocks\.\*"),
    ],
)
def test_a_pattern_that_chooses_nothing_to_recompute_is_refused(patterns, expected):
    with pytest.raises(ConfigError, match=expected), gradient_checkpointing(Deep(), patterns):
        pass


def test_switched_off_nothing_is_recomputed():
    network = Deep()
    with saving_memory(network, choice=False) as num_modules:
        assert num_modules == 0
        assert not any("forward" in module.__dict__ for module in network.modules())
