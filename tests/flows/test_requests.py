"""What a stage is asked changes with whatever decides its result."""

from __future__ import annotations

import pytest

from flows.requests import model_code
from pt_core.environment import core_code_digest
from pt_core.errors import ConfigError
from pt_core.modeling.spec import ModelConfig


def test_a_file_that_the_network_reads_is_part_of_its_code(tmp_path):
    assert model_code(ModelConfig(), base_dir=tmp_path) == core_code_digest()
    model = ModelConfig(depends_on=("weights.bin",))
    with pytest.raises(ConfigError, match=r"model\.depends_on: no file or folder .*weights\.bin"):
        model_code(model, base_dir=tmp_path)
    seen = set()
    for content in (b"1", b"2"):
        (tmp_path / "weights.bin").write_bytes(content)
        seen.add(model_code(model, base_dir=tmp_path))
    assert len(seen | {core_code_digest()}) == 3
