"""A checkpoint that a user names is found, whole, and one of the configuration's data and network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checkpoint_fixtures import checkpoint, golden_inputs, info, network, spec, training_state

from flows.check import Checked
from flows.checkpoints import check_fit, find_checkpoint
from flows.config import PipelineConfig
from flows.home import Home
from flows.load import load_config
from flows.requests import train_request
from flows.training import trained
from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.building.plan import make_plan
from pt_core.data.dataset import Dataset, Split
from pt_core.data.encoding import ColumnEncoding, ImageDecoding, TableEncoding
from pt_core.errors import ConfigError, IntegrityError

__all__ = ["checkpoint", "golden_inputs", "info", "network", "spec", "training_state"]

SPLITS = tuple(
    Split(name=name, num_samples=9, ids_sha256=name[0] * 64)
    for name in ("train", "validation", "calibration", "test")
)


@pytest.fixture
def dataset(checkpoint):
    """The data that the checkpoint was trained on."""
    return Dataset(
        source="arrays",
        fingerprint=checkpoint.data_fingerprint,
        labels=checkpoint.labels,
        input_shape=(8,),
        input_range=None,
        mean=(0.5,) * 8,
        std=(2.0,) * 8,
        splits=SPLITS,
        directory="nowhere",
        digest="d" * 64,
        size_bytes=1,
    )


@pytest.fixture
def given(checkpoint):
    return checkpoint.model_copy(update={"splits": SPLITS})


def settings(**model):
    network = {"target": "pt_core.modeling.mlp:mlp", "arguments": {"hidden": [4]}, **model}
    return PipelineConfig.model_validate({"model": network, "variants": [{"name": "torch", "steps": []}]})


def test_a_checkpoint_of_this_data_and_network_fits_however_it_was_trained(given, dataset):
    check_fit(given, settings().model_copy(update={"seed": 5}), dataset)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            {"target": "pt_core.modeling.cnn:cnn"},
            r"model\.target: it is pt_core\.modeling\.mlp:mlp, expected pt_core",
        ),
        ({"arguments": {}}, r"model\.arguments: it was built with \{'hidden': \[4\]\}, expected none"),
        ({"arguments": {"hidden": [5]}}, r"model\.arguments: .* expected \{'hidden': \[5\]\}"),
        ({"normalize": False}, r"model\.normalize: it normalises its input, expected false"),
        ({"dynamic_axes": [{"axis": 0, "min": 4, "max": 9}]}, r"model\.dynamic_axes: it declares other axes"),
    ],
)
def test_another_network_is_refused(given, dataset, model, expected):
    with pytest.raises(ConfigError, match=expected):
        check_fit(given, settings(**model), dataset)


def test_a_given_checkpoint_that_names_another_function_is_refused_before_it_is_called(given):
    hostile = given.model_copy(
        update={"spec": given.spec.model_copy(update={"target": "safetensors.torch:save_file"})}
    )
    checked = Checked(name="c", path="c.yaml", settings=settings(), plan=make_plan(settings().variants))
    with pytest.raises(ConfigError, match=r"model\.target: it is safetensors"):
        trained(checked, Home(root="nowhere"), hostile)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"fingerprint": "f" * 64},
            r"data: it was trained on other samples, of fingerprint 1{12}, expected f{12}",
        ),
        ({"labels": ("a", "b")}, r"data\.labels: it knows a, b, c, expected a, b"),
        (
            {"splits": (*SPLITS[:3], SPLITS[3].model_copy(update={"ids_sha256": "x" * 64}))},
            r"data: these samples were split otherwise \(test\), so some of the test split may be what it learnt from",
        ),
        ({"input_shape": (9,)}, r"data: it takes samples of shape \(8,\), expected \(9,\)"),
        ({"input_range": (0.0, 1.0)}, r"data\.input_range: it was trained on None, expected \(0\.0, 1\.0\)"),
        ({"images": ImageDecoding(resize="pad")}, r"data\.images: its images were decoded otherwise"),
    ],
)
def test_other_data_or_another_split_is_refused(given, dataset, changes, expected):
    with pytest.raises(ConfigError, match=expected):
        check_fit(given, settings(), dataset.model_copy(update=changes))


def encoded(*names, fill=None):
    columns = [ColumnEncoding(name=name, kind="numeric", fill=fill) for name in names]
    return TableEncoding(columns=tuple(columns))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (encoded("b", "a"), "it takes a, b, expected b, a; set"),
        (encoded("a", "b", fill=3.0), "rows become numbers by other rules; set"),
        (None, "it takes a, b, expected no table; set"),
    ],
)
def test_the_same_table_in_other_numbers_is_refused(given, dataset, other, expected):
    spec = given.spec.model_copy(update={"table": encoded("a", "b")})
    trained = given.model_copy(update={"spec": spec})
    check_fit(trained, settings(), dataset.model_copy(update={"table": encoded("a", "b")}))
    with pytest.raises(ConfigError, match=rf"data\.table: {expected}"):
        check_fit(trained, settings(), dataset.model_copy(update={"table": other}))


def test_all_that_does_not_fit_is_listed_at_once(given, dataset):
    with pytest.raises(ConfigError) as caught:
        check_fit(given, settings(normalize=False), dataset.model_copy(update={"labels": ("a", "b")}))
    assert len(caught.value.details) == 2
    assert caught.value.exit_code == 2


def test_a_folder_is_found_relative_to_what_names_it(checkpoint):
    folder = Path(checkpoint.directory)
    found = find_checkpoint(folder.name, base_dir=folder.parent, where="--from")
    assert found == checkpoint


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("nowhere", r"--from: no folder .*nowhere; expected that of a checkpoint"),
        ("models:/digits@champion", r"--from: models:/digits@champion: a registered model is an artifact"),
    ],
)
def test_what_is_no_folder_is_refused(tmp_path, named, expected):
    with pytest.raises(ConfigError, match=expected):
        find_checkpoint(named, base_dir=tmp_path, where="--from")


def test_a_damaged_checkpoint_is_refused_before_anything_else(checkpoint):
    path = Path(checkpoint.directory) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="against its manifest"):
        find_checkpoint(checkpoint.directory, base_dir=Path(), where="--from")


def test_another_kind_of_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntegrityError, match="empty"):
        find_checkpoint("empty", base_dir=tmp_path, where="--from")


def test_a_warm_start_is_relative_to_the_configuration_and_its_digest_is_in_the_request(
    checkpoint, dataset, tmp_path
):
    shutil.copytree(checkpoint.directory, tmp_path / "project" / "earlier")
    path = tmp_path / "project" / "pipeline.yaml"
    path.write_text(
        "model: {target: 'pt_core.modeling.mlp:mlp', warm_start: {checkpoint: earlier}}\n"
        "variants: [{name: torch, steps: []}]\n"
    )
    home = Home(root=str(tmp_path))
    request = train_request(load_config(path), dataset, home, base_dir=path.parent)
    assert request.warm_start is not None
    assert request.warm_start.digest == checkpoint.digest
    assert type(request).from_json(request.to_json()).warm_start.digest == checkpoint.digest
