"""pt-pipeline keys: the key that signs here, and the keys that are trusted."""

from __future__ import annotations

from pathlib import Path

from flows.cli.output import print_json, results
from flows.home import Home
from pt_core.keys import ensure_signing_key, fingerprint, load_public_key, trust_key, trusted_keys


def show(home: Home, *, as_json: bool) -> None:
    """Print the fingerprints and the paths; the home's own key is made if there is none.

    Raises:
        ConfigError: a key is missing or unusable.
    """
    own = ensure_signing_key(home.keys)
    trusted = trusted_keys(Path(home.keys.trusted))
    if as_json:
        print_json(
            {
                "signing_key": home.keys.signing,
                "fingerprint": own,
                "trusted_folder": home.keys.trusted,
                "trusted": {name: str(path) for name, path in trusted.items()},
                "signing_key_is_trusted": own in trusted,
            }
        )
        return
    results.print(f"signing key  {own}\n             {home.keys.signing}", highlight=False, soft_wrap=True)
    results.print(f"trusted      {home.keys.trusted}", highlight=False, soft_wrap=True)
    for name, path in trusted.items():
        mark = "  (the signing key's)" if name == own else ""
        results.print(f"             {name}  {path.name}{mark}", highlight=False, soft_wrap=True)
    if own not in trusted:
        results.print(
            "The signing key is not trusted here: what it signs is refused by predict, verify and score.",
            style="yellow",
        )


def trust(file: Path, home: Home, *, as_json: bool) -> None:
    """Add a public key to those that are trusted.

    Raises:
        ConfigError: it is no public key.
    """
    name = fingerprint(load_public_key(file))
    path = trust_key(file, Path(home.keys.trusted))
    if as_json:
        print_json({"fingerprint": name, "path": str(path)})
        return
    results.print(f"[bold green]trusted[/] {name}\n        {path}", highlight=False, soft_wrap=True)
