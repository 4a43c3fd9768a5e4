"""Steps that really crash, hang, eat the memory or fill the disk: a recorded failure each, and nothing else."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from pt_core.artifacts import registry
from pt_core.artifacts.artifact import Artifact, Step
from pt_core.building.build import StepRequest, run_step
from pt_core.building.failure import FAILURES
from pt_core.data.dataset import Dataset
from pt_core.errors import StepFailed
from pt_core.evaluation.config import EfficiencyConfig
from pt_core.evaluation.report import EfficiencyReport
from pt_core.evaluation.requests import EfficiencyRequest
from pt_core.isolation import CODE_PATH_VARIABLE, Progress
from pt_core.limits import Limits
from tasks.efficiency import efficiency
from tasks.progress import use_display

HERE = Path(__file__).parent
LIMITS = Limits(timeout_s=120, max_memory_bytes=2**29)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the failing steps as an installed package."""
    folder = tmp_path_factory.mktemp("plugins")
    info = folder / "failing_steps-1.0.dist-info"
    info.mkdir()
    shutil.copyfile(HERE / "failing_steps.py", folder / "failing_steps.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing_steps\nVersion: 1.0\n")
    classes = {"failing": "FailingFormat", "unloadable": "UnloadableFormat"}
    lines = [f"{name} = failing_steps:{found}" for name, found in classes.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pt_core.steps]", *lines, ""]))
    return folder


