from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pt_core import bundle as bundle_module
from pt_core.bundle import (
    MANIFEST,
    Bundle,
    is_intact,
    open_bundle,
    read_info,
    seal,
    set_aside,
    staging,
    sweep,
)
from pt_core.errors import IntegrityError
from pt_core.record import Record


class Note(Record):
    text: str


class NoteBundle(Note, Bundle):
    pass


def make(store: Path, *, files: dict[str, bytes] | None = None, text: str = "note") -> Bundle:
    with staging(store) as folder:
        for name, content in (files or {"a.bin": b"aaaa", "sub/b.bin": b"bbbb"}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return seal(folder, name="thing", kind="artifact", info=Note(text=text))


def sign(content: dict[str, object]) -> str:
    """Write a manifest with a right checksum, without the product's code."""
    import hashlib

    def canonical(value: object) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    checksum = hashlib.sha256(canonical({**content, "checksum": ""}).encode()).hexdigest()
    return canonical({**content, "checksum": checksum})


def rewrite(bundle: Bundle, **changes: object) -> Path:
    path = Path(bundle.directory) / MANIFEST
    path.write_text(sign({**json.loads(path.read_text()), **changes}))
    return Path(bundle.directory)


def test_a_sealed_bundle_opens_with_its_digest_files_and_description(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    opened, manifest = open_bundle(Path(bundle.directory), kind="artifact")
    assert opened == bundle
    assert [entry.path for entry in manifest.files] == ["a.bin", "sub/b.bin"]
    assert bundle.size_bytes == 8
    assert read_info(opened, manifest, NoteBundle).text == "note"
    assert [path.name for path in tmp_path.iterdir()] == [f"thing-{bundle.digest[:12]}"]


def test_the_digest_is_the_sha256_that_coreutils_computes(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    names = [MANIFEST, "a.bin", "sub/b.bin"]
    lines = subprocess.run(
        ["sha256sum", *names], cwd=bundle.directory, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = {name: line.split()[0] for name, line in zip(names, lines, strict=True)}
    _, manifest = open_bundle(Path(bundle.directory))
    assert found.pop(MANIFEST) == bundle.digest
    assert found == {entry.path: entry.sha256 for entry in manifest.files}


def test_sealing_equal_content_again_gives_the_same_bundle(tmp_path: Path) -> None:
    assert make(tmp_path) == make(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_content_or_another_description_is_another_bundle(tmp_path: Path) -> None:
    digests = {
        make(tmp_path).digest,
        make(tmp_path, text="b").digest,
        make(tmp_path, files={"a": b""}).digest,
    }
    assert len(digests) == 3


def test_a_damaged_bundle_is_set_aside_and_replaced(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    (Path(bundle.directory) / "a.bin").write_bytes(b"axaa")
    assert make(tmp_path) == bundle
    assert is_intact(Path(bundle.directory), bundle.digest)
    aside = [path for path in tmp_path.iterdir() if ".damaged-" in path.name]
    assert [(path / "a.bin").read_bytes() for path in aside] == [b"axaa"]


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path) as folder:  # noqa: PT012
        (folder / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "a.bin").write_bytes(b"aaab"), "a.bin: SHA-256"),
        (lambda d: (d / "a.bin").write_bytes(b"aaa"), "a.bin: 3 bytes, expected 4"),
        (lambda d: (d / "a.bin").unlink(), "a.bin: missing"),
        (lambda d: (d / "sub" / "c").write_bytes(b""), "sub/c: not in the manifest"),
        (lambda d: (d / "a.bin").rename(d / "c.bin"), "c.bin: not in the manifest"),
        (lambda d: os.mkfifo(d / "pipe"), "pipe: not a plain file"),
        (lambda d: (d / "link").symlink_to("a.bin"), "link: not a plain file"),
        (lambda d: (d / MANIFEST).unlink(), "not a bundle, it has no manifest.json"),
        (lambda d: (d / MANIFEST).write_text("{}"), "manifest.json: not a valid manifest: schema_version"),
        (lambda d: (d / MANIFEST).write_text("[" * 10**6), "manifest.json: not a valid manifest"),
    ],
)
def test_any_change_is_refused_by_name(tmp_path: Path, change, message: str) -> None:
    directory = Path(make(tmp_path).directory)
    change(directory)
    with pytest.raises(IntegrityError, match=re.escape(message)):
        open_bundle(directory)
    assert not is_intact(directory, "0" * 64)


def test_a_file_replaced_by_a_link_to_the_same_bytes_is_refused(tmp_path: Path) -> None:
    directory = Path(make(tmp_path).directory)
    (directory / "a.bin").rename(tmp_path / "a.bin")
    (directory / "a.bin").symlink_to(tmp_path / "a.bin")
    with pytest.raises(IntegrityError, match=r"a\.bin: not a plain file"):
        open_bundle(directory)


def test_a_folder_replaced_by_a_link_is_refused(tmp_path: Path) -> None:
    directory = Path(make(tmp_path).directory)
    (directory / "sub").rename(tmp_path / "sub")
    (directory / "sub").symlink_to(tmp_path / "sub")
    with pytest.raises(IntegrityError, match="sub: not a plain file"):
        open_bundle(directory)


def test_two_files_that_changed_places_are_both_named(tmp_path: Path) -> None:
    directory = Path(make(tmp_path).directory)
    (directory / "a.bin").write_bytes(b"bbbb")
    (directory / "sub/b.bin").write_bytes(b"aaaa")
    with pytest.raises(IntegrityError) as caught:
        open_bundle(directory)
    assert [detail.partition(":")[0] for detail in caught.value.details] == ["a.bin", "sub/b.bin"]


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "sub/../../x", "..", "./a.bin", "sub//b.bin", "a\\b", "", "a\0b", "a.bin/"],
)
def test_a_signed_manifest_cannot_name_a_file_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(b"aaaa")
    bundle = make(tmp_path / "store")
    _, manifest = open_bundle(Path(bundle.directory))
    entries = [{**manifest.files[0].model_dump(), "path": name}]
    with pytest.raises(IntegrityError, match=r"manifest\.json: not a valid manifest: files\.0\.path"):
        open_bundle(rewrite(bundle, files=entries))


