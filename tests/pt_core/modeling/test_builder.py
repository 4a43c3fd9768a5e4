from __future__ import annotations

import pytest
import torch

from pt_core.errors import ConfigError
from pt_core.modeling.network import build_network, import_target
from pt_core.modeling.spec import ModelSpec


@pytest.mark.parametrize(
    "target",
    [
        "subprocess:getoutput",
        "os:mkdir",
        "shutil:rmtree",
        "runpy:run_path",
        "numpy:load",
        "torch:load",
        "torch.hub:load",
        "torch.serialization:load",
        "pathlib:Path",
        "pt_core.modeling.builder:inspect",
        "torch.fx.graph_module:reduce_graph_module",
        "torch.fx:GraphModule",
        "torch.jit:ScriptModule",
    ],
)
def test_a_name_that_builds_no_network_is_not_called(target: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.target"):
        import_target(target)


def test_a_bundle_cannot_make_us_run_a_command(tmp_path) -> None:
    spec = ModelSpec(
        target="os:mkdir",
        arguments={"path": str(tmp_path / "ran")},
        input_shape=(2,),
        num_classes=2,
        mean=None,
        std=None,
        input_range=None,
    )
    with pytest.raises(ConfigError, match="shows no sign of building a network"):
        build_network(spec)
    assert not (tmp_path / "ran").exists()


def test_a_bundle_cannot_make_torch_run_the_text_of_a_function(tmp_path) -> None:
    ran = tmp_path / "ran"
    spec = ModelSpec(
        target="torch.fx.graph_module:reduce_graph_module",
        arguments={
            "body": {"_code": "def forward(self, x):\n    return x\n"},
            "import_block": f"open({str(ran)!r}, 'w').close()\n",
        },
        input_shape=(2,),
        num_classes=2,
        mean=None,
        std=None,
        input_range=None,
    )
    with pytest.raises(ConfigError, match="shows no sign of building a network"):
        build_network(spec)
    assert not ran.exists()


def test_a_layer_of_torch_is_a_network() -> None:
    assert import_target("torch.nn.modules.linear:Linear") is torch.nn.Linear


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ndef net():\n    return torch.nn.Linear(2, 2)",
        "from torch import nn\ndef net():\n    return nn.Linear(2, 2)",
        "from torch.nn import Module\nclass net(Module):\n    pass",
        "from torch.nn import Module, Linear\ndef net() -> Module:\n    return Linear(2, 2)",
        # An object that is called, a function with some arguments set, and one behind a decorator.
        "from torch import nn\nclass Factory:\n    def __call__(self):\n        return nn.Linear(2, 2)\nnet = Factory()",
        "import functools\nfrom torch import nn\ndef make(n):\n    return nn.Linear(n, 2)\nnet = functools.partial(make, 2)",
        "import functools\nfrom torch import nn\nnet = functools.partial(nn.Linear, 2, 2)",
        "import functools\nfrom torch import nn\n@functools.cache\ndef net() -> nn.Module:\n    return nn.Linear(2, 2)",
    ],
)
def test_code_of_the_user_that_builds_networks_is_called(tmp_path, monkeypatch, code: str) -> None:
    name = f"user_module_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert callable(import_target(f"{name}:net"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "import functools, os, torch\nnet = functools.partial(os.mkdir, mode=7)",
            "no sign of building a network",
        ),
        ("import operator, torch\nnet = operator.methodcaller('lower')", "no sign of building a network"),
        ("from torch import nn\nnet = nn.Linear(2, 2)", "is a network, expected what builds one"),
    ],
)
def test_an_object_that_calls_something_else_is_not_called(
    tmp_path, monkeypatch, code: str, expected: str
) -> None:
    name = f"user_module_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=expected):
        import_target(f"{name}:net")
