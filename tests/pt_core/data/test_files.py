"""The digest of data on disk: of every file that a reader comes to, through links too, and never of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pt_core.data.config import DataConfig
from pt_core.data.files import digest_of, files_below, source_digest
from pt_core.errors import ConfigError


def test_a_changed_image_behind_a_linked_class_folder_is_another_digest(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cats").symlink_to(tmp_path / "elsewhere")
    config = DataConfig(source="image_folder", path="pictures")
    seen = set()
    for number, where in enumerate(("a.png", "a.png", "deep/b.png", "deep/b.png")):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "elsewhere" / where)
        seen.add(source_digest(config, tmp_path))
    assert len(seen) == 4


def test_links_that_lead_back_or_nowhere_end_and_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "cats" / ".cache").mkdir(parents=True)
    for name in ("cats/a.png", "cats/.hidden.png", "cats/.cache/c.png"):
        (tmp_path / name).write_bytes(b"picture")
    (tmp_path / "cats" / "all").symlink_to(tmp_path)
    (tmp_path / "cats" / "itself").symlink_to("itself")
    (tmp_path / "cats" / "gone").symlink_to("nowhere")
    assert files_below(tmp_path) == [tmp_path / "cats" / "a.png"]


def test_a_folder_without_a_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no file in it"):
        digest_of([tmp_path])
