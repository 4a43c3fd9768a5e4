from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from pt_core.artifacts.checkpoint_files import load_network
from pt_core.bundle import open_bundle
from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError, IntegrityError
from pt_core.evaluation.attacks.bounds import bounds_of
from pt_core.evaluation.attacks.craft import craft
from pt_core.evaluation.attacks.gradient import losses
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.requests import AttackRequest, Attacks
from pt_core.isolation import run_isolated

CONFIG = EvaluationConfig(fgsm_epsilons=(0.05, 0.2), noise_sigmas=(0.1, 0.4), batch_size=64)


def request_for(reference, dataset, store, *, seed=0, config=CONFIG):
    return AttackRequest(reference=reference, dataset=dataset, config=config, seed=seed, store=str(store))


def test_crafting_writes_every_point_and_the_same_bytes_for_the_same_seed(reference, dataset, store):
    attacks = craft(request_for(reference, dataset, store))
    assert [p.file for p in attacks.points] == [
        "fgsm_0.05.npy",
        "fgsm_0.2.npy",
        "gaussian-noise_0.1.npy",
        "gaussian-noise_0.4.npy",
    ]
    assert (attacks.dataset_digest, attacks.reference_digest) == (dataset.digest, reference.digest)
    _, manifest = open_bundle(Path(attacks.directory), kind="attacks")
    assert {entry.path for entry in manifest.files} == {p.file for p in attacks.points}
    assert craft(request_for(reference, dataset, store)).digest == attacks.digest
    other = CONFIG.model_copy(update={"batch_size": 11})
    assert craft(request_for(reference, dataset, store, config=other)).digest == attacks.digest
    noise, gradient = (
        [np.load(Path(made.directory) / attacks.points[i].file) for made in (attacks, reseeded)]
        for reseeded in [craft(request_for(reference, dataset, store, seed=1))]
        for i in (2, 0)
    )
    assert not np.array_equal(*noise)
    assert np.array_equal(*gradient)


def test_crafted_samples_are_the_test_split_moved_along_the_references_gradient(
    reference, dataset, store, weights_and_bias
):
    attacks = craft(request_for(reference, dataset, store))
    x, y, _ = load_split(dataset, "test")
    weight, bias = (values.astype(np.float64) for values in weights_and_bias())
    gradient = (softmax(x @ weight.T + bias, axis=1) - np.eye(3)[y]) @ weight
    found = np.load(Path(attacks.directory) / "fgsm_0.05.npy")
    clear = np.abs(gradient) > 1e-6
    expected = np.clip(x + np.float32(0.05) * np.sign(gradient), 0, 1)
    assert clear.mean() > 0.8
    assert found[clear] == pytest.approx(expected[clear], abs=1e-6)


def test_crafting_runs_in_its_own_process(reference, dataset, store):
    request = request_for(reference, dataset, store)
    found = run_isolated(
        "pt_core.evaluation.attacks.craft:craft", request, reply=Attacks, timeout_s=120, num_threads=1
    )
    assert found.digest == craft(request).digest


def test_a_damaged_reference_is_refused(dataset, new_reference, tmp_path):
    damaged = new_reference(tmp_path, dataset)
    weights = Path(damaged.directory) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        craft(request_for(damaged, dataset, tmp_path))


def test_a_dataset_with_rewritten_labels_is_refused(reference, relabelled_dataset, tmp_path):
    with pytest.raises(IntegrityError, match=r"test_y\.npy"):
        craft(request_for(reference, relabelled_dataset, tmp_path))


def test_strengths_are_shares_of_the_input_range(new_dataset, new_reference, dataset, reference, tmp_path):
    # The same pictures and the same network, with pixels from 0 to 255.
    bytes_ = new_dataset(tmp_path, input_range=(0.0, 255.0), scale=255)
    network = new_reference(tmp_path, bytes_)
    units, attacks = (
        craft(request_for(reference, dataset, tmp_path)),
        craft(request_for(network, bytes_, tmp_path)),
    )
    x = load_split(bytes_, "test").x
    for point in attacks.points:
        found, unit = (np.load(Path(made.directory) / point.file) for made in (attacks, units))
        if point.attack == "fgsm":
            assert np.abs(found - x).max() == pytest.approx(255 * point.strength, rel=1e-4)
        else:
            assert found == pytest.approx(255 * unit, abs=1e-3)


def test_bounds_are_widths_for_pixels_and_deviations_for_tables(dataset):
    assert bounds_of(dataset).scale.tolist() == [1] * 6
    assert bounds_of(dataset.model_copy(update={"input_range": (0.0, 255.0)})).scale.tolist() == [255] * 6
    assert bounds_of(dataset.model_copy(update={"input_range": (-1.0, 1.0)})).scale.tolist() == [2] * 6
    table = dataset.model_copy(update={"input_range": None, "std": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)})
    assert bounds_of(table) == (pytest.approx([1, 2, 3, 4, 5, 6]), None)
    picture = table.model_copy(update={"input_shape": (2, 4, 4), "std": (0.5, 2.0)})
    assert bounds_of(picture).scale.shape == (2, 1, 1)


