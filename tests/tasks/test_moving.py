"""Aliases are moved by one promoter at a time, so that none removes what another has just set."""

from __future__ import annotations

import threading
from pathlib import Path

from promotable import places_in

from tasks.alias_lock import alias_lock
from tasks.moving import challenge
from tasks.promotion import Promotion
from tasks.registering import drop_alias
from tasks.registry import BUNDLE_DIGEST, RELEASE_DIGEST, asked, find_alias, find_version


def test_a_challenger_waits_until_another_has_removed_its_own(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    uri = places.tracking_uri
    with asked(uri) as client:
        client.create_registered_model("m")
        for _ in range(2):
            client.create_model_version("m", "source", tags={RELEASE_DIGEST: "r", BUNDLE_DIGEST: "b"})
    promotions = [
        Promotion(id=number, kind="promotion", model="m", expected=None, version=number) for number in "12"
    ]
    challenge(places, promotions[0])
    second = threading.Thread(target=challenge, args=(places, promotions[1]))
    with alias_lock(Path(places.journal), uri, name="m"):
        first = find_version(uri, name="m", version="1")
        second.start()
        second.join(1)
        found = find_alias(uri, name="m", alias="challenger")
        assert found is not None
        assert found.version == "1", "it did not wait"
        drop_alias(uri, first, "challenger")
    second.join()
    found = find_alias(uri, name="m", alias="challenger")
    assert found is not None
    assert found.version == "2"
