"""A run that another home made, brought here through MLflow's artifact store; hostile stores are refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from run_results import make_run_result

from flows.cli.compare import find_runs
from flows.config import PipelineConfig
from flows.existing import check_existing, find_existing
from flows.fetch import fetch_checkpoint, fetch_run, missing_bundles
from flows.home import Home
from flows.promotable import run_to_promote
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.bundle import MAX_MANIFEST_BYTES, seal
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError, IntegrityError, PtCoreError, StepFailed
from pt_core.keys import keys_of, trust_key
from pt_core.manifest import Manifest
from pt_core.signing import sign_published
from tasks import tracking
from tasks.dashboard import TrackedRun
from tasks.share import track_checkpoint
from tasks.shared import RECORD, RunRecordInfo, seal_record, shared

SECRET = "what lies outside of the store"


class Site:
    """A home that made a run and is gone since, the MLflow that keeps it, and the folder of that MLflow's files."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.files = folder / "artifacts"
        self.maker = folder / "maker"
        self.result = self._log(make_run_result(self.maker / "store"), "first-run")
        self.other = self._log(self.result, "second-run")
        self._log_training("training")
        self.maker.rename(folder / "gone")
        (self.key,) = Path(keys_of(folder / "gone").trusted).glob("*.pub")

    def _log(self, found: RunResult, name: str) -> RunResult:
        keys = keys_of(self.maker)
        run = tracking.start_run(
            self.uri, experiment="digits", run_name=name, artifact_root=str(self.files), tags={}
        )
        result = found.model_copy(update={"run_name": name, "mlflow_run_id": run.run_id})
        if name == "first-run":
            self._log_bundles(run, result)
        tracking.log_bundle(run, seal_record(result, self.maker / "runs" / name, keys).directory, RECORD)
        tracking.finish_run(run, "FINISHED")
        return result

    def _log_bundles(self, run: TrackedRun, result: RunResult) -> None:
        for bundle in (result.checkpoint, *(one.artifact for one in result.variants if one.artifact)):
            sign_published(Path(bundle.directory), keys_of(self.maker))
        tracking.log_checkpoint(run, result.checkpoint, result.dataset)
        for part in shared(result):
            tracking.log_bundle(run, part.bundle.directory, part.name)
        for variant in result.variants:
            tracking.log_variant(run, variant, result.dataset, pictures={})

    def _log_training(self, name: str) -> None:
        keys, checkpoint = keys_of(self.maker), self.result.checkpoint
        run = tracking.start_run(
            self.uri,
            experiment="digits",
            run_name=name,
            artifact_root=str(self.files),
            tags={"stage": "train"},
        )
        track_checkpoint.fn(run, name, checkpoint, str(self.maker / "store"), keys)
        tracking.finish_run(run, "FINISHED")

    def kept(self, name: str, run: RunResult | None = None) -> Path:
        """Where MLflow keeps a folder of a run."""
        return self.files / str((run or self.result).mlflow_run_id) / "artifacts" / name

    def model(self, variant: str) -> Path:
        """Where MLflow keeps the bundle of a variant."""
        wanted = next(one.artifact for one in self.result.variants if one.name == variant)
        for manifest in self.files.glob("models/*/artifacts/bundle/manifest.json"):
            if hashlib.sha256(manifest.read_bytes()).hexdigest() == wanted.digest:
                return manifest.parent
        raise AssertionError(variant)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def home(made: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Another home, with the same MLflow, that trusts the maker's key."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    here = Home(root=str(tmp_path / "here"))
    trust_key(made.key, Path(here.keys.trusted))
    return here


@pytest.fixture
def spoilt(made: Site) -> Iterator[Callable[[Path], Path]]:
    """A function that gives a folder of MLflow's to be spoilt; it is as it was when the test ends."""
    kept: list[tuple[Path, Path]] = []

    def take(folder: Path) -> Path:
        copy = folder.with_name(f"{folder.name}.kept")
        shutil.copytree(folder, copy)
        kept.append((folder, copy))
        return folder

    yield take
    for folder, copy in kept:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
        copy.rename(folder)


def here_only(home: Home, result: RunResult) -> list[str]:
    """Return the folders that a run names and that are not in a home."""
    bundles = [result.dataset, result.checkpoint]
    bundles += [b for v in result.variants for b in (v.artifact, v.evaluation) if b]
    return [bundle.directory for bundle in bundles if Path(bundle.directory).parent != Path(home.store)]


def test_a_fetched_run_is_the_one_that_was_made_and_all_of_it_is_here(made: Site, home: Home) -> None:
    fetched = fetch_run(home, "first-run")
    assert here_only(home, fetched) == []
    assert missing_bundles(fetched) == []
    assert str(made.maker) not in json.dumps(fetched.model_dump(mode="json"))
    for field in ("winner", "winner_reason", "policy", "mlflow_run_id", "warnings"):
        assert getattr(fetched, field) == getattr(made.result, field)
    assert [v.metrics for v in fetched.variants] == [v.metrics for v in made.result.variants]
    digests = [(v.name, v.artifact and v.artifact.digest) for v in made.result.variants]
    assert [(v.name, v.artifact and v.artifact.digest) for v in fetched.variants] == digests
    assert not list(Path(home.store).glob(".staging-*"))


def test_a_run_is_found_by_its_mlflow_id_and_wherever_a_command_names_one(made: Site, home: Home) -> None:
    (folder,) = find_runs([str(made.result.mlflow_run_id)], home)
    assert folder == home.runs / "first-run"
    with pytest.raises(ConfigError, match="no run made in"):
        find_runs([], home)
    assert isinstance(find_existing(home, "first-run"), RunResult)


def test_to_fetch_a_run_changes_nothing_about_which_is_the_latest_here(made: Site, home: Home) -> None:
    for name, started_at in (("newer", "2026-01-02T00:00:00Z"), ("older", "2026-01-01T00:00:00Z")):
        (home.runs / name).mkdir(parents=True)
        own = made.result.model_copy(update={"run_name": name, "started_at": started_at})
        (home.runs / name / "run.json").write_text(own.model_dump_json())
    fetch_run(home, "first-run")
    assert run_to_promote(home, None).run_name == "newer"
    assert run_to_promote(home, "first-run").run_name == "first-run"


def test_an_intact_copy_is_used_again_and_a_damaged_one_is_replaced(made: Site, home: Home) -> None:
    fetched = fetch_run(home, "first-run")
    onnx = next(v.artifact for v in fetched.variants if v.name == "onnx")
    intact, damaged = Path(fetched.dataset.directory), Path(onnx.directory)
    before = intact.stat().st_ino
    (damaged / "model.bin").write_bytes(b"other bytes")
    assert missing_bundles(fetched) == [str(damaged)]
    assert fetch_run(home, "first-run") == fetched
    assert missing_bundles(fetched) == []
    assert intact.stat().st_ino == before


def test_four_fetches_at_once_leave_one_whole_run(made: Site, home: Home) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fetch_run(home, "first-run"), range(4)))
    assert all(one == results[0] for one in results)
    assert missing_bundles(results[0]) == []
    assert [path.name for path in Path(home.store).iterdir() if path.name.startswith(".")] == []


