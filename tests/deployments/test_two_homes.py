"""Two homes that share no disk and one MLflow: one trains, the other fetches, evaluates and promotes, and the first sees it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import stop_group
from stacks import RealStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CONFIG = """
name: two-homes
train: {epochs: 1}
variants:
  - {name: torch, steps: []}
  - {name: torchscript, steps: [torchscript]}
evaluation: {fgsm_epsilons: [0.05], noise_sigmas: []}
efficiency: {max_seconds: 2, rounds: 6, extra_rounds: 0, cold_starts: false}
gate: {rules: [{metric: accuracy/accuracy, max_drop: 0.3}]}
"""


class Site:
    """A home of its own that works with the servers of a stack and nothing else of it."""

    def __init__(self, stack: RealStack, home: Path) -> None:
        self.home = home
        names = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_API_AUTH_STRING")
        self.environment = {
            **{name: value for name, value in stack.environment.items() if not name.startswith("P")},
            **{name: stack.environment[name] for name in names if name in stack.environment},
            "PATH": stack.environment["PATH"],
            "PT_PIPELINE_HOME": str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "OMP_NUM_THREADS": "1",
        }

    def call(self, *arguments: str) -> Any:
        """Return the document that a command printed; it must succeed."""
        cwd = self.home.parent / "work"
        cwd.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "flows", *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=400,
            cwd=cwd,
            env=self.environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def key(self) -> Path:
        (found,) = (self.home / "keys" / "trusted").glob("*.pub")
        return found


@pytest.fixture(scope="module")
def sites(stack: RealStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    folder = tmp_path_factory.mktemp("sites")
    return Site(stack, folder / "trains"), Site(stack, folder / "judges")


def test_one_home_trains_and_another_evaluates_and_promotes_without_a_disk_in_common(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    maker, judge = sites
    config = tmp_path / "pipeline.yaml"
    config.write_text(CONFIG)
    made = maker.call("run", str(config))
    key = tmp_path / "maker.pub"
    key.write_bytes(maker.key.read_bytes())
    away = maker.home.rename(tmp_path / "unplugged")
    config.unlink()

    judge.call("keys", "trust", str(key))
    judged = judge.call("evaluate", made["run_name"])
    for name in ("torch", "torchscript"):
        ours, theirs = (next(v for v in one["variants"] if v["name"] == name) for one in (judged, made))
        assert ours["artifact_digest"] == theirs["artifact_digest"]
        assert ours["metrics"]["accuracy/accuracy"] == theirs["metrics"]["accuracy/accuracy"]
        assert Path(ours["artifact_path"]).is_relative_to(judge.home)
    assert judged["dataset"] == made["dataset"]
    promoted = judge.call("promote", judged["run_name"])
    assert promoted["uri"] == "models:/two-homes/1"

    away.rename(maker.home)
    ours = tmp_path / "judge.pub"
    ours.write_bytes(
        next(p for p in judge.home.glob("keys/trusted/*.pub") if p.name != maker.key.name).read_bytes()
    )
    maker.call("keys", "trust", str(ours))
    (version,) = maker.call("versions", "two-homes")["versions"]
    assert version["aliases"] == ["champion"]
    assert version["run_name"] == judged["run_name"]


DEPLOYED = """
name: two-homes
# Otherwise Prefect writes down the folder that this is deployed from, which the other machine does not have.
pull:
  - prefect.deployments.steps.set_working_directory: {directory: .}
deployments:
  - {name: far, entrypoint: flows.retrain.retrain, work_pool: {name: trains}}
  - {name: near, entrypoint: flows.evaluate.evaluate, work_pool: {name: judges}}
  - {name: near, entrypoint: flows.promote.promote, work_pool: {name: judges}}
"""


def prefect(site: Site, *arguments: str) -> str:
    """Return what a command of Prefect's own said; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=site.home.parent,
        env=site.environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@contextlib.contextmanager
def worker(site: Site, pool: str, log: Path) -> Iterator[None]:
    """Run a worker of a pool in a home of its own until the block ends."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=site.home.parent,
            env=site.environment,
            start_new_session=True,
        )
    try:
        yield
    finally:
        stop_group(process)


@pytest.mark.campaign
def test_a_worker_of_one_home_trains_and_that_of_another_evaluates_and_promotes(
    stack: RealStack, tmp_path: Path
) -> None:
    maker, judge = (Site(stack, tmp_path / name / "home") for name in ("trains", "judges"))
    for site in (maker, judge):
        site.home.parent.mkdir()
        # Makes the key of the home.
        site.call("keys")
    config = tmp_path / "pipeline.yaml"
    config.write_text(CONFIG.replace("two-homes", "two-workers"))
    deployed = maker.home.parent / "prefect.yaml"
    deployed.write_text(DEPLOYED)
    for pool in ("trains", "judges"):
        prefect(maker, "work-pool", "create", pool, "--type", "process")
    prefect(maker, "deploy", "--all", "--prefect-file", str(deployed))
    with worker(maker, "trains", tmp_path / "trains.log"):
        prefect(maker, "deployment", "run", "retrain/far", "--param", f"config={config}", "--watch")
    (made,) = (path.parent.name for path in maker.home.glob("runs/*/run.json"))
    key = tmp_path / "maker.pub"
    key.write_bytes(maker.key.read_bytes())
    maker.home.parent.rename(tmp_path / "unplugged")
    judge.call("keys", "trust", str(key))
    with worker(judge, "judges", tmp_path / "judges.log"):
        prefect(judge, "deployment", "run", "evaluate/near", "--param", f"run={made}", "--watch")
        prefect(judge, "deployment", "run", "promote/near", "--watch")
    (version,) = judge.call("versions", "two-workers")["versions"]
    assert version["aliases"] == ["champion"]
    assert version["run_name"] != made