@pytest.mark.parametrize("strengths", [(0.0,), (-0.1,), (0.1, 0.1), (0.1, 0.10000001)])
def test_strengths_that_mean_nothing_or_share_a_name_are_refused(strengths):
    with pytest.raises(ValueError, match=r"greater than 0|given twice"):
        EvaluationConfig(fgsm_epsilons=strengths)
    with pytest.raises(ValueError, match=r"greater than 0|given twice"):
        EvaluationConfig(noise_sigmas=strengths)


EVERYTHING = EvaluationConfig(
    fgsm_epsilons=(0.1,),
    noise_sigmas=(0.1,),
    pgd_epsilons=(0.05, 0.1),
    pgd_l2_epsilons=(0.2,),
    pgd_steps=4,
    pgd_restarts=2,
    corruptions=("missing-values",),
    corruption_severities=(1, 5),
)


def load(attacks, name):
    return np.load(Path(attacks.directory) / f"{name}.npy")


def test_every_kind_of_perturbation_is_within_its_strength_and_range(reference, dataset, tmp_path):
    attacks = craft(request_for(reference, dataset, tmp_path, config=EVERYTHING))
    x = load_split(dataset, "test").x
    names = [point.file.removesuffix(".npy") for point in attacks.points]
    assert names[2:] == ["pgd_0.05", "pgd_0.1", "pgd-l2_0.2", "missing-values_1", "missing-values_5"]
    moved = {name: load(attacks, name) - x for name in names}
    assert np.abs(moved["pgd_0.05"]).max() == pytest.approx(0.05, abs=1e-6)
    assert np.abs(moved["pgd_0.1"]).max() == pytest.approx(0.1, abs=1e-6)
    assert np.linalg.norm(moved["pgd-l2_0.2"], axis=1).max() == pytest.approx(0.2, abs=1e-6)
    for name in names:
        found = load(attacks, name)
        assert found.shape == x.shape
        assert 0 <= found.min() < found.max() <= 1, name
    missing = moved["missing-values_5"] != 0
    assert np.array_equal(
        load(attacks, "missing-values_5")[missing],
        np.broadcast_to(np.float32(dataset.mean), x.shape)[missing],
    )


def test_a_perturbation_is_the_same_whatever_else_is_made_and_in_whatever_batches(
    reference, dataset, tmp_path
):
    whole = craft(request_for(reference, dataset, tmp_path, config=EVERYTHING))
    fewer = EVERYTHING.model_copy(
        update={"fgsm_epsilons": (), "noise_sigmas": (), "pgd_epsilons": (0.1,), "batch_size": 11}
    )
    part = craft(request_for(reference, dataset, tmp_path, config=fewer))
    assert len(part.points) == 4
    for point in part.points:
        found, expected = (np.load(Path(made.directory) / point.file) for made in (part, whole))
        assert found == pytest.approx(expected, abs=1e-6), point.file


def test_the_seed_decides_where_pgd_starts(reference, dataset, tmp_path):
    config = EVERYTHING.model_copy(update={"pgd_steps": 1})
    one, same, other = (
        load(craft(request_for(reference, dataset, tmp_path, config=config, seed=seed)), "pgd_0.1")
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_only_so_many_samples_are_perturbed_spread_over_the_split(reference, dataset, tmp_path):
    few = EVERYTHING.model_copy(update={"max_robustness_samples": 30, "fgsm_epsilons": (1e-6,)})
    attacks = craft(request_for(reference, dataset, tmp_path, config=few))
    assert attacks.num_samples == 30
    x = load_split(dataset, "test").x
    assert load(attacks, "fgsm_1e-06") == pytest.approx(x[::5], abs=1e-5)


def test_corruptions_of_images_are_refused_for_a_table(reference, dataset, tmp_path):
    config = EVERYTHING.model_copy(update={"corruptions": ("blur", "missing-values")})
    with pytest.raises(ConfigError, match="do not fit samples of shape") as error:
        craft(request_for(reference, dataset, tmp_path, config=config))
    assert error.value.details == ("blur needs images (C, H, W) with an input_range",)


def test_of_several_starts_each_sample_keeps_the_most_harmful(reference, dataset, tmp_path):
    config = EVERYTHING.model_copy(update={"pgd_steps": 1})
    y = load_split(dataset, "test").y
    network = load_network(reference, reference.spec).eval()
    harm = {}
    for restarts in (1, 4):
        several = config.model_copy(update={"pgd_restarts": restarts})
        attacks = craft(request_for(reference, dataset, tmp_path, config=several))
        harm[restarts] = losses(network, load(attacks, "pgd-l2_0.2"), y)
    assert (harm[4] >= harm[1]).all(), "the first start is the same"
    assert (harm[4] > harm[1]).mean() > 0.5