def test_a_run_that_nobody_trusted_signed_is_refused(made: Site, home: Home) -> None:
    shutil.rmtree(home.keys.trusted)
    with pytest.raises(IntegrityError, match=r"signed by nobody who is trusted here.*pt-pipeline keys trust"):
        fetch_run(home, "first-run")
    assert not home.runs.exists()


@pytest.fixture
def renamed(made: Site) -> Iterator[Callable[[RunResult, str], str]]:
    """A function that renames a run in MLflow and returns its id; it has its name again when the test ends."""
    client = MlflowClient(made.uri)

    def rename(run: RunResult, name: str) -> str:
        client.set_tag(run.mlflow_run_id, "mlflow.runName", name)
        return str(run.mlflow_run_id)

    yield rename
    for run in (made.result, made.other):
        rename(run, run.run_name)


def test_a_run_whose_name_leaves_the_folder_of_runs_is_refused_whatever_lies_there(
    made, home, renamed
) -> None:
    forged = home.runs.parent / "forged"
    forged.mkdir(parents=True)
    identity = renamed(made.result, "../forged")
    result = made.result.model_copy(update={"run_name": "../forged", "winner": "torchscript"})
    (forged / "run.json").write_text(result.model_dump_json())
    with pytest.raises(IntegrityError, match=r"named '\.\./forged'"):
        find_runs([identity], home)


def test_a_run_that_took_the_name_of_one_that_is_here_is_not_taken_for_it(made, home, renamed) -> None:
    fetch_run(home, "first-run")
    identity = renamed(made.other, "first-run")
    with pytest.raises(IntegrityError, match="MLflow has another run under its name"):
        find_runs([identity], home)


