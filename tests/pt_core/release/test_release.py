"""A release: the judged bytes unchanged, everything known of them beside, and nothing of it changed unseen."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import run_results

from pt_core.artifacts.artifact import open_artifact
from pt_core.bundle import MANIFEST
from pt_core.decision.result import RunResult
from pt_core.decision.verdict import Verdict
from pt_core.errors import ConfigError, IntegrityError
from pt_core.inference.requests import VerifyRequest
from pt_core.keys import Keys, Trust, keys_of
from pt_core.manifest import SIGNATURE, Manifest, describe_file
from pt_core.release.lineage import Lineage
from pt_core.release.release import make_release, open_for_use, open_release
from pt_core.release.requests import CARD, LINEAGE, SERVING, VERDICT, Release, ReleaseRequest
from pt_core.release.serving import Serving
from pt_core.release.verify import verify
from pt_core.signing import sign


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> RunResult:
    return run_results.make_run_result(home)


@pytest.fixture(scope="module")
def keys(home: Path) -> Keys:
    return keys_of(home)


@pytest.fixture(scope="module")
def trust(keys: Keys) -> Trust:
    return Trust(trusted_keys=keys.trusted)


@pytest.fixture(scope="module")
def released(result: RunResult, home: Path, keys: Keys) -> Release:
    return release(result, home / "releases", keys)


def release(result: RunResult, store: Path, keys: Keys, variant: str | None = None) -> Release:
    return make_release(ReleaseRequest(result=result, store=str(store), signing_keys=keys, variant=variant))


def files_of(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_the_bytes_that_were_judged_are_the_bytes_that_ship(result: RunResult, released: Release) -> None:
    judged = next(variant.artifact for variant in result.variants if variant.name == result.winner)
    inside = Path(released.directory) / "artifact"
    assert open_artifact(inside).digest == judged.digest == released.artifact_digest
    assert files_of(inside) == files_of(Path(judged.directory))
    for name in files_of(inside):
        assert (inside / name).read_bytes() == (Path(judged.directory) / name).read_bytes()


def test_a_release_opens_as_it_was_made_and_is_made_once(
    result: RunResult, released: Release, home: Path, keys: Keys, trust: Trust
) -> None:
    assert open_release(Path(released.directory), trust=trust) == released
    assert release(result, home / "releases", keys) == released
    assert [path.name for path in (home / "releases").iterdir()] == [Path(released.directory).name]
    assert open_for_use(Path(released.directory), trust=trust) == released.artifact
    assert files_of(Path(released.directory)) == sorted(
        [MANIFEST, SIGNATURE, CARD, LINEAGE, SERVING, VERDICT, "artifact/manifest.json", "artifact/model.bin"]
    )


def test_its_records_say_what_the_run_said(result: RunResult, released: Release) -> None:
    folder = Path(released.directory)
    winner = next(variant for variant in result.variants if variant.name == result.winner)
    assert Verdict.from_json((folder / VERDICT).read_bytes()) == winner.verdict
    lineage = Lineage.from_json((folder / LINEAGE).read_bytes())
    assert lineage.checkpoint_digest == lineage.parent_digest == result.checkpoint.digest
    assert lineage.data_fingerprint == result.dataset.fingerprint
    assert lineage.git_commit == run_results.ENVIRONMENT.git_commit
    assert lineage.split_ids_sha256["test"] == result.dataset.split("test").ids_sha256
    serving = Serving.from_json((folder / SERVING).read_bytes())
    assert serving.labels == result.dataset.labels
    assert (serving.inputs[0].shape, serving.inputs[0].range) == (("batch", 1, 8, 8), (0.0, 1.0))
    assert serving.outputs[0].shape == ("batch", 10)
    assert serving.requirements == ("onnxruntime==1.32.0",)
    assert all((folder / name).is_file() for name in serving.payload)


def test_the_card_says_what_was_not_measured_no_less_than_what_was(released: Release) -> None:
    card = (Path(released.directory) / CARD).read_text()
    for said in (
        "all 2 rules hold: accuracy 0.9889",
        "| accuracy/accuracy | at_least | 0.95 |  | 0.9889 | 0.9689 to 1.0000 |",
        "- `accuracy/top_k_accuracy`: no reason was recorded",
        "- `efficiency/best_batch_size`: no sweep over batch sizes was made",
        "No slice of the data was measured apart",
        "Training was not repeated with other seeds",
        "Robust means against fgsm, gaussian-noise at the strengths above, and against nothing else",
        "Example CPU @ 2.00GHz",
        "*To be written by the team that ships it",
    ):
        assert said in card


def test_the_card_names_the_reason_of_what_is_undefined_and_every_rule_that_did_not_decide(
    result: RunResult, home: Path, keys: Keys
) -> None:
    chosen = next(variant for variant in result.variants if variant.name == "onnx-int8-dynamic")
    assert chosen.evaluation is not None
    undefined = {"metric": "accuracy/roc_auc_macro", "reason": "<b>class 3</b> has\nno samples"}
    rows = [one.model_copy(update={"roc_auc": None}) for one in chosen.evaluation.accuracy.per_class[:1]]
    accuracy = type(chosen.evaluation.accuracy).model_validate(
        chosen.evaluation.accuracy.model_dump()
        | {"roc_auc_macro": None, "undefined": [undefined], "per_class": [one.model_dump() for one in rows]}
    )
    unmeasured = chosen.verdict.checks[0].model_copy(update={"state": "not measured", "observed": None})
    metrics = {name: value for name, value in chosen.metrics.items() if name != "accuracy/roc_auc_macro"}
    changed = chosen.model_copy(
        update={
            "evaluation": chosen.evaluation.model_copy(update={"accuracy": accuracy, "robustness": ()}),
            "efficiency": None,
            "problem": "it could not be timed",
            "metrics": {name: v for name, v in metrics.items() if not name.startswith("efficiency/l")},
            "verdict": chosen.verdict.model_copy(update={"state": "not measured", "checks": (unmeasured,)}),
        }
    )
    others = tuple(changed if variant.name == chosen.name else variant for variant in result.variants)
    made = release(result.model_copy(update={"variants": others}), home / "forced", keys, chosen.name)
    assert made.verdict == "not measured"
    card = (Path(made.directory) / CARD).read_text()
    for said in (
        "- `accuracy/roc_auc_macro`: &lt;b>class 3&lt;/b> has no samples",
        "- `class 0: roc_auc`: it has no test sample, or all are of it",
        "- `accuracy/accuracy at_least 0.95`: not measured",
        "- `efficiency/latency_ms_p50`: not timed: it could not be timed",
        "Robustness was not measured at all",
        "| layers kept in floating point | fc2 |",
        "none: nothing was calibrated",
    ):
        assert said in card


def test_what_was_not_built_or_did_not_win_is_no_release(
    result: RunResult, tmp_path: Path, keys: Keys
) -> None:
    with pytest.raises(ConfigError, match="int8-dynamic was not built: int8-dynamic: no result after 120 s"):
        release(result, tmp_path, keys, "int8-dynamic")
    with pytest.raises(ConfigError, match="no variant 'onx'; expected one of torch, torchscript"):
        release(result, tmp_path, keys, "onx")
    with pytest.raises(ConfigError, match="no variant won, so there is nothing to release"):
        release(result.model_copy(update={"winner": None}), tmp_path, keys)
    assert not list(tmp_path.iterdir())


def test_an_artifact_that_changed_since_it_was_judged_is_no_release(tmp_path: Path) -> None:
    result = run_results.make_run_result(tmp_path)
    artifact = next(variant.artifact for variant in result.variants if variant.name == result.winner)
    (Path(artifact.directory) / "model.bin").write_bytes(b"x")
    with pytest.raises(IntegrityError, match="1 problem"):
        release(result, tmp_path / "releases", keys_of(tmp_path))


def remake(folder: Path) -> None:
    """Do what someone does who can write everything but has no trusted key: change the model and every manifest."""
    (folder / "artifact" / "model.bin").write_bytes(b"another model")
    for manifest in (folder / "artifact" / MANIFEST, folder / MANIFEST):
        _rewrite(manifest)


def _rewrite(path: Path) -> None:
    old = Manifest.from_json(path.read_bytes())
    info = dict(old.info)
    if "artifact_digest" in info:
        info["artifact_digest"] = open_artifact(path.parent / "artifact").digest
    files = tuple(describe_file(path.parent, path.parent / entry.path) for entry in old.files)
    new = old.model_copy(update={"files": files, "info": info, "checksum": ""})
    path.write_text(new.model_copy(update={"checksum": new.computed_checksum()}).to_json())


def resign(folder: Path) -> None:
    remake(folder)
    sign(folder, keys_of(folder.parent / "attacker"))


def replace_by_artifact(folder: Path) -> None:
    kept = shutil.move(folder / "artifact", folder.parent / "kept")
    shutil.rmtree(folder)
    shutil.move(kept, folder)


def link_signature(folder: Path) -> None:
    kept = (folder / SIGNATURE).rename(folder.parent / "kept.sig")
    (folder / SIGNATURE).symlink_to(kept)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an added file": (
        lambda f: (f / "artifact" / "x.so").write_text("x"),
        "artifact/x.so: not in the manifest",
    ),
    "a missing file": (lambda f: (f / CARD).unlink(), "MODEL_CARD.md: missing"),
    "a renamed file": (lambda f: (f / CARD).rename(f / "README.md"), "README.md: not in the manifest"),
    "a link": (lambda f: (f / "link").symlink_to("/etc/passwd"), "link: not a plain file"),
    "a signature that is a link": (link_signature, "model.sig: not a plain file"),
    "a signature taken away": (lambda f: (f / SIGNATURE).unlink(), "not signed, it has no model.sig"),
    "a model, and manifests made to fit": (remake, "model.sig does not fit the files.*Hash mismatch"),
    "the same, signed by another key": (resign, "none of the 1 trusted"),
    "an artifact in its place": (replace_by_artifact, "expected the kind release, found artifact"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_release_is_refused_by_name(
    released: Release, trust: Trust, tmp_path: Path, change: str
) -> None:
    act, said = CHANGES[change]
    folder = shutil.copytree(released.directory, tmp_path / "release")
    assert open_release(folder, trust=trust).digest == released.digest
    act(folder)
    with pytest.raises(IntegrityError) as refused:
        open_release(folder, trust=trust)
    assert re.search(said, str(refused.value), re.DOTALL), str(refused.value)


def test_the_signature_of_another_release_is_refused(
    result: RunResult, released: Release, home: Path, keys: Keys, trust: Trust, tmp_path: Path
) -> None:
    other = release(result, home / "others", keys, "torch")
    folder = shutil.copytree(released.directory, tmp_path / "release")
    shutil.copyfile(Path(other.directory) / SIGNATURE, folder / SIGNATURE)
    with pytest.raises(IntegrityError, match=r"model\.sig does not fit the files"):
        open_release(folder, trust=trust)


def test_the_user_may_vouch_for_a_release_by_its_name_or_its_digest(
    released: Release, trust: Trust, tmp_path: Path
) -> None:
    name = Path(released.directory).name
    folder = shutil.copytree(released.directory, tmp_path / name)
    (folder / SIGNATURE).unlink()
    for entry in (name, released.digest, released.digest[:12]):
        opened = open_release(folder, trust=trust.accepting(entry))
        assert (opened.digest, opened.key) == (released.digest, None)
    remake(folder)
    # The name says another digest than the bytes have.
    for entry in (name, released.digest, "release", released.digest[:11]):
        with pytest.raises(IntegrityError, match=r"--trust-unsigned [0-9a-f]{12}$"):
            open_release(folder, trust=trust.accepting(entry))


def test_an_artifact_inside_a_release_points_at_the_release(
    result: RunResult, home: Path, keys: Keys, trust: Trust
) -> None:
    made = release(result, home / "programs", keys, "torchscript")
    with pytest.raises(
        IntegrityError, match=f"whose folder to give.*--trust-unsigned {made.artifact_digest[:12]}$"
    ):
        open_for_use(Path(made.directory) / "artifact", trust=trust)
    assert open_for_use(Path(made.directory), trust=trust) == made.artifact


def flip_campaign(released: Release, trust: Trust, folder: Path, num_flips: int) -> list[str]:
    """Flip single bits anywhere in a release; return where one was not noticed."""
    shutil.copytree(released.directory, folder)
    generator = random.Random(0)
    names = [name for name in files_of(folder) if name != SIGNATURE]
    unnoticed = []
    for _ in range(num_flips):
        path = folder / generator.choice(names)
        content = path.read_bytes()
        position = generator.randrange(len(content))
        changed = bytearray(content)
        changed[position] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        try:
            open_release(folder, trust=trust)
            unnoticed.append(f"{path.name}:{position}")
        except IntegrityError:
            pass
        path.write_bytes(content)
    assert open_release(folder, trust=trust).digest == released.digest
    return unnoticed


def test_no_flipped_bit_of_a_release_goes_unnoticed(released: Release, trust: Trust, tmp_path: Path) -> None:
    assert flip_campaign(released, trust, tmp_path / "release", 60) == []


@pytest.mark.campaign
def test_none_of_thousands_of_flipped_bits_goes_unnoticed(
    released: Release, trust: Trust, tmp_path: Path
) -> None:
    assert flip_campaign(released, trust, tmp_path / "release", 5000) == []


def test_a_release_verifies_whole_or_says_what_is_wrong_with_its_artifact(
    released: Release, trust: Trust
) -> None:
    # The artifact of this made-up run holds no golden outputs, which verifying the release must not pass over.
    with pytest.raises(IntegrityError, match="artifact"):
        verify(VerifyRequest(directory=released.directory, trust=trust))
    assert json.loads((Path(released.directory) / MANIFEST).read_text())["kind"] == "release"
