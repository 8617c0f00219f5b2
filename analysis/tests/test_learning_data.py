import math

import pytest
from learning_runs import episodes, write_run, yardsticks

import learning_data
from run_data import InputError


def load(root):
    return learning_data.load_evaluations(learning_data.find_all([root], []), [])


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


def several_ues():
    """Round 1 of three UEs, two episodes each: one learned no more since round 0, the others end at 162 and 205."""
    rows = []
    for ue, steps, final in ((0, 100, [1.0, 2.0]), (1, 162, [4.0, 5.0]), (2, 205, [7.0, 11.0])):
        rows += episodes("learned", [0.0, 0.0], 100, ue=ue, number=0) + episodes("learned", final, steps, ue=ue, number=1)
    return rows


def test_the_last_evaluation_is_of_all_ues(tmp_path):
    write_run(tmp_path, "case_a_ppo", 1, several_ues())
    last = learning_data.last_evaluations(load(tmp_path), [])
    assert sorted(last["ue_id"]) == [0, 0, 1, 1, 2, 2] and set(last["round"]) == {1}
    assert last["reward"].mean() == 5.0 and last["env_steps"].mean() == pytest.approx(467 / 3)


def test_files_without_rounds_are_an_error(tmp_path):
    folder = write_run(tmp_path, "case_a_ppo", 1, episodes("learned", [1.0], 10))
    older = (folder / "evaluations.csv").read_text().replace(",round", ",turn")
    (folder / "evaluations.csv").write_text(older)
    with pytest.raises(InputError, match="missing column 'round'") as caught:
        load(tmp_path)
    assert caught.value.hint == "run it again with this version: splitwave run SCENARIO.toml --force"
    (folder / "evaluations.csv").write_text(older.replace(",turn", ",round").replace("5,0\n", "5,\n"))
    with pytest.raises(InputError, match="a learner's row without round or env_steps"):
        load(tmp_path)


def test_runs_that_differ_in_more_than_the_seed_have_their_own_labels(tmp_path):
    ppo = lambda rate, **more: {"controller": {"policy_out": f"{rate}.json", "ppo": {"learning_rate": rate}, **more}}
    for seed, rate in ((1, 0.001), (2, 0.001), (3, 3e-4)):
        write_run(tmp_path, "case_a_ppo", seed, episodes("learned", [float(seed)], 10), ppo(rate))
    evaluations = load(tmp_path)
    assert list(evaluations["label"]) == ["PPO, learning_rate=0.001"] * 2 + ["PPO, learning_rate=0.0003"]
    with pytest.raises(InputError, match="runs called case_a_ppo differ in their settings: PPO, learning_rate=0.001; PPO, learning_rate=0.0003"):
        learning_data.refuse_mixed_settings(evaluations)
    write_run(tmp_path, "case_a_ppo", 4, episodes("learned", [1.0], 10), ppo(3e-4, kind="dqn", scope="shared"))
    with pytest.raises(InputError, match="runs called case_a_ppo differ in controller.kind, controller.ppo.learning_rate, controller.scope") as caught:
        load(tmp_path)
    assert "--set name=NAME" in caught.value.hint


def test_settings_of_one_name_are_told_with_their_path(tmp_path):
    for seed, (ppo, a2c) in enumerate(((1, 2), (1, 3), (2, 3))):
        write_run(tmp_path, "x", seed, episodes("learned", [1.0], 10), {"ppo": {"n_steps": ppo}, "a2c": {"n_steps": a2c}})
    assert list(load(tmp_path)["label"]) == ["x, a2c.n_steps=2, ppo.n_steps=1", "x, a2c.n_steps=3, ppo.n_steps=1", "x, a2c.n_steps=3, ppo.n_steps=2"]


def test_evaluations_on_other_starts_are_other_settings(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path, "x", seed, episodes("learned", [1.0], 10), {"evaluation": {"seed": seed}})
    assert list(load(tmp_path)["label"]) == ["x, seed=1", "x, seed=2"]


def test_scenarios_without_a_case_share_a_panel_where_they_share_a_world(tmp_path):
    for scenario, optimum in (("office-ppo", 3.0), ("office-dqn", 3.0), ("factory", -9.0), ("case_a_ppo", 3.0), ("A", 1.0)):
        write_run(tmp_path, scenario, 1, [*episodes("learned", [1.0], 10), *yardsticks([optimum], [-10.0])])
    evaluations = load(tmp_path)
    assert [case for case, _ in learning_data.cases(evaluations)] == ["A", "'A'", "factory", "office-dqn, office-ppo"]
    assert learning_data.title_of("A") == "Case A: loss 0–0.3" and learning_data.title_of("factory") == "factory"


def test_panels_wrap():
    assert [learning_data.grid_of(n) for n in (1, 4, 5, 7)] == [(1, 1), (1, 4), (2, 3), (3, 3)]


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
    assert notes == ["case A: the optimum differs between learners, -9.0000 to 3.0000, and is not drawn: name runs of one world"]
    case_a = learning_data.cases(learning_data.load_evaluations(learning_data.find_all([tmp_path], []), []))[1][1]
    assert learning_data.common(case_a, "optimal").empty
