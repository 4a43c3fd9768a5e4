"""From a configuration to a sealed dataset, checked against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from pt_core.bundle import check_digest, open_bundle, read_info
from pt_core.data.config import SPLITS, DataConfig
from pt_core.data.dataset import Dataset, load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.errors import IntegrityError
from pt_core.isolation import run_isolated


def request_of(folder, *, config=None, seed=0):
    return PrepareRequest(
        config=config or DataConfig(), seed=seed, base_dir=str(folder), source_sha256=None, store=str(folder)
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare(request_of(tmp_path_factory.mktemp("store")))


@pytest.fixture
def table(tmp_path):
    x = np.random.default_rng(0).normal(5, 3, size=(80, 4))
    x[:, 2] = 0.1
    np.savez(tmp_path / "table.npz", x=x, y=np.arange(80) % 2, labels=np.array(["no", "yes"]))
    return DataConfig(source="arrays", path="table.npz")


def test_digits_are_all_there_with_pixels_between_0_and_1(digits):
    bunch = load_digits()
    found = 0
    for name in SPLITS:
        x, y, ids = load_split(digits, name)
        np.testing.assert_array_equal(x[:, 0] * 16, bunch.images[ids].astype(np.float32))
        np.testing.assert_array_equal(y, bunch.target[ids])
        assert (x.dtype, y.dtype, ids.dtype) == (np.float32, np.int64, np.int64)
        assert digits.split(name).num_samples == len(y)
        found += len(y)
    assert (found, digits.input_shape, digits.input_range) == (1797, (1, 8, 8), (0.0, 1.0))
    assert digits.labels == tuple("0123456789")


def test_normalisation_of_an_image_is_per_channel_over_the_training_split(digits):
    x, _, _ = load_split(digits, "train")
    assert digits.mean == pytest.approx([x.astype(np.float64).mean()])
    assert digits.std == pytest.approx([x.astype(np.float64).std()])


def test_normalisation_of_a_table_is_what_scikit_learn_computes(tmp_path, table):
    dataset = prepare(request_of(tmp_path, config=table))
    scaler = StandardScaler().fit(load_split(dataset, "train").x.astype(np.float64))
    np.testing.assert_allclose(dataset.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaler.scale_, rtol=1e-12)
    assert dataset.std[2] == 1.0
    assert (dataset.labels, dataset.input_range) == (("no", "yes"), None)


def test_names_in_the_configuration_win_over_those_in_the_file(tmp_path, table):
    config = table.model_copy(update={"labels": ("nay", "aye")})
    assert prepare(request_of(tmp_path, config=config)).labels == ("nay", "aye")


def test_equal_requests_give_the_same_bundle(digits, tmp_path):
    assert prepare(request_of(tmp_path)).digest == digits.digest


def test_another_seed_gives_another_split_of_the_same_content(digits, tmp_path):
    other = prepare(request_of(tmp_path, seed=1))
    assert other.fingerprint == digits.fingerprint
    assert other.split("test").ids_sha256 != digits.split("test").ids_sha256


def test_one_changed_value_changes_the_fingerprint(tmp_path, table):
    before = prepare(request_of(tmp_path, config=table))
    arrays = dict(np.load(tmp_path / "table.npz"))
    arrays["x"][79, 3] += 1e-3
    np.savez(tmp_path / "table.npz", **arrays)
    assert prepare(request_of(tmp_path, config=table)).fingerprint != before.fingerprint


def test_a_dataset_is_opened_as_it_was_sealed(digits):
    assert read_info(*open_bundle(Path(digits.directory), kind="dataset"), Dataset) == digits


def test_a_dataset_with_a_changed_byte_is_refused(tmp_path):
    dataset = prepare(request_of(tmp_path))
    victim = Path(dataset.directory) / "test_y.npy"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"test_y\.npy"):
        check_digest(dataset)


def test_preparing_in_a_process_of_its_own_gives_the_same_dataset(tmp_path, table):
    request = request_of(tmp_path, config=table)
    isolated = run_isolated(
        "pt_core.data.prepare:prepare", request, reply=type(prepare(request)), timeout_s=60
    )
    assert isolated == prepare(request)


def test_a_range_for_the_embedded_digits_is_refused_where_it_is_configured():
    with pytest.raises(ValidationError, match="leave input_range out"):
        DataConfig(input_range=(0.0, 2.0))
