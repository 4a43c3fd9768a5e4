"""Every starter project is a configuration that is accepted, with data that can be prepared."""

from __future__ import annotations

import json

import pytest

from flows.cli.init import init
from flows.home import Home
from flows.load import load_config
from flows.requests import prepare_request
from pt_core.data.prepare import prepare
from pt_core.errors import ConfigError


@pytest.mark.parametrize(
    ("template", "labels", "input_shape"),
    [
        ("arrays", ("malignant", "benign"), (30,)),
        ("table", ("class_0", "class_1", "class_2"), (15,)),
        ("images", tuple("0123456789"), (1, 16, 16)),
    ],
)
def test_a_starter_project_is_accepted_and_its_data_are_prepared(
    tmp_path, capsys, template, labels, input_shape
):
    init(tmp_path / "project", template=template, as_json=True)
    written = json.loads(capsys.readouterr().out)["files"]
    assert all((tmp_path / "project").joinpath(name).exists() for name in written)
    settings = load_config(tmp_path / "project" / "pipeline.yaml")
    request = prepare_request(settings, base_dir=tmp_path / "project", home=Home(root=str(tmp_path / "home")))
    dataset = prepare(request)
    assert (dataset.labels, dataset.input_shape, dataset.num_quarantined) == (labels, input_shape, 0)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        init(tmp_path, template="table", as_json=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
