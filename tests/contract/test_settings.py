"""A runtime with several settings: each is compared, the pinned one must hold, and the message says which one does."""

from __future__ import annotations

import importlib

import pytest
import threads
import tiny

from pt_core.artifacts import registry
from pt_core.artifacts.artifact import Parity, Step
from pt_core.artifacts.registry import make_step
from pt_core.building.requests import CheckRequest
from pt_core.building.worker import check
from pt_core.errors import ParityError, StepFailed

one_thread = threads.one_thread
PLUGIN = """
import json
import shutil
from pathlib import Path
from typing import ClassVar, Literal

from pt_core.errors import StepFailed
from pt_core.formats.torch_ import TorchFormat
from pt_core.record import Record

LEVELS = ("low", "middle", "high")


class Tuned(Record):
    name: ClassVar[str] = "tuned"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    precision: ClassVar[None] = None
    level: Literal["low", "middle", "high"] = "high"
    wrong: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def unavailable(self):
        return None

    def convert(self, source, destination):
        shutil.copyfile(Path(source.directory) / "model.safetensors", destination / "model.safetensors")
        (destination / "tuned.json").write_text(self.model_dump_json())

    def settings(self):
        return tuple(f"level={level}" for level in LEVELS)

    def pinned_setting(self, artifact):
        return f"level={self._read(artifact)['level']}"

    def load(self, artifact, device):
        return self.load_with(artifact, device, self.pinned_setting(artifact))

    def load_with(self, artifact, device, setting):
        options = self._read(artifact)
        level = setting.removeprefix("level=")
        if level in options["broken"]:
            raise StepFailed(f"tuned: no kernel at {setting}")
        return Scaled(TorchFormat().load(artifact, device), 1.5 if level in options["wrong"] else 1, setting)

    def _read(self, artifact):
        return json.loads((Path(artifact.directory) / "tuned.json").read_text())


class Scaled:
    def __init__(self, inner, factor, setting):
        self.inner, self.factor, self.setting = inner, factor, setting

    def logits(self, batch):
        return self.inner.logits(batch) * self.factor

    def runtime(self):
        return self.inner.runtime().model_copy(update={"setting": self.setting})
"""


@pytest.fixture
def prove(dataset, tmp_path, monkeypatch):
    """Return a function that converts with options of a format of another package, and proves the result."""
    info = tmp_path / "tuned_format-1.0.dist-info"
    info.mkdir()
    (tmp_path / "tuned_format.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tuned_format\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pt_core.steps]\ntuned = tuned_format:Tuned\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    registry._targets.cache_clear()
    root = tiny.root_artifact(tiny.checkpoint(tmp_path / "store", dataset), tmp_path / "store")

    def convert(**options) -> Parity:
        artifact = tiny.apply(make_step(Step(name="tuned", options=options)), root, tmp_path)
        staged = artifact.model_copy(update={"steps": (Step(name="tuned"),)})
        return check(CheckRequest(staged=staged, source=root, reference=root, dataset=dataset)).parity

    yield convert
    monkeypatch.undo()
    registry._targets.cache_clear()


def test_every_setting_is_compared_and_the_pinned_one_is_on_record(prove):
    parity = prove(level="middle")
    assert [s.setting for s in parity.settings] == ["level=low", "level=middle", "level=high"]
    assert all(s.holds and s.max_relative_error == 0 and s.reason is None for s in parity.settings)
    assert parity.pinned == "level=middle"


def test_a_setting_that_disagrees_beside_the_pinned_one_is_recorded(prove):
    low, middle, high = prove(wrong=["low"], broken=["middle"]).settings
    assert (low.holds, low.max_relative_error) == (False, pytest.approx(0.5))
    assert low.reason.startswith("batch size 1: relative error 0.5")
    assert (middle.holds, middle.max_relative_error) == (False, None)
    assert middle.reason == "tuned: no kernel at level=middle"
    assert high.holds


def test_a_pinned_setting_that_disagrees_is_refused_and_the_highest_that_holds_is_named(prove):
    with pytest.raises(ParityError) as caught:
        prove(wrong=["high"])
    assert "tuned against the reference: batch size 1: relative error 0.5" in caught.value.message
    assert caught.value.message.endswith(
        "; it is pinned to level=high, and the highest setting that holds is level=middle: "
        "set options {level: middle} of the step tuned"
    )
    with pytest.raises(
        ParityError, match=r"the highest setting that holds is level=low: set options \{level: low\}"
    ):
        prove(wrong=["middle", "high"])


def test_a_pinned_setting_that_cannot_be_loaded_is_refused_and_another_is_named(prove):
    with pytest.raises(
        StepFailed, match=r"no kernel at level=high; .*the highest setting that holds is level=middle"
    ):
        prove(broken=["high"])


def test_where_no_setting_holds_no_setting_is_blamed(prove):
    with pytest.raises(ParityError) as caught:
        prove(wrong=["low", "middle", "high"])
    assert "setting" not in caught.value.message
