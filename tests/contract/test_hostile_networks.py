"""Networks that converters break without a word: each is refused with its reason, or really right, in every format."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import hostile
import numpy as np
import pytest
import threads
import tiny
import torch

from pt_core.artifacts.artifact import GOLDEN, Artifact, Step
from pt_core.artifacts.plugin import DeviceBound, Format
from pt_core.artifacts.registry import make_format, make_step, step_names
from pt_core.building.build import checkpoint_source
from pt_core.building.requests import CheckRequest
from pt_core.building.worker import check
from pt_core.data.dataset import Dataset, load_split
from pt_core.errors import ParityError, PtCoreError, StepFailed
from pt_core.modeling.network import build_network

one_thread = threads.one_thread
UNSEEN_SIZES = (5, 11)
"""Batch sizes that neither an export nor parity ever uses."""

BATCH_FIXED = (
    StepFailed,
    r"its code fixes the batch size to a constant at .*hostile\.py:\d+ in {name}\.forward",
)
BATCH_USED = (
    StepFailed,
    r"its code branches on the batch size or computes .* at .*hostile\.py:\d+ in {name}\.fo",
)
VALUE_USED = (
    StepFailed,
    r"its code turns a value of the data into .* at .*hostile\.py:\d+ in {name}\.forward",
)
NOT_SYMBOLIC = (StepFailed, r"its code raised \w+ at .*hostile\.py:\d+ in {name}\.forward")
CHANGES_STATE = (
    StepFailed,
    r"the network changes its state in each call, in evaluation mode too: .*{detail}",
)
KEEPS_BATCH = (ParityError, r"batch size 1: .*the same samples agree in batches of 8, the size of the export")
KEEPS_BATCH_AT_2 = (
    ParityError,
    r"batch size 2: .*the same samples agree in batches of 8, the size of the export",
)
KEEPS_VALUE = (
    ParityError,
    r"it agrees on the samples it was exported with and not on others: .* values of the data",
)
RANDOM = (ParityError, r"torch against itself: .*: it is random, as with dropout left on")
STATEFUL = (ParityError, r"torch against itself: .*: it keeps state between calls")
FIRST_CALL = (ParityError, r"torch against itself: .*: it keeps something of its first call")

REFUSED = {
    "DividesByBatch": {"torchscript": KEEPS_BATCH, "exported": BATCH_FIXED, "onnx": BATCH_FIXED},
    "RollsByHalfABatch": {
        "torchscript": KEEPS_BATCH_AT_2,
        "onnx": (StepFailed, "torch.onnx has no ONNX for an operation of the exported program"),
    },
    "SplitsBatch": {"exported": BATCH_USED, "onnx": BATCH_USED},
    "CentresLargeBatches": {"torchscript": KEEPS_BATCH, "exported": KEEPS_BATCH, "onnx": KEEPS_BATCH},
    "DoublesSmallBatches": {"torchscript": KEEPS_BATCH, "exported": BATCH_USED, "onnx": BATCH_USED},
    "ReshapesToBatch": {"torchscript": KEEPS_BATCH, "exported": BATCH_FIXED, "onnx": BATCH_FIXED},
    "LoopsOverRows": {"torchscript": KEEPS_BATCH, "exported": BATCH_FIXED, "onnx": BATCH_FIXED},
    "NumbersRows": {"torchscript": KEEPS_BATCH, "exported": BATCH_FIXED, "onnx": BATCH_FIXED},
    "CachesPositions": {"exported": NOT_SYMBOLIC, "onnx": NOT_SYMBOLIC},
    "BranchesOnData": {"torchscript": KEEPS_VALUE, "exported": VALUE_USED, "onnx": VALUE_USED},
    "LoopsOnData": {"torchscript": KEEPS_VALUE, "exported": VALUE_USED, "onnx": VALUE_USED},
    "ScalesByFloat": {"torchscript": KEEPS_VALUE, "exported": VALUE_USED, "onnx": VALUE_USED},
    "CutsByItem": {"torchscript": KEEPS_VALUE, "exported": VALUE_USED, "onnx": VALUE_USED},
    "RoundsInNumpy": {
        "torchscript": (ParityError, r"logits of shape \(8, 10\), expected \(1, 10\)"),
        "exported": NOT_SYMBOLIC,
        "onnx": NOT_SYMBOLIC,
    },
    "BatchNormLeftTraining": {
        "torchscript": (ParityError, "relative error"),
        "exported": (CHANGES_STATE[0], CHANGES_STATE[1].format(detail=r"norm\.running_mean.*BatchNorm")),
        "onnx": (CHANGES_STATE[0], CHANGES_STATE[1].format(detail=r"norm\.running_mean.*BatchNorm")),
    },
    "CountsCalls": {"torch": STATEFUL},
    "CountsInPython": {"torch": STATEFUL},
    "CountsInAGlobal": {"torch": STATEFUL},
    "ReadsTheClock": {"torch": STATEFUL},
    "CachesItsFirstBatch": {"torch": FIRST_CALL},
    "LeavesDropoutOn": {"torch": RANDOM},
    "AddsNoise": {"torch": RANDOM},
    "PicksRows": {"tensorrt": (StepFailed, r"tensorrt: the parser of .* refused .*NonZero")},
}
"""What refuses each network, and with which words; the formats that are not named here must get it right."""

RIGHT_EVERYWHERE = ("WritesToItsInput",)

SLOW = {"compiled"}
"""Formats that call a C++ compiler for each network: in the long campaign only."""


class Case:
    """One network: its checkpoint, its root, and what was converted from it."""

    def __init__(self, name: str, dataset: Dataset, folder: Path) -> None:
        folder.mkdir()
        self.name, self.dataset, self.folder = name, dataset, folder
        self.checkpoint = tiny.checkpoint(folder, dataset, target=f"hostile:{name}")
        self.root = tiny.root_artifact(self.checkpoint, folder)
        self.converted = cache(self._convert)

    def _convert(self, format_name: str) -> Artifact:
        """Return the network in a format, proved as ``run_step`` does it, by way of the first format each reads."""
        if format_name == "torch":
            self._check(self.root, source=checkpoint_source(self.checkpoint), reference=None)
            return self.root
        plugin = make_format(format_name)
        artifact = tiny.apply(plugin, self.converted(plugin.sources[0]), self.folder)
        files = sorted(path.name for path in Path(artifact.directory).iterdir() if path.name != GOLDEN)
        artifact = artifact.model_copy(update={"payload": tuple(files)})
        self._check(artifact, source=self.root, reference=self.root)
        return artifact

    def _check(self, artifact: Artifact, *, source: Artifact, reference: Artifact | None) -> None:
        staged = artifact.model_copy(update={"steps": (Step(name=artifact.format),)})
        check(CheckRequest(staged=staged, source=source, reference=reference, dataset=self.dataset))


@pytest.fixture(scope="module")
def cases(dataset, tmp_path_factory):
    """Return a function from a network's name to its case, made once."""
    base = tmp_path_factory.mktemp("hostile")
    return cache(lambda name: Case(name, dataset, base / name))


