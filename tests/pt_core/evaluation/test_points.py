import pytest

from pt_core.errors import ConfigError
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.points import check_fits, crafted, measured, metric_name, spread


def test_everything_measured_has_a_name_and_only_square_is_not_replayed():
    config = EvaluationConfig(
        fgsm_epsilons=(0.1,),
        noise_sigmas=(0.2,),
        pgd_epsilons=(0.05,),
        pgd_l2_epsilons=(0.5,),
        corruptions=("jpeg",),
        corruption_severities=(1, 3),
        square_epsilons=(0.1,),
    )
    names = [metric_name(*point) for point in crafted(config)]
    assert names == [
        "robustness/fgsm_0.1",
        "robustness/gaussian-noise_0.2",
        "robustness/pgd_0.05",
        "robustness/pgd-l2_0.5",
        "robustness/jpeg_1",
        "robustness/jpeg_3",
    ]
    assert measured(config) == (*crafted(config), ("square", 0.1))


def test_what_is_empty_is_off():
    assert measured(EvaluationConfig(fgsm_epsilons=(), noise_sigmas=())) == ()
    assert {attack for attack, _ in measured(EvaluationConfig())} == {"fgsm", "gaussian-noise"}


@pytest.mark.parametrize(("total", "limit"), [(10, 3), (10, 10), (10, 99), (1, 5), (360, 64)])
def test_chosen_samples_are_spread_evenly_and_none_is_taken_twice(total, limit):
    rows = spread(total, limit)
    assert len(rows) == min(total, limit) == len(set(rows))
    assert rows[0] == 0
    gaps = {after - before for before, after in zip(rows, [*rows[1:], total], strict=True)}
    assert max(gaps) - min(gaps) <= 1


def test_the_transfer_table_needs_square_at_its_radius():
    with pytest.raises(ValueError, match=r"transfer_epsilon: 0\.1 is none of square_epsilons"):
        EvaluationConfig(transfer_epsilon=0.1, square_epsilons=(0.2,))
    assert EvaluationConfig(transfer_epsilon=0.1, square_epsilons=(0.1,)).transfer_epsilon == 0.1


@pytest.mark.parametrize("name", ["pgd_epsilons", "corruptions", "corruption_severities", "square_epsilons"])
def test_a_strength_given_twice_is_refused(name):
    value = "blur" if name == "corruptions" else 2
    with pytest.raises(ValueError, match=f"{name}: {value} is given twice"):
        EvaluationConfig(**{name: (value, value)})


@pytest.mark.parametrize(
    ("shape", "input_range", "corruption", "fits"),
    [
        ((1, 8, 8), (0.0, 1.0), "jpeg", True),
        ((2, 8, 8), (0.0, 1.0), "jpeg", False),
        ((2, 8, 8), (0.0, 1.0), "blur", True),
        ((3, 8, 8), None, "blur", False),
        ((30,), None, "missing-values", True),
        ((30,), None, "occlusion", False),
        ((3, 8, 8), (0.0, 1.0), "missing-values", False),
    ],
)
def test_corruptions_are_checked_against_the_samples(dataset, shape, input_range, corruption, fits):
    config = EvaluationConfig(corruptions=(corruption,))
    described = dataset.model_copy(update={"input_shape": shape, "input_range": input_range})
    if fits:
        check_fits(config, described)
        return
    with pytest.raises(ConfigError, match="leave them out") as error:
        check_fits(config, described)
    assert error.value.details[0].startswith(f"{corruption} needs")
