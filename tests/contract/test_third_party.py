"""A step of another package: found by its entry point, built and loaded like a built-in, refused under a taken name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pt_core.artifacts import registry
from pt_core.artifacts.artifact import Step
from pt_core.errors import ConfigError, PlanError
from pt_core.inference.predictor import load_predictor
from pt_core.isolation import CODE_PATH_VARIABLE

PLUGIN = """
import shutil
from pathlib import Path
from typing import ClassVar

from pt_core.formats.torch_ import TorchFormat
from pt_core.record import Record


class AcmeFormat(Record):
    name: ClassVar[str] = "acme"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    precision: ClassVar[None] = None
    level: int = 1

    def unavailable(self):
        return None

    def convert(self, source, destination):
        shutil.copyfile(Path(source.directory) / "model.safetensors", destination / "model.safetensors")

    def load(self, artifact, device):
        return TorchFormat().load(artifact, device)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a package with one entry point on the path of this and of child processes."""

    def put(name: str, module: str) -> None:
        folder = tmp_path / module
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(PLUGIN)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pt_core.steps]\n{name} = {module}:AcmeFormat\n")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv(CODE_PATH_VARIABLE, str(folder))
        importlib.invalidate_caches()
        registry._targets.cache_clear()

    yield put
    monkeypatch.undo()
    registry._targets.cache_clear()


def test_a_step_of_another_package_is_built_and_loaded_like_a_built_in(install, builder):
    install("acme", "acme_steps")
    assert registry.step_names()[-1] == "acme"
    artifact = builder.step(builder.chain(), Step(name="acme", options={"level": 2}))
    assert artifact.format == "acme"
    assert artifact.parity.points[0].max_abs_error == 0
    assert load_predictor(artifact).runtime().provider == "eager on cpu"


def test_options_of_another_package_are_checked_too(install):
    install("acme", "acme_options")
    with pytest.raises(ConfigError, match=r"options\.levle: no such option; did you mean 'level'\?"):
        registry.make_step(Step(name="acme", options={"levle": 2}))


def test_a_taken_name_is_an_error_that_names_both(install):
    install("onnx", "acme_taken")
    with pytest.raises(ConfigError) as caught:
        registry.step_names()
    assert "pt_core.formats.onnx_:OnnxFormat" in caught.value.message
    assert "acme_taken:AcmeFormat" in caught.value.message


def test_a_plugin_that_calls_itself_something_else_is_refused(install):
    install("other", "acme_renamed")
    with pytest.raises(ConfigError, match="calls itself 'acme'"):
        registry.make_step(Step(name="other"))


def test_a_quantizer_is_no_format_to_load_with():
    with pytest.raises(PlanError, match="is a quantizer"):
        registry.make_format("int8-dynamic")


def test_an_unknown_step_is_refused_with_the_nearest_name():
    with pytest.raises(PlanError, match="no step named 'torchscrip'; did you mean 'torchscript'"):
        registry.make_step(Step(name="torchscrip"))


@pytest.mark.parametrize(("value", "shown"), [("18", "valid integer"), (17, "greater than or equal to 18")])
def test_an_option_of_a_wrong_type_or_out_of_range_is_refused_by_name(value, shown):
    with pytest.raises(ConfigError, match=rf"onnx: options\.opset: .*{shown}"):
        registry.make_step(Step(name="onnx", options={"opset": value}))