def trials() -> list:
    """Return every network with every format that this machine can make and run from what was not refused."""
    formats = [plugin for name in step_names() if isinstance(plugin := make_step(Step(name=name)), Format)]
    found = []
    for name in (*REFUSED, *RIGHT_EVERYWHERE):
        for plugin in formats:
            if plugin.unavailable() is None and not is_refused(name, plugin.sources[0]):
                marks = [pytest.mark.campaign] if plugin.name in SLOW else []
                found.append(pytest.param(name, plugin.name, marks=marks, id=f"{name}-{plugin.name}"))
    return found


def is_refused(name: str, format_name: str) -> bool:
    """Return whether a network is refused in a format, or in one on the way to it."""
    if format_name == "checkpoint":
        return False
    return format_name in REFUSED.get(name, {}) or is_refused(name, make_format(format_name).sources[0])


@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning")
@pytest.mark.parametrize(("name", "format_name"), trials())
def test_a_hostile_network_is_refused_with_its_reason_or_right_at_unseen_batch_sizes(
    cases, name, format_name
):
    case = cases(name)
    refusal = REFUSED.get(name, {}).get(format_name)
    if refusal is not None:
        error, pattern = refusal
        with pytest.raises(error, match=pattern.replace("{name}", name)) as caught:
            case.converted(format_name)
        assert len(caught.value.message) < 2000
        return
    artifact = case.converted(format_name)
    if not runs_here(artifact):
        pytest.skip(f"{format_name}: this machine can build it and not run it")
    predictor = make_format(format_name).load(artifact, "cpu")
    x = np.array(load_split(case.dataset, "test").x)
    for size in UNSEEN_SIZES:
        for start in (0, 100):
            samples = x[start : start + size]
            expected = eager(case, samples)
            error = np.abs(predictor.logits(samples) - expected).max() / np.abs(expected).max()
            assert error < 1e-4, (size, start)


def runs_here(artifact: Artifact) -> bool:
    plugin = make_format(artifact.format)
    return not isinstance(plugin, DeviceBound) or plugin.not_runnable(artifact) is None


def eager(case: Case, samples: np.ndarray) -> np.ndarray:
    """Return the logits of the network's own code, built anew."""
    from safetensors.torch import load_file

    network = build_network(case.root.spec).eval()
    network.load_state_dict(load_file(Path(case.root.directory) / "model.safetensors"))
    with torch.no_grad():
        return network(torch.from_numpy(samples.copy())).numpy()


def test_every_network_of_the_set_is_tried_and_ten_or_more_are_refused_somewhere():
    networks = {
        name
        for name, value in vars(hostile).items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and not name.startswith("_")
    }
    assert set(REFUSED) | set(RIGHT_EVERYWHERE) == networks
    always_here = {"torch", "torchscript", "exported", "onnx"}
    assert sum(bool(always_here & set(refusals)) for refusals in REFUSED.values()) >= 10


def test_what_is_refused_is_a_known_failure_and_says_so():
    assert all(issubclass(error, PtCoreError) for case in REFUSED.values() for error, _ in case.values())
