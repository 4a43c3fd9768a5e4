"""What a provider's request says was pushed: one record for every Git host, or why it is no push."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.webhook.answers import RequestRefused, shown
from deployments.webhook_config import Provider
from pt_core.record import Record

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MAX_LISTED_COMMITS = 2048
"""As many commits as GitHub lists; a list this long may have been cut."""
_MAX_LISTED_PATHS = 300
"""A commit that lists as many paths may have been cut."""

_PUSH_EVENTS = {
    "github": "push",
    "gitea": "push",
    "forgejo": "push",
    "gitlab-token": "Push Hook",
    "gitlab-signed": "Push Hook",
    "bitbucket": "repo:push",
    "standard": "push",
}
_PINGS = ("ping", "diagnostics:ping")


class Push(Record):
    """A push to one branch or tag."""

    repository: str
    """Full name, such as team/models."""
    ref: str
    """What was moved, such as refs/heads/main."""
    commit: str | None
    """Where to: a full commit id in lower-case hex; ``None`` for a deletion."""
    paths: tuple[str, ...] | None
    """Every path that changed; ``None`` if the request does not list them all."""
    before: str | None = None
    """Where from; ``None`` for a new branch, and where the request does not say."""
    forced: bool | None = None
    """Whether the branch was set anew, and not moved forward: commits were taken off it, or it was made; ``None`` where the
    sender does not say."""


class _Read(BaseModel):
    """What is read of a payload; the rest of it is left alone."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Commit(_Read):
    added: list[str] | None = None
    modified: list[str] | None = None
    removed: list[str] | None = None


class _FullName(_Read):
    full_name: str


class _Path(_Read):
    path_with_namespace: str


class _GitHubPush(_Read):
    """Also what Gitea and Forgejo send, without ``forced`` and with a count of the commits."""

    repository: _FullName
    ref: str
    after: str
    before: str | None = None
    created: bool = False
    deleted: bool = False
    forced: bool | None = None
    total_commits: int | None = None
    commits: list[_Commit] | None = None


class _GitLabPush(_Read):
    project: _Path
    ref: str
    after: str
    before: str | None = None
    total_commits_count: int | None = None
    commits: list[_Commit] | None = None


class _Target(_Read):
    hash: str


class _Reference(_Read):
    type: str
    name: str
    target: _Target


class _Change(_Read):
    new: _Reference | None = None
    old: _Reference | None = None
    forced: bool | None = None


class _Changes(_Read):
    changes: Annotated[list[_Change], Field(max_length=1000)]


class _BitbucketPush(_Read):
    repository: _FullName
    push: _Changes


class _StandardData(_Read):
    repository: str
    ref: str
    after: str
    before: str | None = None
    paths: list[str] | None = None


class _StandardPush(_Read):
    """Our own payload for a sender that speaks Standard Webhooks: {"type": "push", "data": {...}}."""

    data: _StandardData


def read_pushes(provider: Provider, event: str, tree: dict[str, object]) -> tuple[Push, ...] | str:
    """Return what was pushed, or why there is nothing to start.

    Raises:
        RequestRefused: the payload is not what its provider sends for a push.
    """
    if event in _PINGS:
        return "a ping: the hook works"
    if event != _PUSH_EVENTS[provider]:
        return f"the event {shown(event)} is no push"
    try:
        return tuple(_whole(push) for push in _READERS[provider](tree))
    except ValidationError as error:
        # Places only: what stands there may be anything.
        places = sorted({".".join(str(part) for part in problem["loc"]) for problem in error.errors()})
        raise RequestRefused(
            f"the payload is no {provider} push: see {shown(', '.join(places[:5]))}"
        ) from None


def _whole(push: Push) -> Push:
    if push.before is not None and not _COMMIT.fullmatch(push.before):
        push = push.model_copy(update={"before": None})
    elif push.before is not None and set(push.before) == {"0"}:
        # A new branch also holds what its commits do not list.
        push = push.model_copy(update={"before": None, "paths": None, "forced": True})
    if push.commit is None or set(push.commit) == {"0"}:
        return push.model_copy(update={"commit": None})
    if not _COMMIT.fullmatch(push.commit):
        raise RequestRefused(
            f"the pushed commit {shown(push.commit)} is no commit id: expected 40 or 64 lower-case hex digits"
        )
    return push


def _from_github(tree: dict[str, object]) -> Iterable[Push]:
    payload = _GitHubPush.model_validate(tree)
    commits = payload.commits or ()
    # A forced or a new branch also changes what its commits do not list.
    known = not (payload.forced or payload.created) and payload.total_commits in (None, len(commits))
    yield Push(
        repository=payload.repository.full_name,
        ref=payload.ref,
        commit=None if payload.deleted else payload.after,
        paths=_all_paths(commits) if known else None,
        before=payload.before,
        forced=True if payload.created else payload.forced,
    )


def _from_gitlab(tree: dict[str, object]) -> Iterable[Push]:
    payload = _GitLabPush.model_validate(tree)
    commits = payload.commits or ()
    known = payload.total_commits_count == len(commits)
    yield Push(
        repository=payload.project.path_with_namespace,
        ref=payload.ref,
        commit=payload.after,
        paths=_all_paths(commits) if known else None,
        before=payload.before,
    )


def _from_bitbucket(tree: dict[str, object]) -> Iterable[Push]:
    payload = _BitbucketPush.model_validate(tree)
    for change in payload.push.changes:
        moved = change.new or change.old
        if moved is not None:
            yield Push(
                repository=payload.repository.full_name,
                ref=("refs/heads/" if moved.type == "branch" else "refs/tags/") + moved.name,
                commit=change.new.target.hash if change.new else None,
                paths=None,
                before=change.old.target.hash if change.old else None,
                forced=change.forced if change.old else True,
            )


def _from_standard(tree: dict[str, object]) -> Iterable[Push]:
    data = _StandardPush.model_validate(tree).data
    yield Push(
        repository=data.repository,
        ref=data.ref,
        commit=data.after,
        paths=None if data.paths is None else tuple(data.paths),
        before=data.before,
    )


def _all_paths(commits: Sequence[_Commit]) -> tuple[str, ...] | None:
    """Return every path of the commits, or ``None`` if some may be missing."""
    if not 0 < len(commits) < _MAX_LISTED_COMMITS:
        return None
    found: set[str] = set()
    for commit in commits:
        if commit.added is None or commit.modified is None or commit.removed is None:
            return None
        paths = (*commit.added, *commit.modified, *commit.removed)
        if len(paths) >= _MAX_LISTED_PATHS:
            return None
        found.update(paths)
    return tuple(sorted(found))


_READERS = {
    "github": _from_github,
    "gitea": _from_github,
    "forgejo": _from_github,
    "gitlab-token": _from_gitlab,
    "gitlab-signed": _from_gitlab,
    "bitbucket": _from_bitbucket,
    "standard": _from_standard,
}
