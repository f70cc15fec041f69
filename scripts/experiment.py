#!/usr/bin/env python3
"""Does re-weighting credit by looking help? Arms on the generated task `survey`, over a map of its dials.

    scripts/experiment.py run --vgpo target/release/vgpo --out experiment     # may be stopped and started again
    scripts/experiment.py report --plots docs/images/experiments --document docs/experiments.md
    scripts/experiment.py forecast                                            # the table of forecasts of `vgpo audit`

What has been run is in RESULTS, a row a run; `run` skips what that table has and adds to it, on any machine.
The plan below was fixed before the first run that it judges; `report` computes nothing that it does not name.

Plan
  Task      `survey`: a response looks at LOOKS digits one by one, with fillers of FILLER bits a word in between; the
            demonstrations that the starter was taught copy or guess instead of looking, the more often the later, up
            to FORGETTING at the last look. A cell of the map is (looks, filler, forgetting): a two-level factorial
            design over the three dials (DIALS), and CENTRE with values in between for the last two. The starter of
            CENTRE is made by `vgpo starter build` with the recipe's seed; that of a corner is the same, taught the
            corner's demonstrations for FURTHER_STEPS more steps.
  Arms      ARMS. Each is a `method` of the job, and what it changes in `rollout`. DAPO has no visual weights and is the
            baseline. Two controls: `shuffled` has VGPO's weights in a random order over the tokens of each response, so
            it has their spread but not their places; `oracle` weighs tokens by how much their distribution depends on
            the picture. An arm of visual weights is of use only where it beats DAPO and `shuffled`. If the oracle does
            not beat DAPO in a cell, no visual weighting can be expected to. `oracle-intra` is the oracle without
            weights between responses, which slowed learning in an earlier ablation on `digits`.
  Training  STEPS steps of PROMPTS prompts x 8 responses, 4 updates a step, so that the ratio leaves 1 and the clip
            acts.
            DAPO's filter (groups that are all right or all wrong are dropped and not replaced) in every arm.
  Rate      Each arm has the learning rate of RATES with the highest mean primary outcome in CENTRE on TUNING_SEEDS,
            which are used for nothing else; on the map it keeps that rate. A tie goes to the lower rate. An arm that
            was not tuned has DEFAULT_RATE, and the report says so.
  Pairs     Every arm of a cell runs with the same SEEDS, 10 in the end. A seed settles the order of the prompts and all
            sampling. Arms are compared by their differences within a seed.
  Primary   Held-out accuracy (greedy, EVAL_ROWS rows) after step STEPS: arm minus DAPO.
  Area      The mean accuracy of all responses that were sampled for training: the area under the curve of learning. It
            takes no evaluation; the held-out rows are answered once, at the end.
  Interval  95 % percentile bootstrap of the mean difference over seeds (RESAMPLES resamples of the pairs, fixed seed).
            With fewer than 6 seeds such an interval is too narrow; the report says so.
  Test      Exact two-sided sign-flip test of the mean difference (n pairs: the p-value cannot be below 2 / 2^n), with
            Holm's correction over the arms that are compared with DAPO, for the primary outcome alone: in each cell,
            and over the pairs of all cells together.
  Secondary minus `shuffled`; late/early ratio of visual focus; late/early ratio of
            dependency on the picture, by an audit after training; response length. They are looked at, not tested for.
  Forecast  The gain of an arm in a task is forecast as the mean over the cells of the map, or as that of the cell whose
            audit is closest (Euclidean, in rank correlation, share of late tokens that depend on the picture, and share
            of the gradient's variance elsewhere): by whichever was closer for cells that were left out in turn.
  Exclusion None. A run that fails is listed as failed.

Stages      The plan is about 700 runs. It is run in stages, and the tables of a stage say which one they are from.
  1         Screening: CENTRE and the half of the corners whose signs multiply to +1 (it holds the corner with the
            most of everything), arms MAP_ARMS, all at DEFAULT_RATE, which is what the starter recommends: nothing is
            tuned. Seed by seed over all cells, so that arms have the same seeds whenever it is stopped; 4 seeds are
            meant, and `shuffled` comes last. The test of this stage is that over all cells together: a cell alone
            has too few pairs for any. With a deviation of 3.5 points of a pair, 20 pairs find a difference of 2.2
            points four times of five, and 10 pairs one of 3.1.
  2         The other four corners, as cells that no forecast was made from.
  3         Learning rates, the remaining arms in CENTRE, and seeds up to 10 everywhere.
"""
# Amendments on 30 November 2026, before the first run of the map. The map needed more hours than there were, so:
# stages; DEFAULT_RATE instead of tuned rates in stage 1; 6 and 9 looks instead of 6 and 12, so that starters of corners
# are taught further in minutes; the arms oracle-intra (the map's oracle), dr_grpo, gdpo and mask_truncated; the test
# over all cells together; an audit after training; one evaluation, at the end; 12 steps of 8 prompts instead of 20 of
# 16, where DAPO in an earlier pilot was near its ceiling. (One run of DAPO in CENTRE on a tuning seed, 16 prompts a
# step: 26.8 % before, 45.3 % after 4 steps, 71.9 % after 8, 78.5 % after 12. No other arm had run on the map.)