def test_a_run_that_is_here_rests_on_no_bundle_outside_of_this_home(made: Site, home: Home) -> None:
    fetched = fetch_run(home, "first-run")
    elsewhere = fetched.dataset.model_copy(update={"directory": str(made.maker / "elsewhere")})
    stored = home.runs / "first-run" / "run.json"
    stored.write_text(fetched.model_copy(update={"dataset": elsewhere}).model_dump_json())
    assert here_only(home, fetch_run(home, "first-run")) == []


def flip(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def pass_all(made: Site, take: Callable[[Path], Path]) -> None:
    """Let the record say what would be promoted."""
    path = take(made.kept(RECORD)) / "run.json"
    path.write_text(path.read_text().replace('"state": "fail"', '"state": "pass"'))


def pass_all_resealed(made: Site, take: Callable[[Path], Path]) -> None:
    """The same, under a manifest that fits the forged bytes: only the signature does not."""
    pass_all(made, take)
    folder = made.kept(RECORD)
    manifest = Manifest.from_json((folder / "manifest.json").read_bytes())
    content = (folder / "run.json").read_bytes()
    entry = manifest.files[0].model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    )
    manifest = manifest.model_copy(update={"files": (entry,), "checksum": ""})
    manifest = manifest.model_copy(update={"checksum": manifest.computed_checksum()})
    (folder / "manifest.json").write_text(manifest.to_json())


def swap_record(made: Site, take: Callable[[Path], Path]) -> None:
    """Put the record of another run there, signed by a trusted key."""
    folder = take(made.kept(RECORD))
    shutil.rmtree(folder)
    shutil.copytree(made.kept(RECORD, made.other), folder)


def swap_artifact(made: Site, take: Callable[[Path], Path]) -> None:
    folder = take(made.model("onnx"))
    shutil.rmtree(folder)
    shutil.copytree(made.model("torchscript"), folder)


def flip_weights(made: Site, take: Callable[[Path], Path]) -> None:
    flip(take(made.model("onnx")), "model.bin")


def flip_checkpoint(made: Site, take: Callable[[Path], Path]) -> None:
    folder = take(made.kept("checkpoint"))
    flip(folder, next(p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".pt")))


def link_out(made: Site, take: Callable[[Path], Path]) -> None:
    """Let a file of a bundle be a link to one outside."""
    folder = take(made.model("onnx"))
    outside = made.files.parent / "outside.txt"
    outside.write_text(SECRET)
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(outside)


def climb(made: Site, take: Callable[[Path], Path]) -> None:
    """Let a manifest list a file above its folder."""
    folder = take(made.kept(RECORD))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0]["path"] = "../../../climbed.json"
    (folder / "manifest.json").write_text(json.dumps(manifest))


def grow_the_manifest(made: Site, take: Callable[[Path], Path]) -> None:
    """Let a manifest be larger than any may be."""
    os.truncate(take(made.kept(RECORD)) / "manifest.json", MAX_MANIFEST_BYTES + 1)


def grow_a_file(made: Site, take: Callable[[Path], Path]) -> None:
    """Let a file be larger than the manifest says."""
    with (take(made.model("onnx")) / "model.bin").open("ab") as file:
        file.write(b"more")


def make_it_a_folder(made: Site, take: Callable[[Path], Path]) -> None:
    path = take(made.model("onnx")) / "model.bin"
    path.unlink()
    path.mkdir()
    (path / "many.bin").write_bytes(b"many")


def list_more(made: Site, take: Callable[[Path], Path]) -> None:
    """Let a record nobody signed list more than a result."""
    folder = take(made.kept(RECORD))
    (folder / "manifest.json").unlink()
    (folder / "model.sig").unlink()
    (folder / "huge.bin").write_bytes(b"much")
    sealed = folder.with_name("sealed")
    shutil.copytree(folder, sealed)
    info = RunRecordInfo(run_name="first-run", mlflow_run_id=str(made.result.mlflow_run_id))
    made_anew = Path(seal(sealed, name=RECORD, kind="run", info=info).directory)
    shutil.rmtree(folder)
    made_anew.rename(folder)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (grow_the_manifest, "manifest.json: is of 16777217 bytes"),
        (grow_a_file, r"model.bin: is of \d+ bytes, expected a file of at most"),
        (make_it_a_folder, "model.bin: is a folder"),
        (list_more, "lists 2 files, expected run.json at most"),
    ],
)
def test_what_is_larger_than_it_may_be_is_refused_before_it_is_fetched(
    made, home, spoilt, attack, said
) -> None:
    attack(made, spoilt)
    with pytest.raises(IntegrityError, match=said):
        fetch_run(home, "first-run")


def lose_a_file(made: Site, take: Callable[[Path], Path]) -> None:
    (take(made.model("onnx")) / "model.bin").unlink()


