import math

import pytest
from learning_runs import episodes, write_run, yardsticks

import learning_data
from run_data import InputError


@pytest.mark.parametrize(
    "scenario, case, label",
    [
        ("case_a_ppo", "A", "PPO"),
        ("case_l_ppo_surrogate", "L", "PPO, surrogate"),
        ("builtin-case-h-a2c", "H", "A2C, builtin"),
        ("case_h_untrained", "H", "untrained"),
        ("case_a_dqn_builtin", "A", "DQN, builtin"),
        ("case_x_ppo", "", "case_x_ppo"),
        ("quickstart", "", "quickstart"),
    ],
)
def test_a_name_tells_case_and_label(scenario, case, label):
    assert learning_data.case_and_label(scenario) == (case, label)


def test_labels_have_an_order(tmp_path):
    for scenario in ("case_a_zeta", "case_a_random", "case_a_dqn", "case_a_ppo"):
        write_run(tmp_path, scenario, 1, episodes("learned", [1.0], 10))
    evaluations = learning_data.load_evaluations(learning_data.find_all([tmp_path], []), [])
    assert learning_data.labels(evaluations) == ["PPO", "DQN", "random", "zeta"]


def test_a_run_that_is_named_twice_counts_once(tmp_path):
    folder = write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [1.0], 10))
    assert len(learning_data.find_all([tmp_path, folder, folder.parent], [])) == 1


def test_the_last_evaluation_is_each_runs_own(tmp_path):
    for seed, steps in ((1, 100), (2, 104)):
        write_run(tmp_path, "case_a_ppo", seed, [*episodes("learned", [0.0], 0), *episodes("learned", [seed], steps)])
    notes = []
    last = learning_data.last_evaluations(learning_data.load_evaluations(learning_data.find_all([tmp_path], []), []), notes)
    assert list(last["reward"]) == [1.0, 2.0] and notes == ["case A, PPO: runs end at different steps, 100 to 104"]


def test_runs_without_evaluations_are_said(tmp_path):
    write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [1.0], 10))
    write_run(tmp_path, "case_a_random", 1, None)
    notes = []
    learning_data.load_evaluations(learning_data.find_all([tmp_path], []), notes)
    assert notes == ["1 of 2 runs hold no evaluations.csv and are left out: case_a_random/0000000000000001"]
    with pytest.raises(InputError, match="no run holds evaluations of a learner"):
        learning_data.load_evaluations(learning_data.find_all([tmp_path / "case_a_random"], []), [])


def test_other_starts_are_noticed(tmp_path):
    write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [1.0, 2.0], 10))
    write_run(tmp_path, "case_a_a2c", 1, episodes("learned", [1.0, 2.0], 10))
    write_run(tmp_path, "case_l_a2c", 1, episodes("learned", [1.0], 10, losses=[0.3]))
    notes = []
    assert learning_data.note_mixed_starts(learning_data.load_evaluations(learning_data.find_all([tmp_path], []), []), notes) and not notes
    write_run(tmp_path, "case_a_dqn", 1, episodes("learned", [1.0, 2.0], 10, first_split=4))
    assert not learning_data.note_mixed_starts(learning_data.load_evaluations(learning_data.find_all([tmp_path], []), []), notes)
    assert notes == ["case A: the runs were not evaluated on the same starts: differences are not paired by episode"]


def test_numbers():
    mean, reach = learning_data.interval([1.0, 1.5, 3.0])
    assert mean == pytest.approx(11 / 6) and reach == pytest.approx(4.302653 * math.sqrt(13 / 12) / math.sqrt(3), rel=1e-6)
    assert math.isnan(learning_data.interval([1.0])[1])
    assert learning_data.regret(2.9, 3.0, 2.6) == pytest.approx(0.25)
    assert math.isnan(learning_data.regret(2.9, 3.0, 3.0))
    assert [learning_data.cell(value) for value in (-1e-9, -0.12345, math.nan)] == ["0.0000", "-0.1235", ""]
    assert learning_data.cell(-1e-9, signed=True) == "+0.0000"


def test_optimum_is_that_of_the_yardsticks(tmp_path):
    write_run(tmp_path, "case_a_ppo", 1, [*episodes("learned", [1.0, 2.0], 10), *yardsticks([3.0, 4.0], [0.0, 1.0])])
    evaluations = learning_data.load_evaluations(learning_data.find_all([tmp_path], []), [])
    assert learning_data.yardstick(evaluations, "optimal") == 3.5 and math.isnan(learning_data.yardstick(evaluations, "greedy"))


def test_runs_that_never_learn_are_an_error(tmp_path):
    write_run(tmp_path, "case_a_random", 1, episodes("random", [1.0]))
    with pytest.raises(InputError, match="no run holds evaluations of a learner"):
        learning_data.load_evaluations(learning_data.find_all([tmp_path], []), [])
    write_run(tmp_path, "case_a_ppo", 1, [*episodes("learned", [1.0], 10), *episodes("random", [2.0])])
    notes = []
    evaluations = learning_data.load_evaluations(learning_data.find_all([tmp_path], []), notes)
    assert learning_data.yardstick(evaluations, "random") == 2.0
    assert notes == ["1 of 2 runs evaluate no learner and are left out: case_a_random/0000000000000001"]


def test_worlds_with_other_optima_are_noticed(tmp_path):
    for scenario, optimum in (("case_a_ppo", 3.0), ("case_a_a2c", 3.0), ("case_h_ppo", 2.5)):
        write_run(tmp_path, scenario, 1, [*episodes("learned", [1.0], 10), *episodes("optimal", [optimum])])
    notes = []
    learning_data.note_mixed_worlds(learning_data.load_evaluations(learning_data.find_all([tmp_path], []), []), notes)
    assert notes == []
    write_run(tmp_path, "case_a_ppo_builtin", 1, [*episodes("learned", [1.0], 10), *episodes("optimal", [-9.0])])
    learning_data.note_mixed_worlds(learning_data.load_evaluations(learning_data.find_all([tmp_path], []), []), notes)
    assert notes == ["case A: the optimum differs between scenarios, -9.0000 to 3.0000: name runs of one world"]
