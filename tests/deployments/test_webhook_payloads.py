"""What each Git host's request says, and which pushes start a run."""

from __future__ import annotations

import copy

import pytest

from deployments.webhook.answers import RequestRefused
from deployments.webhook.filters import choose
from deployments.webhook.payloads import read_pushes
from deployments.webhook.strict_json import read_object
from deployments.webhook_config import Repository

SHA = "0123456789abcdef0123456789abcdef01234567"
ZERO = "0" * 40
COMMITS = [{"id": SHA, "added": ["a/new.py"], "modified": ["b.yaml"], "removed": []}]

GITHUB = {
    "ref": "refs/heads/main",
    "before": "e" * 40,
    "after": SHA,
    "deleted": False,
    "forced": False,
    "created": False,
    "repository": {"full_name": "team/models"},
    "commits": COMMITS,
}
GITEA = {
    "ref": "refs/heads/main",
    "before": "e" * 40,
    "after": SHA,
    "repository": {"full_name": "team/models"},
    "commits": COMMITS,
    "total_commits": 1,
}
GITLAB = {
    "object_kind": "push",
    "ref": "refs/heads/main",
    "before": "e" * 40,
    "after": SHA,
    "project": {"path_with_namespace": "team/models"},
    "commits": COMMITS,
    "total_commits_count": len(COMMITS),
}
BITBUCKET = {
    "repository": {"full_name": "team/models"},
    "push": {
        "changes": [
            {"old": None, "new": {"type": "tag", "name": "main", "target": {"hash": "f" * 40}}},
            {"old": None, "new": {"type": "branch", "name": "main", "target": {"hash": SHA}}},
        ]
    },
}
STANDARD = {
    "type": "push",
    "data": {
        "repository": "team/models",
        "ref": "refs/heads/main",
        "after": SHA,
        "paths": ["a/new.py", "b.yaml"],
    },
}
ALL = {
    "github": ("push", GITHUB),
    "gitea": ("push", GITEA),
    "forgejo": ("push", GITEA),
    "gitlab-token": ("Push Hook", GITLAB),
    "gitlab-signed": ("Push Hook", GITLAB),
    "bitbucket": ("repo:push", BITBUCKET),
    "standard": ("push", STANDARD),
}


def settings(provider: str, **changes: object) -> Repository:
    return Repository.model_validate(
        {
            "name": "team/models",
            "provider": provider,
            "clone_url": "https://git.example/team/models.git",
            "protected": True,
            **changes,
        }
    )


def outcome(provider: str, event: str, payload: dict, **changes: object) -> str:
    """Return the commit that would be run, or why none is."""
    pushes = read_pushes(provider, event, payload)  # type: ignore[arg-type]
    if isinstance(pushes, str):
        return pushes
    chosen = choose(pushes, settings(provider, **changes))
    return chosen if isinstance(chosen, str) else str(chosen.commit)


@pytest.mark.parametrize("provider", ALL)
def test_a_push_to_the_branch_is_run_at_its_commit(provider: str) -> None:
    assert outcome(provider, *ALL[provider]) == SHA


@pytest.mark.parametrize("provider", ALL)
def test_another_branch_another_repository_and_another_event_start_nothing(provider: str) -> None:
    event, payload = ALL[provider]
    assert "is not the branch" in outcome(provider, event, payload, branch="release")
    assert "is not the one of this address" in outcome(provider, event, payload, name="team/other")
    assert "is no push" in outcome(provider, "issues", payload)
    assert "ping" in outcome(provider, "ping", payload)


@pytest.mark.parametrize(
    "branch", ["m\u0430in", "Main", "main ", "main\u200b", "\uff4dain", "refs/heads/main"]
)
def test_a_branch_that_only_looks_like_it_is_another_one(branch: str) -> None:
    said = outcome("github", "push", {**GITHUB, "ref": f"refs/heads/{branch}"})
    assert "is not the branch 'main'" in said
    assert said.isascii()


def test_tags_and_deletions_start_nothing() -> None:
    assert "is a tag" in outcome("github", "push", {**GITHUB, "ref": "refs/tags/main"})
    assert "deleted" in outcome("github", "push", {**GITHUB, "deleted": True, "after": ZERO})
    assert "deleted" in outcome("gitlab-token", "Push Hook", {**GITLAB, "after": ZERO})
    gone = copy.deepcopy(BITBUCKET)
    gone["push"]["changes"] = [{"old": gone["push"]["changes"][1]["new"], "new": None}]
    assert "deleted" in outcome("bitbucket", "repo:push", gone)
    assert "moves no branch" in outcome("bitbucket", "repo:push", {**BITBUCKET, "push": {"changes": []}})


