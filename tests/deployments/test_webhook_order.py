"""Which push of a branch counts as late, by what each Git host says of where the branch was before."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import hostile_hooks
import pytest
import yaml
from hostile_hooks import commit

from deployments.webhook.answers import Answer
from deployments.webhook.journal_file import open_journal
from deployments.webhook.receiver import Admitted, Receiver, admit, receive
from deployments.webhook.secret_files import read_secrets
from deployments.webhook_config import WebhookConfig

Send = Callable[..., str]
ZERO = "0" * 40
SAYS_FORCED = ("github", "bitbucket")
SAYS_NOTHING = ("gitea", "forgejo", "gitlab-token", "gitlab-signed", "standard")


@pytest.fixture
def send(tmp_path: Path, provider: str) -> Send:
    """Sends the push of a commit as its host does, to a receiver of the test's own; gives what was answered."""
    (tmp_path / "secret").write_text(hostile_hooks.SECRET)
    (tmp_path / "standard").write_text(hostile_hooks.STANDARD_SECRET)
    config = WebhookConfig.model_validate(yaml.safe_load(hostile_hooks.CONFIG))
    receiver = Receiver(
        repositories={one.name: one for one in config.repositories},
        secrets=read_secrets(config, base=tmp_path, secret_file=tmp_path / "secret"),
        journal=open_journal(tmp_path),
        wake=threading.Event(),
    )
    sent: list[str] = []

    def one(number: int, before: str | None, *, forced: bool = False) -> str:
        sent.append(f"d-{len(sent)}")
        payload = moved(provider, commit(number), before, forced=forced) | {"number": len(sent)}
        request = hostile_hooks.signed(provider, json.dumps(payload).encode(), delivery=sent[-1])
        headers = [(name.lower(), value) for name, value in request.headers]
        admitted = admit(receiver, b"POST", f"/hooks/team/{provider}".encode(), headers)
        assert isinstance(admitted, Admitted)
        answer = receive(receiver, admitted, request.body)
        assert isinstance(answer, Answer)
        return answer.result

    return one


def moved(provider: str, sha: str, before: str | None, *, forced: bool) -> dict:
    """Return the host's payload for a branch that was moved; ``before`` is zeros for a new one, ``None`` where unsaid."""
    payload = hostile_hooks.payload(provider, 0, sha=sha)
    is_new = before == ZERO
    if provider == "bitbucket":
        old = {"type": "branch", "name": "main", "target": {"hash": before}}
        payload["push"]["changes"][0] |= {"old": None if is_new else old, "created": is_new, "forced": forced}
        return payload
    where = payload["data"] if provider == "standard" else payload
    where |= {} if before is None else {"before": before}
    return payload | ({"created": is_new, "forced": forced} if provider == "github" else {})


@pytest.mark.parametrize("provider", hostile_hooks.ALL)
def test_a_branch_that_is_made_again_at_an_older_commit_is_run_and_so_is_the_next_push(send: Send) -> None:
    first = [send(1, ZERO), send(2, commit(1)), send(3, commit(2))]
    assert first == ["accepted"] * 3
    assert send(1, ZERO) == "accepted"
    assert send(2, commit(1)) == "accepted", "it begins where the branch was set back to"


@pytest.mark.parametrize("provider", [*SAYS_FORCED, *SAYS_NOTHING])
@pytest.mark.parametrize("last", [3, 9], ids=["known", "never heard of"])
def test_a_branch_that_is_set_back_is_run_wherever_it_was(send: Send, provider: str, last: int) -> None:
    assert [send(2, commit(1)), send(3, commit(2))] == ["accepted"] * 2
    assert send(2, commit(last), forced=provider in SAYS_FORCED) == "accepted"
    assert send(3, commit(2)) == "accepted", "the same way once more"


@pytest.mark.parametrize("provider", ["gitea", "gitlab-token"])
def test_a_commit_that_was_heard_of_after_the_push_on_top_does_not_precede_it(send: Send) -> None:
    # What was pushed between 2 and 5 changed no path that counts.
    assert [send(1, commit(0)), send(2, commit(1)), send(5, commit(4))] == ["accepted"] * 3
    assert send(1, commit(5)) == "accepted"


@pytest.mark.parametrize("provider", hostile_hooks.ALL)
def test_a_push_that_comes_after_the_one_on_top_of_it_is_late(send: Send) -> None:
    assert [send(1, ZERO), send(3, commit(2))] == ["accepted"] * 2
    assert send(2, commit(1)) == "ignored"


@pytest.mark.parametrize("provider", SAYS_FORCED)
def test_a_host_that_says_that_nothing_was_forced_is_believed(send: Send) -> None:
    assert send(3, commit(2)) == "accepted"
    assert send(2, commit(9), forced=False) == "ignored"


@pytest.mark.parametrize("provider", ["github", "gitea", "gitlab-signed", "standard"])
def test_where_nobody_says_where_the_branch_was_a_push_with_one_on_top_is_late(send: Send) -> None:
    assert send(3, commit(2)) == "accepted"
    assert send(2, None) == "ignored"