import argparse
import contextlib
import io
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import experiment_map  # noqa: E402
import experiment_report  # noqa: E402
import experiment_results as results  # noqa: E402
from experiment_plan import (  # noqa: E402
    ARMS, CENTRE, DEFAULT_RATE, MAP, MAP_ARMS, RATES, SEEDS, STAGES, TUNING_SEEDS, cell_name, cell_of, chosen_rates)
from experiment_runs import Runner  # noqa: E402

RESULTS = ROOT / "docs/experiments/survey.csv"
DOCUMENT, MARKS = ROOT / "docs/experiments.md", ("<!-- tables -->", "<!-- end of tables -->")
FORECASTS = ROOT / "src/algorithm/forecast/map.rs"


def tuning(arms):
    """The runs that learning rates are chosen by."""
    return [(CENTRE, arm, rate, seed) for seed, arm, rate in itertools.product(TUNING_SEEDS, arms, RATES)]


def comparison(cells, arms, seeds, rates):
    """The runs that are compared: seed by seed, so that all arms have the same seeds whenever it is stopped."""
    return [(cell, arm, rates.get(arm, DEFAULT_RATE), seed) for seed in seeds for cell in cells for arm in arms(cell)]


def run(args):
    runner = Runner(args)
    cells, tune = STAGES[args.stage]
    cells = [cell_of(name) for name in args.cells] if args.cells else cells
    seeds = [seed for seed in SEEDS if seed < args.seeds]
    everywhere = lambda cell: args.arms or (ARMS if tune and cell == CENTRE else MAP_ARMS)  # noqa: E731
    with ThreadPoolExecutor(args.jobs) as pool:
        if tune:
            runner.make_missing(pool, tuning(args.arms or ARMS))
        rates = chosen_rates(runner.rows())
        runner.make_missing(pool, comparison(cells, everywhere, seeds, rates))


def tables_of(args):
    return results.read_results(args.results), results.read_audits(results.audits_path(args.results))


def forecast(args):
    FORECASTS.write_text(experiment_map.rust(*tables_of(args)), encoding="utf-8")


def summary(rows, audits):
    """What docs/experiments.md has between MARKS."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        experiment_report.summary(rows, audits)
        experiment_map.tables(rows, audits)
    return said.getvalue()


def report(args):
    rows, audits = tables_of(args)
    if args.out:
        more, found = results.read_all(args.out)
        rows, audits = results.merged(rows, more), {**found, **audits}
        results.write_results(rows, args.results)
        results.write_audits(audits, results.audits_path(args.results))
    experiment_report.cells(rows)
    print(summary(rows, audits))
    if args.plots:
        experiment_report.plot(rows, args.plots)
    if args.document:
        before, _, rest = args.document.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        args.document.write_text(MARKS[0].join([before, f"\n{summary(rows, audits)}\n{MARKS[1]}{after}"]),
                                 encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="make starters and train what is missing")
    runs.add_argument("--vgpo", type=Path, default=Path("target/release/vgpo"))
    runs.add_argument("--out", type=Path, default=Path("experiment"))
    runs.add_argument("--stage", type=int, choices=STAGES, default=1)
    names = [cell_name(cell) for cell in MAP]
    runs.add_argument("--cells", nargs="+", metavar="CELL",
                      help=f"instead of the stage's: looks-filler-forgetting, of {' '.join(names)}")
    runs.add_argument("--arms", nargs="+", choices=ARMS, help="these only")
    runs.add_argument("--seeds", type=int, default=4, help="number of seeds, 10 at most")
    runs.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    runs.add_argument("--threads", type=int, help="threads of a run")
    runs.add_argument("--nice", type=int, default=0)
    tables = commands.add_parser("report", help="tables and plots of what has run")
    tables.add_argument("--out", type=Path, help="a folder of `run`, whose runs are added to the table first")
    tables.add_argument("--plots", type=Path, help="folder for SVG plots")
    tables.add_argument("--document", type=Path, help="write the tables of all cells together between its marks")
    forecasts = commands.add_parser("forecast", help="write the table of forecasts of `vgpo audit`")
    for command in [runs, tables, forecasts]:
        command.add_argument("--results", type=Path, default=RESULTS, help="the table of raw results")
    args = parser.parse_args()
    {"run": run, "report": report, "forecast": forecast}[args.command](args)


if __name__ == "__main__":
    main()