@pytest.mark.parametrize(
    "attack",
    [
        pass_all,
        pass_all_resealed,
        swap_record,
        swap_artifact,
        flip_weights,
        flip_checkpoint,
        link_out,
        climb,
        lose_a_file,
    ],
)
def test_a_hostile_store_is_refused_and_nothing_of_it_gets_its_name(made, home, spoilt, attack) -> None:
    attack(made, spoilt)
    before = {path for path in Path(home.root).parent.rglob("*") if "here" not in path.parts}
    with pytest.raises(PtCoreError) as refused:
        fetch_run(home, "first-run")
    # What MLflow itself refuses to read is no bundle of other bytes but a failure to fetch.
    kind = StepFailed if attack in (lose_a_file, link_out) else IntegrityError
    assert isinstance(refused.value, kind), refused.value
    assert not (home.runs / "first-run").exists()
    assert SECRET not in "".join(p.read_text(errors="replace") for p in Path(home.root).rglob("*.bin"))
    assert {path for path in Path(home.root).parent.rglob("*") if "here" not in path.parts} == before
    assert not list(Path(home.root).rglob("climbed.json"))


def test_files_that_no_manifest_lists_stay_where_they_are(made, home, spoilt) -> None:
    (spoilt(made.model("onnx")) / "more.bin").write_bytes(b"more")
    fetched = fetch_run(home, "first-run")
    assert missing_bundles(fetched) == []
    assert not list(Path(home.store).rglob("more.bin"))


def test_what_was_too_large_to_go_along_stays_away(made, home, spoilt) -> None:
    folder = spoilt(made.kept("dataset"))
    shutil.rmtree(folder)
    folder.mkdir()
    fetched = fetch_run(home, "first-run")
    assert missing_bundles(fetched) == [fetched.dataset.directory]


def test_a_checkpoint_is_fetched_by_its_run(made: Site, home: Home) -> None:
    found = fetch_checkpoint(home, "runs:/first-run/checkpoint")
    assert found.digest == made.result.checkpoint.digest
    assert Path(found.directory).parent == Path(home.store)


def test_the_checkpoint_of_a_training_alone_is_the_one_that_its_signed_record_names(made, home) -> None:
    found = find_existing(home, "training")
    assert isinstance(found, Checkpoint)
    assert found.digest == made.result.checkpoint.digest
    with pytest.raises(ConfigError, match="is a training alone; its checkpoint is runs:/training/checkpoint"):
        fetch_run(home, "training")


def test_a_tag_of_mlflow_does_not_choose_the_checkpoint(made, home, spoilt) -> None:
    client, identity = MlflowClient(made.uri), made.result.mlflow_run_id
    client.set_tag(identity, "checkpoint_digest", "0" * 64)
    try:
        found = fetch_checkpoint(home, "runs:/first-run/checkpoint")
    finally:
        client.set_tag(identity, "checkpoint_digest", made.result.checkpoint.digest)
    assert found.digest == made.result.checkpoint.digest
    shutil.rmtree(spoilt(made.kept(RECORD)))
    with pytest.raises(ConfigError, match="keeps no record"):
        fetch_checkpoint(home, "runs:/first-run/checkpoint")
    made.kept(RECORD).mkdir()


def test_a_checkpoint_that_nobody_trusted_signed_is_refused(made, home, spoilt) -> None:
    (spoilt(made.kept("checkpoint")) / "model.sig").unlink()
    with pytest.raises(IntegrityError, match="not signed"):
        fetch_checkpoint(home, "runs:/first-run/checkpoint")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nobody", "no run 'nobody'"),
        ("a' OR 'b", "expected the name of a run"),
        ("../first-run", "expected the name of a run"),
        ("runs:/first-run/dataset", "expected runs:/RUN/checkpoint"),
        ("0" * 32, "no run"),
    ],
)
def test_what_names_no_run_is_said(home: Home, named: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_existing(home, named)


def test_measuring_takes_no_other_training_than_that_of_the_run(made: Site) -> None:
    settings = {"train": {"epochs": 3}, "variants": [{"name": "torch", "steps": []}]}
    config = PipelineConfig.model_validate(settings).model_dump(mode="json")
    result = made.result.model_copy(update={"config": config})
    checked = check_existing(result, "", ("efficiency.rounds=7",))
    assert checked.settings.efficiency.rounds == 7
    with pytest.raises(ConfigError, match="was built with other train"):
        check_existing(result, "", ("train.epochs=9",))
    assert result.config == config