def test_a_signed_manifest_cannot_list_itself_or_a_file_twice(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    _, manifest = open_bundle(Path(bundle.directory))
    first = manifest.files[0].model_dump()
    for entries in ([first, first], [{**first, "path": MANIFEST}]):
        with pytest.raises(IntegrityError, match="lists itself, or a file twice"):
            open_bundle(rewrite(bundle, files=entries))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema_version", 99, "schema version 99, this program reads 1"),
        ("kind", "surprise", "not a valid manifest: kind"),
        ("more", 1, "not a valid manifest: more"),
        ("kind", "dataset", "expected the kind artifact, found dataset"),
    ],
)
def test_a_signed_manifest_of_another_kind_is_refused(
    tmp_path: Path, field: str, value, message: str
) -> None:
    directory = rewrite(make(tmp_path), **{field: value})
    with pytest.raises(IntegrityError, match=re.escape(message)):
        open_bundle(directory, kind="artifact")


def test_a_manifest_spelt_in_another_way_is_refused(tmp_path: Path) -> None:
    path = Path(make(tmp_path).directory) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    with pytest.raises(IntegrityError, match="its own checksum"):
        open_bundle(path.parent)


def test_a_manifest_beyond_the_bound_is_refused_unread(tmp_path: Path) -> None:
    path = Path(make(tmp_path).directory) / MANIFEST
    os.truncate(path, bundle_module.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(IntegrityError, match="larger than"):
        open_bundle(path.parent)


@pytest.mark.parametrize(
    "make_odd", [lambda f: (f / "l").symlink_to("/etc/passwd"), lambda f: os.mkfifo(f / "l")]
)
def test_links_and_special_files_are_not_sealed(tmp_path: Path, make_odd) -> None:
    with pytest.raises(IntegrityError, match="only plain files"), staging(tmp_path) as folder:  # noqa: PT012
        make_odd(folder)
        seal(folder, name="thing", kind="artifact", info=Note(text=""))
    assert list(tmp_path.iterdir()) == []


def test_a_payload_may_not_be_named_like_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="reserved name"):
        make(tmp_path, files={MANIFEST: b"{}"})


def test_a_name_that_is_no_text_is_not_sealed(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be sealed"):
        make(tmp_path, files={os.fsdecode(b"\xff"): b""})


def test_setting_aside_deletes_nothing(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    moved = set_aside(Path(bundle.directory))
    assert not Path(bundle.directory).exists()
    assert (moved / "a.bin").read_bytes() == b"aaaa"


def test_sweeping_removes_what_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; from pt_core.bundle import staging\n"
        "with staging(Path(sys.argv[1])) as f: (f / 'half').write_text('x'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with staging(tmp_path) as mine:
        assert len(list(tmp_path.iterdir())) == 3
        assert sweep(tmp_path) == 1
        assert mine.exists()
    assert is_intact(Path(bundle.directory), bundle.digest)
    assert sweep(tmp_path / "nowhere") == 0


def test_sweeping_spares_a_writer_whose_process_id_is_not_seen_from_here(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        elsewhere = folder.rename(tmp_path / ".staging-99999999-abcdef01")
        assert sweep(tmp_path) == 0
        assert elsewhere.exists()
    assert sweep(tmp_path) == 1


def test_a_writer_whose_folder_is_swept_before_it_has_locked_it_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, rmtree, judged = fcntl.flock, shutil.rmtree, threading.Event()
    sweeping = threading.Thread(target=sweep, args=(tmp_path,))

    def after_the_look(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not judged.is_set():
            sweeping.start()
            assert judged.wait(10)
        flock(descriptor, operation)

    def slowly(path: Path, **options: bool) -> None:
        judged.set()
        time.sleep(0.3)
        rmtree(path, **options)

    monkeypatch.setattr(os, "getpid", lambda: 99_999_999)  # as in another container
    monkeypatch.setattr(fcntl, "flock", after_the_look)
    monkeypatch.setattr(shutil, "rmtree", slowly)
    with staging(tmp_path) as folder:
        sweeping.join(10)
        assert list(tmp_path.iterdir()) == [folder]
        assert sweep(tmp_path) == 0


def test_a_disk_that_refuses_writes_leaves_nothing(tmp_path: Path) -> None:
    earlier = make(tmp_path)
    code = """
import resource, signal, sys
from pathlib import Path
from pt_core.bundle import seal, staging
from pt_core.record import Record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
class Note(Record):
    text: str
with staging(Path(sys.argv[1])) as folder:
    (folder / "a").write_bytes(b"a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        seal(folder, name="thing", kind="artifact", info=Note(text="x" * 2000))
    except OSError as error:
        sys.exit(40)
"""
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert child.returncode == 40
    assert [str(path) for path in tmp_path.iterdir()] == [earlier.directory]
