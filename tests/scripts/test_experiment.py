"""The statistics of scripts/experiment.py, and its report from a table of raw results."""

import contextlib
import io
import itertools
import json
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import experiment  # noqa: E402
import experiment_map as forecasts  # noqa: E402
import experiment_plan as plan  # noqa: E402
import experiment_results as results  # noqa: E402
import experiment_statistics as statistics  # noqa: E402


class Statistics(unittest.TestCase):
    def test_a_sign_flip_counts_all_signs(self):
        # Of the 8 ways to sign 1, 2, 3 only +++ and --- reach 6.
        self.assertAlmostEqual(statistics.sign_flip([1.0, 2.0, 3.0]), 2 / 8)
        # |1 + 2 - 3| = 0: every sum is at least that.
        self.assertAlmostEqual(statistics.sign_flip([1.0, 2.0, -3.0]), 1.0)
        self.assertAlmostEqual(statistics.sign_flip([0.5] * 10), 2 / 1024)

    def test_many_pairs_are_flipped_by_lot(self):
        values = [1.0 if place % 4 else -1.0 for place in range(24)]
        # 18 of 24 of one sign or more, either way: 2 * P(X >= 18) for a fair coin.
        self.assertAlmostEqual(statistics.sign_flip(values), 0.0227, delta=0.005)

    def test_holm_steps_down_and_never_falls(self):
        corrected = statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
        expected = {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
        for name, p_value in expected.items():
            self.assertAlmostEqual(corrected[name], p_value, msg=name)
        self.assertEqual(statistics.holm({"a": 0.9, "b": 0.8}), {"b": 1.0, "a": 1.0})

    def test_the_bootstrap_holds_the_mean_and_is_the_same_at_every_call(self):
        values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
        mean, low, high = statistics.bootstrap(values)
        self.assertEqual(mean, 5.5)
        # The standard error is 2.872 / sqrt(10) = 0.908 (deviation of the sample itself); 1.96 of them each way.
        self.assertAlmostEqual(low, 5.5 - 1.78, delta=0.15)
        self.assertAlmostEqual(high, 5.5 + 1.78, delta=0.15)
        self.assertEqual((mean, low, high), statistics.bootstrap(values))
        self.assertEqual(statistics.bootstrap([2.0, 2.0]), (2.0, 2.0, 2.0))

    def test_groups_count_alike_whatever_their_size(self):
        mean, low, high = statistics.bootstrap_of_groups([[0.0] * 10, [4.0, 8.0]])
        self.assertEqual((mean, low, high), (3.0, 2.0, 4.0))

    def test_the_bootstrap_covers_the_truth(self):
        import random
        dice = random.Random(5)
        inside = 0
        for _ in range(200):
            _, low, high = statistics.bootstrap([dice.gauss(3, 1) for _ in range(20)], resamples=400)
            inside += low <= 3 <= high
        self.assertTrue(0.86 <= inside / 200 <= 0.99, inside)

    def test_quantiles(self):
        self.assertEqual(statistics.quantile([0.0, 10.0], 0.25), 2.5)


def row(cell, arm, seed, accuracy, rate=plan.DEFAULT_RATE):
    return {"cell": cell, "arm": arm, "rate": rate, "seed": seed, "start": 30.0,
            "curve": [(20, accuracy - 5), (40, accuracy)], "accuracy": accuracy, "sampled": accuracy - 10,
            "focus": 0.9, "dependency": None, "length": 170.0, "seconds": 90.0}


class Report(unittest.TestCase):
    def test_tables_and_plots_follow_from_the_raw_results(self):
        cell = plan.cell_name(plan.MAP[0])
        # The oracle is 4 points better at every seed, VGPO now better and now worse.
        rows = [row(cell, "dapo", seed, 50.0 + seed) for seed in range(8)]
        rows += [row(cell, "oracle-intra", seed, 54.0 + seed) for seed in range(8)]
        rows += [row(cell, "vgpo", seed, 50.0 + seed + (1 if seed % 2 else -1)) for seed in range(8)]
        rows += [row(cell, "dapo", plan.TUNING_SEEDS[0], 99.0)]
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            results.write_results(rows, folder / "results.csv")
            again = results.read_results(folder / "results.csv")
            self.assertEqual(again, rows)
            results.write_audits({cell: {"auc": 0.875}}, folder / "results-audits.csv")
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                sys.argv = ["experiment.py", "report", "--results", str(folder / "results.csv"),
                            "--plots", str(folder / "plots")]
                experiment.main()
            said = said.getvalue()
            plots = sorted(path.name for path in (folder / "plots").iterdir())
            self.assertEqual(plots, ["map.svg"])
            for plot in plots:
                xml.etree.ElementTree.parse(folder / "plots" / plot)
        # 2 / 2^8, twice for the smaller of two p-values.
        self.assertIn("| 8 | 57.50 | +4.00 [+4.00, +4.00] | 0.016 |", said)
        self.assertIn("+0.00 [-0.75, +0.75] | 1.000 |", said)
        self.assertNotIn("too narrow", said)
        self.assertIn("| oracle, intra-trajectory weights only | 8 | +4.00 [+4.00, +4.00] | 0.016 |", said)
        self.assertIn("| 0.875 |", said)
        self.assertIn("| 8 | 53.50 | - | - | 43.50 | - | - |", said)

    def test_rates_are_chosen_on_seeds_of_their_own(self):
        centre = plan.cell_name(plan.CENTRE)
        accuracy = {5e-5: 40.0, 1e-4: 60.0, 2e-4: 60.0}
        rows = [row(centre, "vgpo", seed, accuracy[rate], rate)
                for rate, seed in itertools.product(plan.RATES, plan.TUNING_SEEDS)]
        # A seed of the comparison says nothing about the rate, and an arm with a rate missing has none.
        rows += [row(centre, "vgpo", 0, 90.0, 5e-5)]
        rows += [row(centre, "dapo", seed, 50.0, 2e-4) for seed in plan.TUNING_SEEDS]
        # Nor has one whose seeds are not complete.
        rows += [row(centre, "papo", plan.TUNING_SEEDS[0], 50.0, rate) for rate in plan.RATES]
        self.assertEqual(plan.chosen_rates(rows), {"vgpo": 1e-4})

    def test_the_plan(self):
        self.assertEqual(len(plan.MAP), 9)
        self.assertEqual(len(plan.SEEDS), 10)
        self.assertTrue(set(plan.SEEDS).isdisjoint(plan.TUNING_SEEDS))
        self.assertEqual([plan.cell_of(plan.cell_name(cell)) for cell in plan.MAP], plan.MAP)
        first, second = plan.STAGES[1][0], plan.STAGES[2][0]
        self.assertEqual(sorted([*first, *second]), sorted(plan.MAP))
        # Each dial is high in two of the half's four corners, and no two dials go together.
        for dial, (_, high) in enumerate(plan.DIALS):
            self.assertEqual(sum(cell[dial] == high for cell in first if cell != plan.CENTRE), 2)
        job = plan.job("starter", plan.CENTRE, "mask_truncated", 1e-4, 3)
        batch = job["batch"]
        self.assertGreater(batch["prompts_per_step"], batch["minibatch_prompts"], "the clip acts")
        self.assertTrue(job["rollout"]["mask_truncated"])
        self.assertEqual(job["rollout"]["group_size"], 8)


class Forecasts(unittest.TestCase):
    def cells(self, gains):
        """Cells that differ in rank correlation; in each all arms gain the same, a point up and down over two seeds."""
        rows, audits = [], {}
        for cell, (spearman, gain) in zip(map(plan.cell_name, [*plan.STAGES[1][0], *plan.STAGES[2][0]]), gains):
            rows += [row(cell, "dapo", seed, 50.0) for seed in range(2)]
            rows += [row(cell, arm, seed, 50.0 + gain + (1 if seed else -1))
                     for arm, seed in itertools.product(forecasts.ARMS, range(2))]
            audits[cell] = {"spearman": spearman, "dependent_late": 0.2, "independent_gradient": 0.7}
        return rows, audits

    def test_the_closest_audit_counts_only_where_it_tells_more(self):
        cells = forecasts.measured(*self.cells([(0.1, 0.0), (0.2, 0.0), (0.8, 6.0), (0.9, 6.0)]))
        self.assertEqual(forecasts.misses(cells, "vgpo", forecasts.NEAREST), [0.0] * 4)
        self.assertEqual(sorted(forecasts.misses(cells, "vgpo", forecasts.MEAN)), [-4.0, -4.0, 4.0, 4.0])
        self.assertEqual(forecasts.error(cells, "vgpo", forecasts.NOTHING), 18 ** 0.5)
        self.assertEqual(forecasts.rule_of(cells), forecasts.NEAREST)
        cells = forecasts.measured(*self.cells([(0.1, 0.0), (0.2, 6.0), (0.8, 6.0), (0.9, 0.0)]))
        self.assertEqual(forecasts.rule_of(cells), forecasts.MEAN)

    def test_the_program_has_a_table_once_three_cells_are_measured(self):
        rows, audits = self.cells([(0.1, 0.0), (0.2, 0.0), (0.8, 6.0)])
        text = forecasts.rust(rows, audits)
        self.assertIn('Arm { name: "vgpo", pairs: 6, gain: [2.00, ', text)
        self.assertEqual(text.count("        Cell {"), 3)
        self.assertIn("spearman: 0.8000, dependent_late: 0.2000, independent_gradient: 0.7000", text)
        few = [one for one in rows if one["cell"] != plan.cell_name(plan.STAGES[1][0][0]) or one["arm"] != "vgpo"]
        self.assertIn("cells: &[\n    ],", forecasts.rust(few, audits))

    def test_the_table_is_made_from_stage_1_alone(self):
        gains = [(0.1 * cell, 2.0) for cell in range(5)]
        self.assertEqual(forecasts.rust(*self.cells([*gains, (0.9, 50.0)])), forecasts.rust(*self.cells(gains)))

    def test_the_program_and_the_document_have_what_the_committed_results_say(self):
        table = experiment.RESULTS
        rows, audits = results.read_results(table), results.read_audits(results.audits_path(table))
        self.assertEqual(experiment.FORECASTS.read_text(encoding="utf-8"), forecasts.rust(rows, audits),
                         "write it anew: scripts/experiment.py forecast")
        start, end = experiment.MARKS
        written = experiment.DOCUMENT.read_text(encoding="utf-8").partition(start)[2].partition(end)[0]
        self.assertEqual(written.strip(), experiment.summary(rows, audits).strip(),
                         "write it anew: scripts/experiment.py report --document docs/experiments.md")


PROGRAM = """#!/usr/bin/env python3
# Stands in for vgpo: notes what it was started for, and writes what the real one leaves behind.
import json, pathlib, sys
with open(LOG, "a") as log:
    log.write(" ".join(sys.argv[1:3]) + "\\n")
said = dict(zip(sys.argv[1:], sys.argv[2:]))
if sys.argv[1] == "starter":
    out = pathlib.Path(said["--out"])
    out.mkdir(parents=True)
    (out / "vgpo.json").write_text(json.dumps({"made_with": {"accuracy": 0.25}, "recommended": {"steps": 40}}))
if sys.argv[1] == "audit":
    print("reading", sys.argv[2])
    print(json.dumps({"metrics": {"audit/dependency_early": 2.0, "audit/dependency_late": 1.0, "eval/accuracy": 0.5}}))
if sys.argv[1] == "train":
    job = json.loads(pathlib.Path(said["--spec"]).read_text())
    last = {"eval/accuracy": 0.75, "eval/late_early_ratio": 0.9, "eval/response_length": 10.0}
    lines = [{"step": 1, "values": {"accuracy": 0.5, "time/step": 2.0}}, {"step": job["steps"], "values": last}]
    out = pathlib.Path(said["--out"])
    (out / "checkpoints" / f"step-{job['steps']:08}").mkdir(parents=True)
    (out / "metrics.jsonl").write_text("\\n".join(map(json.dumps, lines)))
"""


class Run(unittest.TestCase):
    def run_with(self, folder, out):
        (folder / "log").write_text("")
        program = folder / "vgpo"
        program.write_text(PROGRAM.replace("LOG", repr(str(folder / "log"))))
        program.chmod(0o755)
        sys.argv = ["experiment.py", "run", "--vgpo", str(program), "--out", str(folder / out), "--cells", "6-0.5-0.9",
                    "--arms", "dapo", "dr_grpo", "--seeds", "2", "--results", str(folder / "survey.csv")]
        with contextlib.redirect_stdout(io.StringIO()):
            experiment.main()
        return [line.split()[0] for line in (folder / "log").read_text().splitlines()]

    def test_what_the_table_has_is_not_run_again(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            self.assertEqual(self.run_with(folder, "a"), ["starter", "audit", *["train", "audit"] * 5])
            card = json.loads((folder / "a/starters/6-0.5-0.9/vgpo.json").read_text())
            self.assertEqual(card["recommended"], {"steps": 40}, "as the starter that it was taught from")
            rows = results.read_results(folder / "survey.csv")
            self.assertEqual([(row["arm"], row["seed"]) for row in rows],
                             [("dapo", 0), ("dapo", 1), ("dr_grpo", 0), ("dr_grpo", 1)])
            self.assertEqual(rows[0], {"cell": "6-0.5-0.9", "arm": "dapo", "rate": 1e-4, "seed": 0, "start": 75.0,
                                       "curve": [(plan.STEPS, 75.0)], "accuracy": 75.0, "sampled": 50.0, "focus": 0.9,
                                       "dependency": 0.5, "length": 10.0, "seconds": 2.0})
            # Another machine has the table only, without a run: it makes what is missing, and keeps the others.
            kept = [row for row in rows if (row["arm"], row["seed"]) != ("dr_grpo", 1)]
            results.write_results(kept, folder / "survey.csv")
            self.assertEqual(self.run_with(folder, "b"), ["starter", "audit", *["train", "audit"] * 2])
            self.assertEqual(results.read_results(folder / "survey.csv"), rows)
            self.assertEqual(self.run_with(folder, "c"), [], "nothing is missing")
            audits = results.read_audits(folder / "survey-audits.csv")
            one = {"accuracy": 0.5, "dependency_early": 2.0, "dependency_late": 1.0}
            self.assertEqual(audits, {"6-0.5-0.9": one, plan.cell_name(plan.CENTRE): one})


if __name__ == "__main__":
    unittest.main()
