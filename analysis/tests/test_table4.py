"""Table IV of made-up runs: each expected value is computed by hand."""

import pytest
from learning_runs import episodes, write_run, yardsticks

import table4


def write(root):
    """True: means 2.9, 2.8 and 2.7 of seeds 1 to 3; surrogate: 2.91, 2.77 of seeds 1 and 2, and one of seed 7."""
    for seed, mean in ((1, 2.9), (2, 2.8), (3, 2.7)):
        write_run(root, "case_a_ppo", seed, [*episodes("learned", [mean - 1, mean + 1], 24000), *yardsticks([3, 3], [2.5, 2.5])], wall_s=60.0 * seed)
    for seed, mean in ((1, 2.91), (2, 2.77), (7, 2.6)):
        write_run(root, "case_a_ppo_surrogate", seed, [*episodes("learned", [mean, mean], 24000), *yardsticks([3, 3], [2.5, 2.5])], wall_s=0.5)


@pytest.mark.parametrize(
    "scenario, partner",
    [("case_a_ppo_surrogate", "case_a_ppo"), ("case-a-surrogate-ppo", "case-a-ppo"), ("surrogate_x", "x"), ("case_a_ppo", None), ("surrogates", None), ("surrogate", "")],
)
def test_the_partner_is_called_the_same_without_the_word(scenario, partner):
    assert table4.without_surrogate(scenario) == partner


@pytest.mark.parametrize("seconds, name", [(7.26, "7.26 s"), (462, "7.7 min"), (9000, "2.5 h"), (float("nan"), "")])
def test_times_are_readable(seconds, name):
    assert table4.seconds_name(seconds) == name


def test_ours_stands_beside_the_papers(tmp_path, capsys):
    write(tmp_path / "runs")
    assert table4.main([str(tmp_path / "runs"), "-o", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    rows, differences, *_ = [[line.split() for line in part.splitlines()] for part in text.split("\n\n")]
    # Standard deviation 0.1 of three: ± 4.302653 · 0.1 / √3; regret (3 - 2.8)/0.5.
    assert rows[1] == "case_a_ppo 3 24000 2.8000 0.2484 3.0000 0.4000 0.4968 2.0 min 2.9736 > 24 days 16.3 GB".split()
    assert rows[2][:4] == ["case_a_ppo_surrogate", "3", "24000", "2.7600"] and rows[2][-8:] == "0.5 s 2.9663 7.7 min < 1 GB".split()
    # +0.01 and -0.03 of seeds 1 and 2: mean -0.01 ± 12.706205 · 0.02.
    assert differences[1] == ["case_a_ppo_surrogate", "-", "case_a_ppo", "2", "-0.0100", "0.2541", "-0.2641", "+0.2441", "-0.0073"]
    assert "note: case_a_ppo_surrogate: 2 runs have no partner of the same seed and are left out of the difference" in text
    assert "| case_a_ppo | 3 | 24000 | 2.8000 |" in (tmp_path / "out/table4.md").read_text()


def test_steps_are_the_mean_over_ues_and_settings_are_not_mixed(tmp_path, capsys):
    rows = [*episodes("learned", [1.0], 162, ue=0, number=1), *episodes("learned", [2.0], 206, ue=1, number=1)]
    write_run(tmp_path / "runs", "x", 1, [*episodes("learned", [9.0], 300, number=0), *rows], {"rate": 1})
    assert table4.main([str(tmp_path / "runs"), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["x", "1", "184", "1.5000"]
    write_run(tmp_path / "runs", "x", 2, rows, {"rate": 2})
    assert table4.main([str(tmp_path / "runs"), "-o", str(tmp_path / "out")]) == 2
    assert "runs called x differ in their settings: x, rate=1; x, rate=2" in capsys.readouterr().err


def test_other_cases_have_no_row_in_the_paper(tmp_path, capsys):
    write_run(tmp_path / "runs", "case_h_ppo", 1, episodes("learned", [1.0], 100))
    assert table4.main([str(tmp_path / "runs"), "-o", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].split() == ["case_h_ppo", "1", "100", "1.0000", "1", "s", "—", "—", "—"]
    assert "note: no scenario stands beside the same with `surrogate` in its name" in text