@pytest.mark.parametrize(
    ("paths", "runs"),
    [
        ((), True),
        (("a/",), True),
        (("*.yaml",), True),
        (("docs/",), False),
        (("*.py", "!a/**"), False),
        (("new.py",), True),
        (("/new.py",), False),
    ],
)
def test_paths_are_patterns_as_in_gitignore(paths: tuple[str, ...], runs: bool) -> None:
    for provider in ("github", "standard", "gitlab-token", "gitlab-signed", "gitea", "forgejo"):
        assert (outcome(provider, *ALL[provider], paths=paths) == SHA) is runs
    assert "none of the 2 changed paths" in outcome("github", "push", GITHUB, paths=("docs/",))


@pytest.mark.parametrize(
    ("provider", "change"),
    [
        ("github", {"forced": True}),
        ("github", {"created": True}),
        ("github", {"commits": []}),
        ("github", {"commits": COMMITS * 2048}),
        ("github", {"commits": [{"id": SHA}]}),
        ("github", {"commits": [{"added": [f"f{i}" for i in range(300)], "modified": [], "removed": []}]}),
        ("github", {"before": ZERO}),
        ("gitea", {"before": ZERO}),
        ("gitlab-token", {"before": ZERO}),
        ("gitlab-token", {"total_commits_count": 21}),
    ],
)
def test_a_push_that_does_not_list_all_its_paths_is_run_whatever_it_lists(
    provider: str, change: dict
) -> None:
    event, payload = ALL[provider]
    assert "none of the" in outcome(provider, event, payload, paths=("docs/",))
    assert outcome(provider, event, {**payload, **change}, paths=("docs/",)) == SHA


@pytest.mark.parametrize(
    ("provider", "change", "forced"),
    [
        ("github", {}, False),
        ("github", {"forced": True}, True),
        ("github", {"created": True}, True),
        ("github", {"before": ZERO}, True),
        ("gitea", {}, None),
        ("gitea", {"before": ZERO}, True),
        ("gitlab-token", {}, None),
        ("gitlab-token", {"before": ZERO}, True),
        ("bitbucket", {}, True),
        ("standard", {}, None),
        ("standard", {"data": {**STANDARD["data"], "before": ZERO}}, True),
    ],
)
def test_a_new_branch_is_one_that_was_set_anew_and_what_a_host_does_not_say_is_not_made_up(
    provider: str, change: dict, forced: bool | None
) -> None:
    event, payload = ALL[provider]
    assert read_pushes(provider, event, {**payload, **change})[-1].forced is forced


@pytest.mark.parametrize(
    "sha",
    [
        "",
        "main",
        SHA[:12],
        SHA.upper(),
        SHA + "\n",
        f"{SHA}; id",
        "{{ $HOME }}",
        "--help",
        "\uff10" * 40,
        "$(id)",
    ],
)
def test_a_commit_that_is_no_commit_id_is_refused(sha: str) -> None:
    with pytest.raises(RequestRefused, match="no commit id"):
        read_pushes("github", "push", {**GITHUB, "after": sha})


@pytest.mark.parametrize("provider", ALL)
def test_a_payload_of_another_form_is_refused_without_repeating_it(provider: str) -> None:
    event, _ = ALL[provider]
    for payload in ({}, {"ref": "<script>"}, {"push": {"changes": "<script>"}}, {"data": ["<script>"]}):
        with pytest.raises(RequestRefused, match="the payload is no") as caught:
            read_pushes(provider, event, payload)  # type: ignore[arg-type]
        assert "<script>" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": {"b": 1, "b": 1}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON"),
        (b"[]", "is a list"),
        (b"null", "is a NoneType"),
        (b"", "JSON"),
        (b"ref=refs/heads/main", "JSON"),
    ],
)
def test_json_that_two_readers_could_understand_differently_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        read_object(body)


def test_text_from_a_push_is_repeated_in_plain_printable_ascii() -> None:
    """Lone surrogates, control codes of a terminal, line ends."""
    for ref in ("\ud800", "\x1b[31m", "x\nINFO all is well", "\u202emain"):
        for change in ({"ref": ref}, {"repository": {"full_name": ref}}):
            said = outcome("github", "push", {**GITHUB, **change})
            assert said.isascii()
            assert said.isprintable()