@pytest.fixture(autouse=True)
def _installed(plugins: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.syspath_prepend(plugins)
        patched.setenv(CODE_PATH_VARIABLE, str(plugins))
        importlib.invalidate_caches()
        registry._targets.cache_clear()
        yield
    registry._targets.cache_clear()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny.digits(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def source(samples: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("source")
    return tiny.root_artifact(tiny.checkpoint(folder, samples), folder)


@pytest.fixture
def small_disk(tmp_path: Path):
    """Return a folder on a disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def build(
    source: Artifact, store: Path, step: str = "failing", *, limits: Limits = LIMITS, **options
) -> Artifact:
    request = StepRequest(
        source=source, reference=source, step=Step(name=step, options=options), dataset=None, store=str(store)
    )
    return run_step(request, limits=limits)


def the_failure(store: Path) -> Path:
    """Return the one recorded failure; assert that the store holds nothing else, not even something half-written."""
    assert [path.name for path in store.iterdir()] == [FAILURES]
    (folder,) = (store / FAILURES).iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "request.json",
        "error.json",
        "output.log",
        "reproduce.py",
    }
    return folder


def reproduce(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "reproduce.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        check=False,
    )


@pytest.mark.parametrize(
    ("way", "said", "ends", "code"),
    [
        ("segfault", "killed by SIGSEGV", "in fail", -11),
        ("abort", "killed by SIGABRT", "in fail", -6),
        ("raise", "KeyError: 'a key that nobody has'", "KeyError", 1),
        ("ask-too-much", "out of memory, this machine refused", "MemoryError", 1),
        ("ask-torch-too-much", "out of memory, this machine refused", "can't allocate memory", 1),
        (
            "eat",
            r"took 0\.\d\d GiB of memory, the limit is 0.50 GiB.*limits\.step_memory_gib",
            "about to eat",
            -9,
        ),
    ],
)
def test_a_failing_step_is_recorded_and_can_be_run_alone(source, tmp_path, way, said, ends, code):
    with pytest.raises(StepFailed, match=said) as caught:
        build(source, tmp_path, way=way)
    folder = the_failure(tmp_path)
    command = caught.value.message.rpartition("; to run it alone: ")[2]
    assert shlex.split(command) == [sys.executable, str(folder / "reproduce.py")]
    assert f"about to {way}" in (folder / "output.log").read_text()
    assert ends in "\n".join(str(caught.value).splitlines()[-10:])
    kept = json.loads((folder / "error.json").read_text())
    assert caught.value.message.startswith(kept["message"])
    again = reproduce(folder)
    assert again.returncode == code, again.stderr
    assert f"about to {way}" in again.stdout
    assert ends in again.stdout + again.stderr
    assert [path.name for path in tmp_path.iterdir()] == [FAILURES]


def test_a_step_that_hangs_is_stopped_and_stopped_again_when_it_is_run_alone(source, tmp_path):
    with pytest.raises(StepFailed, match=r"no result after 12 s, killed; limits\.step_timeout_s") as caught:
        build(source, tmp_path, way="hang", limits=Limits(timeout_s=12))
    assert "about to hang" in str(caught.value)
    again = reproduce(the_failure(tmp_path), "--isolated")
    assert again.returncode == 1
    assert "no result after 12 s, killed" in again.stdout


def test_memory_of_what_a_step_starts_counts(source, tmp_path):
    with pytest.raises(StepFailed, match=r"the limit is 0\.50 GiB, killed"):
        build(source, tmp_path, way="eat-in-a-grandchild")
    again = reproduce(the_failure(tmp_path), "--isolated")
    assert again.returncode == 1
    assert "the limit is 0.50 GiB, killed" in again.stdout


@pytest.mark.parametrize("way", ["python", "numpy", "torch", "torchscript"])
def test_a_full_disk_is_named_and_left_empty(source, small_disk, way):
    with pytest.raises(StepFailed, match=r"the disk is full, free are [\d,]+ bytes in .*disk") as caught:
        build(source, small_disk, way=f"fill-from-{way}")
    assert f"about to fill-from-{way}" in (the_failure(small_disk) / "output.log").read_text()
    assert "make room there" in caught.value.message


def test_a_disk_that_fills_up_after_the_payload_is_named_too(source, small_disk):
    # What is left is the payload in whole pages and one more, which the golden outputs or the manifest exceed.
    (small_disk / "other").write_bytes(bytes(2**22 - -(-source.payload_bytes // 4096) * 4096 - 4096))
    with pytest.raises(StepFailed, match=r"the disk is full"):
        build(source, small_disk)
    assert {path.name for path in small_disk.iterdir()} <= {"other", FAILURES}


def test_a_crash_in_the_second_half_runs_both_halves_again(source, tmp_path):
    with pytest.raises(StepFailed, match=r"worker:check: the process was killed by SIGSEGV"):
        build(source, tmp_path, "unloadable")
    again = reproduce(the_failure(tmp_path))
    assert again.returncode == -11
    assert "about to succeed" in again.stdout
    assert "about to load" in again.stdout


def test_a_step_beside_failing_ones_is_built_and_a_success_takes_the_old_failure_away(source, tmp_path):
    with pytest.raises(StepFailed, match="no result after"):
        build(source, tmp_path, limits=Limits(timeout_s=0.01))
    failure = the_failure(tmp_path)
    with pytest.raises(StepFailed):
        build(source, tmp_path, way="raise")
    again = reproduce(failure)
    assert (again.returncode, "it did not fail this time" in again.stdout) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == [FAILURES]
    build(source, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 2
    assert not failure.exists()
    assert len(list((tmp_path / FAILURES).iterdir())) == 1


def test_a_failure_that_happens_again_replaces_its_record(source, tmp_path):
    for limit in (0.01, 0.02):
        with pytest.raises(StepFailed, match=f"no result after {limit} s"):
            build(source, tmp_path, limits=Limits(timeout_s=limit))
        assert f'"timeout_s":{limit}' in (the_failure(tmp_path) / "error.json").read_text()


class Nobody:
    """A display that shows nothing."""

    def start(self, name: str) -> int:
        return 0

    def update(self, bar: int, progress: Progress) -> None:
        pass

    def finish(self, bar: int, *, succeeded: bool) -> None:
        pass

    def cached(self, name: str) -> None:
        pass


def test_an_artifact_that_crashes_the_measurement_of_speed_fails_alone(source, samples, tmp_path):
    crashing = tiny.reseal(source.model_copy(update={"format": "unloadable"}), tmp_path)
    other = tiny.reseal(source.model_copy(update={"parent_digest": "0" * 64}), tmp_path)
    request = EfficiencyRequest(
        reference=source,
        artifacts=(crashing, other),
        dataset=samples,
        config=EfficiencyConfig(rounds=5, calls_per_round=1, throughput_batch_size=2),
    )
    with use_display(Nobody()):
        timed = efficiency.fn(request, Limits(timeout_s=120))
    assert timed.keys() == {source.digest, crashing.digest, other.digest}
    assert isinstance(timed[source.digest], EfficiencyReport)
    assert isinstance(timed[other.digest], EfficiencyReport)
    error = timed[crashing.digest]
    assert "killed by SIGSEGV" in error.message
    assert "about to load" in "\n".join(error.details)
