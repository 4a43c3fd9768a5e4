"""Whether a push is one that its repository's settings ask for."""

from __future__ import annotations

from collections.abc import Sequence

from pathspec import GitIgnoreSpec

from deployments.webhook.answers import shown
from deployments.webhook.payloads import Push
from deployments.webhook_config import Repository

_MAX_REASONS = 3
"""A Bitbucket push may move a thousand branches and tags."""


def choose(pushes: Sequence[Push], repository: Repository) -> Push | str:
    """Return the push that shall start a run, or why none does."""
    reasons = [why_not(push, repository) for push in pushes]
    for push, reason in zip(pushes, reasons, strict=True):
        if reason is None:
            return push
    told = list(dict.fromkeys(reason for reason in reasons if reason))
    return "; ".join(told[:_MAX_REASONS]) or "it moves no branch"


def why_not(push: Push, repository: Repository) -> str | None:
    """Return why a push starts nothing, or ``None``.

    Names are compared to the letter: a branch that only looks like the configured one is another branch.
    """
    if push.repository != repository.name:
        return f"the repository {shown(push.repository)} is not the one of this address, {repository.name}"
    if push.ref.startswith("refs/tags/"):
        return f"{shown(push.ref)} is a tag"
    if push.ref != f"refs/heads/{repository.branch}":
        return f"{shown(push.ref)} is not the branch {shown(repository.branch)}"
    if push.commit is None:
        return f"the branch {shown(repository.branch)} was deleted"
    if repository.paths and push.paths is not None:
        patterns = GitIgnoreSpec.from_lines(repository.paths)
        if not any(patterns.match_file(path) for path in push.paths):
            return f"none of the {len(push.paths)} changed paths is one of {', '.join(repository.paths)}"
    return None
