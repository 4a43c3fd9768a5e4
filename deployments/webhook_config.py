"""What the webhook receiver listens for: its settings, read from a strict YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pathspec import GitIgnoreSpec
from pydantic import Field, field_validator, model_validator

from flows.load import read_tree, validate
from pt_core.errors import ConfigError
from pt_core.files import write_text_atomically
from pt_core.record import Record

Provider = Literal["github", "gitlab-token", "gitlab-signed", "gitea", "forgejo", "bitbucket", "standard"]
"""Who sends, which fixes the one way in which its requests are signed and written."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+")
_ADDRESS = re.compile(
    r"(https?|ssh|git|file)://[^\s{}`\\?#]+|[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:[A-Za-z0-9_./~-]+"
)
_PASSWORD = re.compile(r"[a-z]+://[^/@]*:[^/@]*@|https?://[^/@]+@")

_TELLS_FORCED = ("github", "standard")
"""Whose pushes say when they may have changed more than they list."""

TEMPLATE = """\
# The repositories whose pushes start a run. Each is answered at /hooks/<name>, for example
# http://127.0.0.1:8090/hooks/team/models, with the content type application/json and its push events.
#
# repositories:
#   - name: team/models                # as the Git host writes it; the last part of the hook's address
#     provider: github                 # github, gitlab-token, gitlab-signed, gitea, forgejo, bitbucket, standard
#     clone_url: https://github.com/team/models.git
#     branch: main                     # this branch, to the letter
#     paths: []                        # run only if one of these changed, as in .gitignore; empty: always
#     config: pipeline.yaml            # the configuration to run, in the pushed commit
#     deployment: retrain/retrain-on-push
#     secret_file: null                # a secret of this repository's own; the receiver's if left out
repositories: []
"""


class Repository(Record):
    """One repository, who sends its pushes, and what they start."""

    name: str
    """Full name as the Git host writes it, such as team/models; the last part of the hook's address."""
    provider: Provider
    """The Git host, which fixes how a request is signed: no other signature is looked at."""
    clone_url: str
    """Where the worker fetches the pushed commit; an address in a request is never used."""
    branch: str = "main"
    """The branch whose pushes count, to the letter."""
    paths: tuple[str, ...] = ()
    """Patterns as in .gitignore: a push that changed none of them starts nothing; empty for any. Not at Bitbucket, which
    names no path; at GitLab, Gitea and Forgejo, which do not say that a push was forced, with protected: true."""
    protected: bool = False
    """Whether the host refuses forced pushes to the branch, as GitLab does with a default branch."""
    config: str = "pipeline.yaml"
    """The configuration to run, as a path in the pushed commit."""
    deployment: str = "retrain/retrain-on-push"
    """The Prefect deployment to start, as flow/deployment."""
    secret_file: str | None = None
    """File with this repository's own secret; relative to the configuration."""

    @field_validator("provider", mode="before")
    @classmethod
    def _which_gitlab(cls, provider: object) -> object:
        if provider == "gitlab":
            raise ValueError(
                "gitlab sends a secret token or a signature; say which: gitlab-token, or gitlab-signed, which is stronger"
            )
        return provider

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
            raise ValueError(
                f"{name!r} is no full name of a repository; expected owner/name, e.g. team/models"
            )
        return name

    @field_validator("clone_url")
    @classmethod
    def _clone_url_without_surprises(cls, url: str) -> str:
        # It becomes a Prefect job variable: anybody who sees the run sees it, and Prefect fills in {{ }}.
        if _PASSWORD.match(url):
            raise ValueError(
                "holds a user or password, which everybody who sees the run would see; "
                "give the worker a Git credential helper or an SSH key instead"
            )
        if not _ADDRESS.fullmatch(url):
            raise ValueError(f"{url!r} is no address to clone; expected https://, ssh://, git:// or file://")
        return url

    @field_validator("branch", "config")
    @classmethod
    def _plain_text(cls, text: str) -> str:
        if not text or not text.isprintable() or text.startswith("-") or "{{" in text:
            raise ValueError(f"{text!a} is not a name of one line")
        return text

    @field_validator("branch")
    @classmethod
    def _short_name(cls, branch: str) -> str:
        if branch.startswith("refs/"):
            raise ValueError(f"{branch!r} would never match; expected the branch's name alone, e.g. main")
        return branch

    @field_validator("paths")
    @classmethod
    def _patterns_that_match(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        dead = [one for one in patterns if not one.strip("/ ") or one.startswith(("#", "./", "../"))]
        if dead or (patterns and all(one.startswith("!") for one in patterns)):
            raise ValueError(
                f"{dead or list(patterns)} would never match; "
                "expected patterns as in .gitignore, from the top of the repository, e.g. train/ or *.yaml"
            )
        GitIgnoreSpec.from_lines(patterns)
        return patterns

    @field_validator("config")
    @classmethod
    def _inside_the_checkout(cls, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} leaves the checkout; expected a path inside the pushed commit")
        return path

    @field_validator("deployment")
    @classmethod
    def _flow_and_deployment(cls, name: str) -> str:
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
            raise ValueError(
                f"{name!r} is no deployment; expected flow/deployment, e.g. retrain/retrain-on-push"
            )
        return name

    @model_validator(mode="after")
    def _paths_that_can_be_told(self) -> Self:
        if self.paths and self.provider == "bitbucket":
            raise ValueError("bitbucket does not say which paths a push changed; leave paths empty")
        if self.paths and self.provider not in _TELLS_FORCED and not self.protected:
            raise ValueError(
                f"{self.provider} does not say that a push was forced, which may change more than it lists; protect the "
                "branch from forced pushes there and set protected: true, or leave paths empty"
            )
        return self


class Limits(Record):
    """How much one request may take before the receiver closes it."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=100_000_000)] = 25_000_000
    """Largest body; GitHub sends up to 25 MB."""
    max_buffered_bytes: Annotated[int, Field(ge=1024)] = 100_000_000
    """Most bytes of all unfinished bodies together; over it, the largest is dropped."""
    header_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Time from the connection to the end of the headers."""
    body_seconds: Annotated[float, Field(gt=0, le=300)] = 20.0
    """Time from the headers to the end of the body."""
    max_connections: Annotated[int, Field(ge=2, le=10_000)] = 128
    """Most connections at once; over it, the oldest unfinished one of the busiest peer is dropped."""


class WebhookConfig(Record):
    """The repositories to listen for, and the limits of a request."""

    repositories: tuple[Repository, ...]
    """The repositories whose pushes start a run; each is answered at /hooks/<name>."""
    limits: Limits = Limits()
    """How much one request may take."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [repository.name.casefold() for repository in self.repositories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"repositories: {', '.join(twice)} is there more than once; one entry each")
        return self


def read_config(path: Path) -> WebhookConfig:
    """Read the receiver's settings.

    Raises:
        ConfigError: the file cannot be read or is not valid, with one line for each problem.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; pt-pipeline up writes one to fill in")
    return validate(read_tree(path), WebhookConfig, where=path.name)


def ensure(home: Path) -> Path:
    """Return the path of a home's settings for the receiver; a commented template is written if there is none."""
    path = home / "webhook.yaml"
    if not path.exists():
        write_text_atomically(path, TEMPLATE)
    return path
