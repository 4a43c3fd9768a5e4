"""The settings of the receiver: what is refused, and why one reads it at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deployments.webhook.secret_files import SECRET_VARIABLE, read_secrets
from deployments.webhook_config import WebhookConfig, ensure, read_config
from pt_core.errors import ConfigError

GOOD = {"name": "team/models", "provider": "github", "clone_url": "https://git.example/team/models.git"}
SECRET = "a-secret-of-sixteen-bytes-and-more"


def config(tmp_path: Path, *repositories: dict[str, object]) -> WebhookConfig:
    import yaml

    path = tmp_path / "webhook.yaml"
    path.write_text(yaml.safe_dump({"repositories": list(repositories)}))
    return read_config(path)


def test_the_settings_that_up_writes_are_valid_and_name_no_repository(tmp_path: Path) -> None:
    path = ensure(tmp_path)
    assert read_config(path).repositories == ()
    path.write_text(path.read_text().replace("repositories: []", "repositories: [ ]"))
    assert ensure(tmp_path).read_text().endswith("[ ]\n"), "one that is there is left alone"


def test_the_example_in_the_settings_is_valid_once_its_comment_signs_are_gone(tmp_path: Path) -> None:
    lines = ensure(tmp_path).read_text().splitlines()
    example = [line.removeprefix("# ") for line in lines if line.startswith(("# repositories:", "#   "))]
    assert len(example) == 9
    (tmp_path / "example.yaml").write_text("\n".join(example))
    assert read_config(tmp_path / "example.yaml").repositories[0].name == "team/models"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"provider": "gitlab"}, "say which: gitlab-token"),
        ({"name": "models"}, "owner/name"),
        ({"name": "../models"}, "owner/name"),
        ({"clone_url": "https://user:pass@git.example/x.git"}, "credential helper"),
        ({"clone_url": "https://token@git.example/x.git"}, "credential helper"),
        ({"clone_url": "ext::sh -c id"}, "no address to clone"),
        ({"clone_url": "--upload-pack=id"}, "no address to clone"),
        ({"clone_url": "https://git.example/{{ prefect.blocks.secret.x }}"}, "no address to clone"),
        ({"config": "/etc/passwd"}, "leaves the checkout"),
        ({"config": "a/../../b.yaml"}, "leaves the checkout"),
        ({"branch": "main\n"}, "one line"),
        ({"deployment": "retrain"}, "flow/deployment"),
        ({"provider": "bitbucket", "paths": ["src/"], "protected": True}, "leave paths empty"),
        ({"provider": "gitea", "paths": ["src/"]}, "set protected: true"),
        ({"provider": "gitlab-token", "paths": ["src/"]}, "set protected: true"),
        ({"paths": ["./train"]}, "would never match"),
        ({"paths": ["train/", "#x"]}, "would never match"),
        ({"paths": [""]}, "would never match"),
        ({"paths": ["!train/"]}, "would never match"),
        ({"branch": "refs/heads/main"}, "would never match"),
        ({"brunch": "main"}, "did you mean branch"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_a_remedy(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, {**GOOD, **change})
    assert said in str(caught.value)


def test_a_repository_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than once"):
        config(tmp_path, GOOD, {**GOOD, "name": "Team/Models"})


def test_without_a_secret_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path, GOOD)
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="no webhook secret"):
        read_secrets(settings, base=tmp_path, secret_file=None)
    with pytest.raises(ConfigError, match="no webhook secret"):
        read_secrets(WebhookConfig(repositories=()), base=tmp_path, secret_file=None)
    for content, said in (("", "0 webhook secrets"), ("\n \n", "0 webhook secrets"), ("short", "5 bytes")):
        (tmp_path / "secret").write_text(content)
        with pytest.raises(ConfigError, match=said) as caught:
            read_secrets(settings, base=tmp_path, secret_file=tmp_path / "secret")
        assert "\n" not in str(caught.value)
        assert "short" not in str(caught.value), "a secret is never repeated"


def test_a_secret_in_the_environment_is_taken_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    found = read_secrets(config(tmp_path, GOOD), base=tmp_path, secret_file=None)
    assert found == {"team/models": (SECRET.encode(),)}
    assert SECRET_VARIABLE not in os.environ


def test_two_secrets_that_differ_are_refused_and_hosts_that_sign_plainly_take_the_text_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    (tmp_path / "secret").write_text(made + "\n")
    settings = config(tmp_path, GOOD)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with pytest.raises(ConfigError, match="different webhook secrets"):
        read_secrets(settings, base=tmp_path, secret_file=tmp_path / "secret")
    monkeypatch.setenv(SECRET_VARIABLE, made)
    found = read_secrets(settings, base=tmp_path, secret_file=tmp_path / "secret")
    assert found == {"team/models": (made.encode(),)}


def test_a_repository_may_have_a_secret_of_its_own_and_standard_webhooks_one_of_its_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    own = {**GOOD, "provider": "gitlab-signed", "secret_file": "own"}
    (tmp_path / "own").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    found = read_secrets(config(tmp_path, own), base=tmp_path, secret_file=None)
    assert [len(secret) for secret in found["team/models"]] == [24]
    for content in (SECRET, "whsec_", "whsec_***", "xwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        (tmp_path / "own").write_text(content)
        with pytest.raises(ConfigError, match="whsec_<base64>"):
            read_secrets(config(tmp_path, own), base=tmp_path, secret_file=None)


def test_the_journal_is_nobody_elses_to_read(tmp_path: Path) -> None:
    from deployments.webhook.journal_file import open_journal

    open_journal(tmp_path / "webhooks")
    assert stat.S_IMODE((tmp_path / "webhooks").stat().st_mode) == 0o700
