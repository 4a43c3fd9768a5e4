"""Signatures: the published vectors, and no way round the scheme that the settings name."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from deployments.webhook.answers import RequestRefused
from deployments.webhook.signatures import check_seal, read_seal
from deployments.webhook_config import Provider

GITHUB_SECRET = b"It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_HEX = b"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
BITBUCKET_BODY = b"Hello World!"
BITBUCKET_HEX = b"a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
"""Bitbucket publishes GitHub's secret with a body that has no comma."""

STANDARD_SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_HEADERS = [
    (b"webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
    (b"webhook-timestamp", b"1614265330"),
    (b"webhook-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
]
THEN = 1614265330.0

HEX_HEADERS = {
    "github": (b"x-hub-signature-256", b"sha256="),
    "bitbucket": (b"x-hub-signature", b"sha256="),
    "gitea": (b"x-gitea-signature", b""),
    "forgejo": (b"x-forgejo-signature", b""),
}


def verify(
    provider: Provider,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    *secrets: bytes,
    now: float = THEN,
) -> None:
    check_seal(provider, read_seal(provider, headers, secrets, now=now), body, secrets)


def refused(
    provider: Provider, headers: list[tuple[bytes, bytes]], body: bytes, *secrets: bytes, now: float = THEN
) -> str:
    with pytest.raises(RequestRefused) as caught:
        verify(provider, headers, body, *secrets, now=now)
    assert caught.value.status == 401
    return caught.value.message


@pytest.mark.parametrize("provider", HEX_HEADERS)
def test_the_published_vector_of_a_signed_body_is_accepted_and_one_other_byte_is_not(provider) -> None:
    name, before = HEX_HEADERS[provider]
    headers = [(name, before + GITHUB_HEX)]
    verify(provider, headers, GITHUB_BODY, GITHUB_SECRET)
    refused(provider, headers, b"Hello, World?", GITHUB_SECRET)
    refused(provider, headers, GITHUB_BODY, b"It's a secret to Everybody")


def test_the_vector_that_bitbucket_publishes_is_accepted_and_one_other_byte_is_not() -> None:
    headers = [(b"x-hub-signature", b"sha256=" + BITBUCKET_HEX)]
    verify("bitbucket", headers, BITBUCKET_BODY, GITHUB_SECRET)
    refused("bitbucket", headers, GITHUB_BODY, GITHUB_SECRET)
    refused("bitbucket", headers, BITBUCKET_BODY, b"It's a secret to Everybody")


@pytest.mark.parametrize("provider", ["standard", "gitlab-signed"])
def test_the_published_vector_of_standard_webhooks_is_accepted_within_five_minutes(provider) -> None:
    verify(provider, STANDARD_HEADERS, STANDARD_BODY, STANDARD_SECRET, now=THEN + 299)
    verify(provider, STANDARD_HEADERS, STANDARD_BODY, STANDARD_SECRET, now=THEN - 299)
    for now in (THEN + 301, THEN - 301):
        said = refused(provider, STANDARD_HEADERS, STANDARD_BODY, STANDARD_SECRET, now=now)
        assert "webhook-timestamp" in said


def test_the_signed_id_and_time_cannot_be_exchanged() -> None:
    for place, value in ((0, b"msg_other"), (1, b"1614265331")):
        headers = list(STANDARD_HEADERS)
        headers[place] = (headers[place][0], value)
        refused("standard", headers, STANDARD_BODY, STANDARD_SECRET)


def test_any_of_several_standard_signatures_may_be_right_but_only_of_version_one() -> None:
    value = STANDARD_HEADERS[2][1]
    several = [*STANDARD_HEADERS[:2], (b"webhook-signature", b"v1,AAAA v1a,BBBB " + value)]
    verify("standard", several, STANDARD_BODY, STANDARD_SECRET)
    relabelled = [*STANDARD_HEADERS[:2], (b"webhook-signature", b"v2" + value[2:])]
    refused("standard", relabelled, STANDARD_BODY, STANDARD_SECRET)


def test_both_secrets_count_while_one_takes_the_place_of_the_other() -> None:
    headers = [(b"x-hub-signature-256", b"sha256=" + GITHUB_HEX)]
    verify("github", headers, GITHUB_BODY, b"the new secret of the team", GITHUB_SECRET)
    verify("gitlab-token", [(b"x-gitlab-token", GITHUB_SECRET)], b"{}", b"another secret here", GITHUB_SECRET)


def test_a_token_is_compared_whole() -> None:
    for token in (GITHUB_SECRET[:-1], GITHUB_SECRET + b"x", GITHUB_SECRET.swapcase(), b"\xff\xfe", b""):
        refused("gitlab-token", [(b"x-gitlab-token", token)], b"{}", GITHUB_SECRET)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"sha256=",
        GITHUB_HEX,
        b"sha256=" + GITHUB_HEX.upper(),
        b"SHA256=" + GITHUB_HEX,
        b"sha1=" + GITHUB_HEX,
        b"sha256=" + GITHUB_HEX + b"0",
        b"sha256=" + GITHUB_HEX[:-1],
        b"sha256= " + GITHUB_HEX,
        b"sha256=" + GITHUB_HEX + b"," + GITHUB_HEX,
        b"sha256=" + "é".encode() * 32,
        b"sha256=\x00" + GITHUB_HEX[1:],
    ],
)
def test_a_signature_in_any_other_form_is_refused(value: bytes) -> None:
    refused("github", [(b"x-hub-signature-256", value)], GITHUB_BODY, GITHUB_SECRET)


@pytest.mark.parametrize("provider", HEX_HEADERS)
def test_a_signature_that_is_there_twice_is_refused_even_if_both_are_right(provider) -> None:
    name, before = HEX_HEADERS[provider]
    assert "2 times" in refused(provider, [(name, before + GITHUB_HEX)] * 2, GITHUB_BODY, GITHUB_SECRET)


def test_the_signature_of_every_other_scheme_is_not_looked_at() -> None:
    """A host that sends several, or an attacker who has the weakest, gets no further than the configured one."""
    sha1 = hmac.new(GITHUB_SECRET, GITHUB_BODY, hashlib.sha1).hexdigest().encode()
    of_all = {
        "github": [(b"x-hub-signature-256", b"sha256=" + GITHUB_HEX)],
        "bitbucket": [(b"x-hub-signature", b"sha256=" + GITHUB_HEX)],
        "gitea": [(b"x-gitea-signature", GITHUB_HEX)],
        "forgejo": [(b"x-forgejo-signature", GITHUB_HEX)],
        "gitlab-token": [(b"x-gitlab-token", GITHUB_SECRET)],
    }
    for provider in (*of_all, "standard", "gitlab-signed"):
        others = [header for name, headers in of_all.items() if name != provider for header in headers]
        # The old GitHub header has Bitbucket's name, and SHA-1 in it.
        others = [one for one in others if not (provider == "bitbucket" and one[0] == b"x-hub-signature")]
        if provider == "bitbucket":
            others.append((b"x-hub-signature", b"sha1=" + sha1))
        refused(provider, others, GITHUB_BODY, GITHUB_SECRET)


def test_an_empty_signature_does_not_fit_an_empty_secret() -> None:
    """Gitea sends an empty signature where no secret is set."""
    refused("gitea", [(b"x-gitea-signature", b"")], GITHUB_BODY, GITHUB_SECRET)
