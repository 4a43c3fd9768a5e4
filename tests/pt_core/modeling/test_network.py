"""Building from a spec: normalisation inside, arguments completed, and every mistake named."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError
from pt_core.modeling.network import build_network, complete_spec
from pt_core.modeling.spec import ModelConfig

CNN = "pt_core.modeling.cnn:cnn"


def spec_of(digits, target=CNN, *, channels_last=True, batch_size=2, **changes):
    config = ModelConfig(target=target, **changes)
    return complete_spec(config, digits, channels_last=channels_last, batch_size=batch_size)


def test_input_shape_and_classes_are_filled_in(digits):
    spec = spec_of(digits, arguments={"width": 8})
    assert spec.arguments == {"input_shape": [1, 8, 8], "num_classes": 10, "width": 8}
    assert (spec.input_range, spec.mean, spec.std) == ((0.0, 1.0), digits.mean, digits.std)


def test_the_first_layer_normalises_raw_input(digits):
    network = build_network(spec_of(digits)).eval()
    raw = torch.tensor(load_split(digits, "test").x[:8])
    normalised = torch.from_numpy((raw.numpy() - np.float32(digits.mean[0])) / np.float32(digits.std[0]))
    torch.testing.assert_close(network(raw), network.network(normalised))


def test_each_channel_has_its_own_mean_and_deviation(digits):
    spec = spec_of(digits, "pt_core.modeling.mlp:mlp").model_copy(
        update={"input_shape": (2, 1, 1), "mean": (1.0, 10.0), "std": (2.0, 5.0), "arguments": {}}
    )
    spec = spec.model_copy(update={"arguments": {"input_shape": [2, 1, 1], "num_classes": 10, "hidden": []}})
    network = build_network(spec)
    seen = []
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.tensor([[[[3.0]], [[0.0]]]]))
    assert seen[0].flatten().tolist() == [1.0, -2.0]


def test_without_normalisation_nothing_stands_before_the_network(digits):
    network = build_network(spec_of(digits, normalize=False)).eval()
    raw = torch.tensor(load_split(digits, "test").x[:2])
    assert torch.equal(network(raw), network.network(raw))
    assert not {"mean", "std"} & set(network.state_dict())


def test_normalisation_is_part_of_the_saved_state(digits):
    assert {"mean", "std"} <= set(build_network(spec_of(digits)).state_dict())


def test_completing_a_spec_draws_nothing_from_the_global_generator(digits):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    spec_of(digits)
    assert torch.equal(torch.rand(1), expected)


def test_a_function_that_takes_no_shape_gets_none(digits, write_module):
    name = write_module("""
        class Net(nn.Module):
            def __init__(self, *, scale=1.0):
                super().__init__()
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                return self.layer(x.flatten(1))
    """)
    assert spec_of(digits, f"{name}:Net").arguments == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"widht": 8},
            r"model\.arguments\.widht: .*did you mean width\?.*it takes input_shape, num_classes, width",
        ),
        ({"num_classes": 9}, r"num_classes: 9, but the data has 10; leave it out"),
        ({"width": "wide"}, r"cnn\(.*width='wide'\) raised TypeError"),
        ({"width": -1}, r"raised RuntimeError"),
    ],
)
def test_a_wrong_argument_is_named(digits, arguments, expected):
    with pytest.raises(ConfigError, match=expected):
        spec_of(digits, arguments=arguments)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("pt_core.modeling.cnn:cmn", r"did you mean pt_core\.modeling\.cnn:cnn\?"),
        ("no_such_module:net", "no module named 'no_such_module'"),
        ("pt_core.modeling.cnn:HIDDEN", "is a int, expected a function or class"),
    ],
)
def test_a_wrong_import_path_is_explained(digits, target, expected):
    with pytest.raises(ConfigError, match=expected):
        spec_of(digits, target)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import not_installed_here\ndef net(): ...", "not_installed_here.*install what it needs"),
        ("def net(): return 3", "returned int, expected a torch.nn.Module"),
        ("def net(depth): ...", "needs depth; set model.arguments.depth"),
        ("def net(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))", "without a shape"),
        (
            "def net(): return nn.Sequential(nn.Flatten(), nn.Linear(63, 10))",
            r"failed on a batch of shape \(2, 1, 8, 8\)",
        ),
        (
            "def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))",
            r"shape \(2, 9\), expected \(2, 10\)",
        ),
        ("def net(): return nn.Flatten(0)", r"shape \(128,\), expected \(2, 10\)"),
        (
            """
            class net(nn.Module):
                def forward(self, x):
                    return torch.full((len(x), 10), float("nan"))
            """,
            "NaN or infinite logits",
        ),
        (
            """
            class net(nn.Module):
                def forward(self, x):
                    return {"logits": x}
            """,
            "returns dict, expected one floating-point tensor",
        ),
        (
            """
            class net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = nn.Linear(64, 10)
                def forward(self, x):
                    logits = self.layer(x.flatten(1))
                    return (logits, logits) if self.training else logits
            """,
            r"returns tuple in training mode, expected one floating-point tensor.*model\.target",
        ),
        (
            """
            class net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = nn.Linear(64, 20)
                def forward(self, x):
                    return self.layer(x.flatten(1))[:, : 20 if self.training else 10]
            """,
            r"shape \(2, 20\) in training mode, expected \(2, 10\)",
        ),
        (
            "def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)",
            "nothing in .* can be trained",
        ),
    ],
)
def test_a_network_that_is_no_classifier_of_this_data_is_refused(digits, write_module, code, expected):
    with pytest.raises(ConfigError, match=expected):
        spec_of(digits, f"{write_module(code)}:net")


VIEW = """
    class net(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(1, 4, 3, padding=1)
            self.layer = nn.Linear(256, 10)
        def forward(self, x):
            return self.layer(self.convolution(x).view(len(x), -1))
"""


def test_a_network_that_fails_only_in_channels_last_is_refused_with_both_ways_out(digits, write_module):
    target = f"{write_module(VIEW)}:net"
    with pytest.raises(ConfigError, match=r"set train\.channels_last=false, or call reshape"):
        spec_of(digits, target)
    assert spec_of(digits, target, channels_last=False).target == target


def test_trying_a_network_with_dropout_draws_nothing_from_the_global_generator(digits):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    spec_of(digits, "pt_core.modeling.mlp:mlp", arguments={"dropout": 0.3})
    assert torch.equal(torch.rand(1), expected)


def test_a_factory_of_a_package_gets_its_arguments_and_is_tried_on_a_whole_batch(digits, write_module):
    name = write_module("""
        class Factory:
            def __call__(self, name, num_classes=1000, **settings):
                return Grouped(settings["groups"])
        class Grouped(nn.Module):
            def __init__(self, groups):
                super().__init__()
                self.groups = groups
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                if self.training:
                    x = x.reshape(self.groups, -1, 64)
                return self.layer(x.reshape(-1, 64))
        create = Factory()
    """)
    spec = spec_of(digits, f"{name}:create", arguments={"name": "grouped", "groups": 2})
    assert spec.arguments == {"num_classes": 10, "name": "grouped", "groups": 2}
    with pytest.raises(ConfigError, match=r"failed in training mode on a batch of shape \(33, 1, 8, 8\)"):
        spec_of(digits, f"{name}:create", arguments={"name": "grouped", "groups": 2}, batch_size=33)


def test_two_samples_are_tried_here_and_a_whole_batch_where_it_is_trained(digits, write_module):
    # "meta" computes shapes alone: a device without values stands for one that is not here.
    name = write_module("""
        class net(nn.Module):
            seen = []
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(64, 10)
            def forward(self, x):
                net.seen.append((x.device.type, len(x)))
                return self.layer(x.flatten(1))
    """)
    config = ModelConfig(target=f"{name}:net")
    complete_spec(config, digits, channels_last=False, batch_size=64, device="meta")
    assert importlib.import_module(name).net.seen == [("cpu", 2), ("meta", 64)]


def kept_by_trial(digits, choice):
    """Return the bytes that the passes of a trial keep for a backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, lambda x: x):
        spec_of(digits, "pt_core.modeling.resnet:resnet18", gradient_checkpointing=choice, batch_size=64)
    return sum(kept)


def test_the_trial_keeps_no_more_memory_than_a_checkpointed_step(digits):
    assert 0 < kept_by_trial(digits, choice=True) < 0.4 * kept_by_trial(digits, choice=False)


ITERATED = """
    class net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 10))
            self.rare = nn.Linear(64, 64)
        def forward(self, x):
            x = x.flatten(1)
            # Left out at random in training, as stochastic depth does.
            x = x if self.training else self.rare(x)
            for layer in self.body:
                x = layer(x)
            return x
"""


def test_a_pattern_whose_modules_are_never_called_is_refused(digits, write_module):
    target = f"{write_module(ITERATED)}:net"
    with pytest.raises(
        ConfigError, match=r"gradient_checkpointing: body of net: never called itself.*inside by NAME"
    ):
        spec_of(digits, target, gradient_checkpointing=("body", "rare"))
    spec_of(digits, target, gradient_checkpointing=("body.*", "rare"))
