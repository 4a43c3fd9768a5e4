"""pt-pipeline keys, and what verify says to a stranger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import run_results
from typer.testing import CliRunner, Result

from flows.__main__ import app
from pt_core.keys import keys_of
from pt_core.release.release import make_release
from pt_core.release.requests import ReleaseRequest


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_keys_shows_the_fingerprint_and_the_paths_and_nothing_secret(home: Path) -> None:
    answer = call("keys")
    assert answer.exit_code == 0, answer.output
    document = json.loads(call("keys", "--json").stdout)
    assert document["fingerprint"] in answer.stdout
    assert document["signing_key"] == str(home / "keys" / "signing.pem")
    assert document["signing_key_is_trusted"] is True
    secret = (home / "keys" / "signing.pem").read_text().splitlines()[1]
    assert secret not in answer.stdout + json.dumps(document)


def test_a_key_that_the_trusted_folder_lacks_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PT_PIPELINE_TRUSTED_KEYS", str(tmp_path / "elsewhere"))
    assert "The signing key is not trusted here" in call("keys").stdout


def test_a_release_of_another_home_is_refused_until_its_key_is_trusted(home: Path, tmp_path: Path) -> None:
    other = keys_of(tmp_path / "other")
    result = run_results.make_run_result(tmp_path / "other")
    made = make_release(ReleaseRequest(result=result, store=str(tmp_path / "releases"), signing_keys=other))
    image = tmp_path / "x.npy"
    image.write_bytes(b"not read before the release is verified")
    refused = call("predict", made.directory, str(image))
    assert refused.exit_code == 1
    assert "none of the 0 trusted" in refused.output
    assert f"--trust-unsigned {Path(made.directory).name}" in refused.output
    (public,) = Path(other.trusted).glob("*.pub")
    assert call("keys", "trust", str(public)).exit_code == 0
    # Its model is made up, so it is the input's or the model's turn to be refused now, not the signature's.
    assert "trusted in" not in call("predict", made.directory, str(image)).output


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("not a key", "no public key in PEM"), ("private", "private key")],
)
def test_what_is_no_public_key_is_refused_with_2(
    home: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    call("keys")
    file = tmp_path / "key.pub"
    if content == "private":
        shutil.copyfile(home / "keys" / "signing.pem", file)
    elif content is not None:
        file.write_text(content)
    answer = call("keys", "trust", str(file))
    assert answer.exit_code == 2
    assert said in " ".join(answer.output.split())
