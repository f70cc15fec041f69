#!/usr/bin/env python3
"""Does re-weighting credit by looking help? Arms on the generated task `survey`, over a map of its dials.

    scripts/experiment.py run --vgpo target/release/vgpo --out experiment     # may be stopped and started again
    scripts/experiment.py report --out experiment --results docs/experiments/survey.csv --plots docs/images/experiments
    scripts/experiment.py report --results docs/experiments/survey.csv        # tables again, from the raw results

The plan below was fixed before the first run that it judges; `report` computes nothing that it does not name.

Plan
  Task      `survey`: a response looks at LOOKS digits one by one, with fillers of FILLER bits a word in between; the
            demonstrations that the starter was taught copy or guess instead of looking, the more often the later, up
            to FORGETTING at the last look. A cell of the map is (looks, filler, forgetting): a two-level factorial
            design over the three dials (DIALS) and its centre CENTRE. Each cell has a starter of its own, made by
            `vgpo starter build` with the recipe's seed.
  Arms      ARMS. Each is a `method` of the job. DAPO has no visual weights and is the baseline. Two controls:
            `shuffled` has VGPO's weights in a random order over the tokens of each response, so it has their spread but
            not their places; `oracle` weighs tokens by how much their distribution depends on the picture. An arm of visual
            weights is of use only where it beats DAPO and `shuffled`. If the oracle does not beat DAPO in a cell, no
            visual weighting can be expected to.
  Training  STEPS steps of 16 prompts x 8 responses, 4 updates a step, so that the ratio leaves 1 and the clip acts.
            DAPO's filter (groups that are all right or all wrong are dropped and not replaced) in every arm. One run
            of DAPO in the cell 9-1.5-0.6, which is not part of the map, settled STEPS and the dials: it was near its
            ceiling after 20 steps, so the map forgets more.
  Rate      Each arm has the learning rate of RATES with the highest mean primary outcome in CENTRE on TUNING_SEEDS,
            which are used for nothing else; on the map it keeps that rate. A tie goes to the lower rate. An arm that
            was not tuned has DEFAULT_RATE, and the report says so.
  Pairs     Every arm of a cell runs with the same SEEDS, 10 by default. A seed settles the order of the prompts and all
            sampling. Arms are compared by their differences within a seed.
  Primary   Held-out accuracy (greedy, EVAL_ROWS rows) after step STEPS: arm minus DAPO.
  Area      The mean of the held-out accuracy over the steps (trapezoids between evaluations): how fast an arm learns.
  Interval  95 % percentile bootstrap of the mean difference over seeds (RESAMPLES resamples of the pairs, fixed seed).
            With fewer than 6 seeds such an interval is too narrow; the report says so.
  Test      Exact two-sided sign-flip test of the mean difference (n pairs: the p-value cannot be below 2 / 2^n), with
            Holm's correction over the arms that are compared with DAPO in a cell, for the primary outcome alone.
  Secondary minus `shuffled`; accuracy of all sampled responses; late/early ratio of visual focus; late/early ratio of
            dependency on the picture, where a job reports it; response length. They are looked at, not tested for.
  Exclusion None. A run that fails is listed as failed.
"""

import argparse
import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import experiment_plots  # noqa: E402
import experiment_statistics as statistics  # noqa: E402

# The dials: low and high values of looks, bits of a filler's word, and forgetting at the last look.
DIALS = [(6, 12), (0.5, 1.8), (0.6, 0.9)]
CENTRE = (9, 1.5, 0.75)
MAP = [*itertools.product(*DIALS), CENTRE]

SEEDS = list(range(10))
TUNING_SEEDS = [100, 101, 102]
RATES = [5e-5, 1e-4, 2e-4]
DEFAULT_RATE = 1e-4
STEPS, EVAL_EVERY, EVAL_ROWS = 20, 4, 512
BASELINE, SHUFFLED = "dapo", "shuffled"

# name -> (what it is, `method` of the job)
ARMS = {
    "dapo": ("DAPO: no visual weights", {"type": "dapo"}),
    "shuffled": ("VGPO, weights shuffled within the response", {"type": "vgpo", "control": "shuffled"}),
    "oracle": ("VGPO, weights by true dependency (oracle)", {"type": "vgpo", "control": "oracle"}),
    "vgpo": ("VGPO", {"type": "vgpo"}),
    "intra": ("VGPO, intra-trajectory weights only", {"type": "vgpo", "inter": False}),
    "inter": ("VGPO, inter-trajectory weights only", {"type": "vgpo", "intra": False}),
    "predicting": ("VGPO, focus of the predicting state", {"type": "vgpo", "focus_position": "predicting"}),
    "step": ("VGPO, step schedule", {"type": "vgpo", "schedule": "step"}),
    "exponential": ("VGPO, exponential schedule", {"type": "vgpo", "schedule": "exponential"}),
    "whole": ("VGPO, compensation of the whole response (gamma 1)", {"type": "vgpo", "gamma": 1.0}),
    "papo": ("PAPO", {"type": "papo"}),
    "vppo": ("VPPO", {"type": "vppo"}),
    "sapo": ("SAPO", {"type": "sapo"}),
    "pepo": ("PEPO", {"type": "pepo"}),
    "pgpo": ("PGPO", {"type": "pgpo"}),
}
# The arms of the map; all arms run in its centre.
MAP_ARMS = ["dapo", "shuffled", "oracle", "vgpo", "predicting"]

FIELDS = ["cell", "arm", "rate", "seed", "start", "curve", "accuracy", "sampled", "focus", "dependency", "length",
          "seconds"]


def cell_name(cell):
    return "-".join(f"{value:g}" for value in cell)


def cell_of(name):
    looks, filler, forgetting = name.split("-")
    return int(looks), float(filler), float(forgetting)


def job(starter, cell, arm, rate, seed, steps):
    """The job of one run. The starter's own recommendations give what is not named here."""
    return {
        "model": str(starter), "dataset": f"survey:looks={cell[0]}", "seed": seed, "steps": steps,
        "method": ARMS[arm][1],
        "rollout": {"group_size": 8, "filter": {"max_tries": 1}},
        "batch": {"prompts_per_step": 16, "minibatch_prompts": 4},
        "optimizer": {"learning_rate": rate},
        "eval_before": False, "eval_every": EVAL_EVERY, "eval_rows": EVAL_ROWS,
        "checkpoint_every": 0, "keep_checkpoints": 1, "log_samples_every": 0,
    }


class Runner:
    """Starts the program; everything it has finished stays and is not done again."""

    def __init__(self, args):
        self.program, self.out = args.vgpo.resolve(), args.out.resolve()
        self.steps, self.threads, self.nice = args.steps, args.threads, args.nice

    def execute(self, command, log):
        environment = dict(os.environ)
        if self.threads:
            environment["CANDLE_NUM_THREADS"] = str(self.threads)
        with open(log, "w", encoding="utf-8") as output:
            return subprocess.run(
                ["nice", "-n", str(self.nice), str(self.program), *command], stdout=output, stderr=subprocess.STDOUT,
                env=environment, check=False).returncode

    def starter(self, cell):
        folder = self.out / "starters" / cell_name(cell)
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            task = "survey:looks={},filler={:g},forgetting={:g}".format(*cell)
            log = folder.with_suffix(".log")
            print(f"starter {cell_name(cell)}: {task}", flush=True)
            code = self.execute(["starter", "build", "--task", task, "--out", str(folder)], log)
            if code != 0:
                sys.exit(f"the starter of {cell_name(cell)} FAILED ({code}), see {log}")
        return folder

    def train(self, cell, arm, rate, seed):
        folder = self.out / "runs" / cell_name(cell) / f"{arm}_{rate:g}_{seed}"
        if (folder / "done").exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        spec = folder / "job.json"
        starter = self.out / "starters" / cell_name(cell)
        spec.write_text(json.dumps(job(starter, cell, arm, rate, seed, self.steps), indent=1) + "\n", encoding="utf-8")
        command = ["train", "--spec", str(spec), "--out", str(folder), "--data", str(self.out / "data")]
        code = self.execute(command, folder / "log")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        if code == 0 and (folder / "metrics.jsonl").exists():
            (folder / "done").touch()
        state = "done" if code == 0 else f"FAILED ({code}), see {folder}/log"
        print(f"{cell_name(cell)} {arm} rate {rate:g} seed {seed}: {state}", flush=True)


def read_run(folder, start):
    """What the plan looks at of one run; None when it did not finish."""
    if not (folder / "done").exists():
        return None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line["values"] for line in lines if "accuracy" in line["values"]]
    evaluations = [line for line in lines if "eval/accuracy" in line["values"]]
    last = evaluations[-1]["values"]
    arm, rate, seed = folder.name.split("_")
    return {
        "cell": folder.parent.name, "arm": arm, "rate": float(rate), "seed": int(seed), "start": start,
        "curve": [(line["step"], 100 * line["values"]["eval/accuracy"]) for line in evaluations],
        "accuracy": 100 * last["eval/accuracy"],
        "sampled": 100 * sum(s["accuracy"] for s in steps) / len(steps),
        "focus": last["eval/late_early_ratio"],
        "dependency": last.get("eval/dependency_late_early"),
        "length": last["eval/response_length"],
        "seconds": sum(s["time/step"] for s in steps),
    }


def read_all(out):
    rows = []
    for folder in sorted((out / "runs").glob("*/*")):
        card = json.loads((out / "starters" / folder.parent.name / "vgpo.json").read_text(encoding="utf-8"))
        row = read_run(folder, 100 * card["made_with"]["accuracy"])
        if row:
            rows.append(row)
        else:
            print(f"not finished: {folder.parent.name}/{folder.name}", file=sys.stderr)
    return rows


def write_results(rows, path):
    """Raw results as a table: what `report` needs, and no more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            text = {key: "" if row[key] is None else f"{row[key]:.6g}" for key in FIELDS[4:] if key != "curve"}
            curve = " ".join(f"{step}:{accuracy:.4g}" for step, accuracy in row["curve"])
            writer.writerow({**text, "cell": row["cell"], "arm": row["arm"], "rate": f"{row['rate']:g}",
                             "seed": row["seed"], "curve": curve})


def read_results(path):
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        for text in csv.DictReader(file):
            row = {key: float(text[key]) if text[key] else None for key in FIELDS[4:] if key != "curve"}
            points = [point.split(":") for point in text["curve"].split()]
            row["curve"] = [(int(step), float(accuracy)) for step, accuracy in points]
            rows.append({**row, "cell": text["cell"], "arm": text["arm"], "rate": float(text["rate"]),
                         "seed": int(text["seed"])})
    return rows


def chosen_rates(rows):
    """The learning rate of each arm that was tuned: see the plan. Arms are missing until all their runs are there."""
    rates = {}
    for arm in ARMS:
        mean = {}
        for rate in RATES:
            found = [row["accuracy"] for row in rows if row["cell"] == cell_name(CENTRE) and row["arm"] == arm
                     and row["rate"] == rate and row["seed"] in TUNING_SEEDS]
            if found:
                mean[rate] = sum(found) / len(found)
        if len(mean) == len(RATES):
            rates[arm] = max(RATES, key=lambda rate: (mean[rate], -rate))
    return rates


def run(args):
    runner = Runner(args)
    cells, seeds = [cell_of(name) for name in args.cells], SEEDS[:args.seeds]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(runner.starter, dict.fromkeys([*cells, *([CENTRE] if args.tune else [])])))
        if args.tune:
            plan = itertools.product(TUNING_SEEDS, args.arms or ARMS, RATES)
            list(pool.map(lambda one: runner.train(CENTRE, one[1], one[2], one[0]), plan))
        rates = chosen_rates(read_all(runner.out))
        # Seed by seed: whenever it is stopped, all arms have had the same seeds.
        plan = [(cell, arm, seed) for seed in seeds for cell in cells
                for arm in (args.arms or (ARMS if cell == CENTRE else MAP_ARMS))]
        list(pool.map(lambda one: runner.train(one[0], one[1], rates.get(one[1], DEFAULT_RATE), one[2]), plan))


def by_seed(rows, cell, arm, rates):
    """Results of an arm in a cell at its learning rate, tuning runs left out."""
    rate = rates.get(arm, DEFAULT_RATE)
    return {row["seed"]: row for row in rows
            if (row["cell"], row["arm"], row["rate"]) == (cell, arm, rate) and row["seed"] not in TUNING_SEEDS}


def area(row):
    return statistics.area([(0, row["start"]), *row["curve"]])


def differences(found, arm, base, value):
    """Differences within a seed, where both have run."""
    if arm == base or base not in found:
        return []
    return [value(found[arm][seed]) - value(found[base][seed]) for seed in found[arm] if seed in found[base]]


def shown(values, digits=2):
    if not values:
        return "-"
    mean, low, high = statistics.bootstrap(values)
    if len(values) == 1:
        return f"{mean:+.{digits}f} (one pair)"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def report_cell(rows, cell, rates):
    found = {arm: by_seed(rows, cell, arm, rates) for arm in ARMS}
    found = {arm: runs for arm, runs in found.items() if runs}
    primary = {arm: differences(found, arm, BASELINE, lambda row: row["accuracy"]) for arm in found}
    p_values = statistics.holm({arm: statistics.sign_flip(values) for arm, values in primary.items() if values})
    looks, filler, forgetting = cell_of(cell)
    start = next(iter(found[next(iter(found))].values()))["start"]
    print(f"### {looks} looks, {filler:g} bits a word, forgetting {forgetting:g}\n")
    print(f"Before training: {start:.1f} %. Brackets are 95 % bootstrap intervals over seeds.\n")
    print("| arm | rate | seeds | accuracy | minus DAPO | p, Holm | area | minus DAPO | minus shuffled |")
    print("|---|---|---|---|---|---|---|---|---|")
    for arm, runs in found.items():
        mean = {key: sum(row[key] for row in runs.values()) / len(runs) for key in ["accuracy"]}
        areas = [area(row) for row in runs.values()]
        p_value = f"{p_values[arm]:.3f}" if arm in p_values else "-"
        rate = f"{rates[arm]:g}" if arm in rates else f"{DEFAULT_RATE:g} (not tuned)"
        print(f"| {ARMS[arm][0]} | {rate} | {len(runs)} | {mean['accuracy']:.2f} | {shown(primary[arm])} | {p_value} "
              f"| {sum(areas) / len(areas):.2f} | {shown(differences(found, arm, BASELINE, area))} "
              f"| {shown(differences(found, arm, SHUFFLED, lambda row: row['accuracy']))} |")
    print("\n| arm | sampled accuracy | late/early focus | minus DAPO | late/early dependency | tokens | minutes |")
    print("|---|---|---|---|---|---|---|")
    for arm, runs in found.items():
        values = {key: [row[key] for row in runs.values() if row[key] is not None]
                  for key in ["sampled", "focus", "dependency", "length", "seconds"]}
        mean = {key: sum(some) / len(some) for key, some in values.items() if some}
        dependency = f"{mean['dependency']:.3f}" if "dependency" in mean else "-"
        print(f"| {ARMS[arm][0]} | {mean['sampled']:.2f} | {mean['focus']:.4f} "
              f"| {shown(differences(found, arm, BASELINE, lambda row: row['focus']), 4)} | {dependency} "
              f"| {mean['length']:.0f} | {mean['seconds'] / 60:.1f} |")
    print()
    return found


def gains(rows, rates):
    """The map: in each cell the differences of the map's arms to DAPO in the primary outcome."""
    cells = {}
    for cell in sorted({row["cell"] for row in rows}, key=cell_of):
        found = {arm: by_seed(rows, cell, arm, rates) for arm in MAP_ARMS}
        cells[cell] = {arm: differences(found, arm, BASELINE, lambda row: row["accuracy"])
                       for arm in MAP_ARMS if arm != BASELINE}
    return {cell: arms for cell, arms in cells.items() if any(arms.values())}


def report(args):
    if args.out:
        rows = read_all(args.out)
        if args.results:
            write_results(rows, args.results)
    else:
        rows = read_results(args.results)
    rates, cells = chosen_rates(rows), {}
    if rates:
        print("Learning rates, chosen on seeds " + ", ".join(map(str, TUNING_SEEDS)) + ": "
              + ", ".join(f"{arm} {rate:g}" for arm, rate in rates.items()) + ".\n")
    for cell in sorted({row["cell"] for row in rows if row["seed"] not in TUNING_SEEDS}, key=cell_of):
        cells[cell] = report_cell(rows, cell, rates)
    found = gains(rows, rates)
    print("### The map: accuracy minus DAPO\n")
    arms = [arm for arm in MAP_ARMS if arm != BASELINE]
    print("| looks | bits a word | forgetting | pairs | " + " | ".join(arms) + " |")
    print("|---" * (4 + len(arms)) + "|")
    for cell, values in found.items():
        pairs = max(len(some) for some in values.values())
        print("| " + " | ".join(f"{dial:g}" for dial in cell_of(cell)) + f" | {pairs} | "
              + " | ".join(shown(values[arm]) for arm in arms) + " |")
    least = min((len(some) for values in found.values() for some in values.values() if some), default=0)
    planned = len(MAP) * (len(MAP_ARMS) - 1)
    print(f"\nCells of the plan with every arm of the map at {len(SEEDS)} seeds: "
          f"{sum(len(some) >= len(SEEDS) for values in found.values() for some in values.values())} of {planned} "
          "comparisons." + (" Some have fewer than 6 pairs: their intervals are too narrow." if least < 6 else ""))
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        drawn = {cell: {arm: statistics.bootstrap(values) for arm, values in some.items() if values}
                 for cell, some in found.items()}
        (args.plots / "map.svg").write_text(experiment_plots.gains(drawn), encoding="utf-8")
        for cell, runs in cells.items():
            lines = {arm: statistics.mean_curve([[(0, row["start"]), *row["curve"]] for row in some.values()])
                     for arm, some in runs.items() if arm in MAP_ARMS}
            name = f"curves-{cell}.svg"
            (args.plots / name).write_text(experiment_plots.curves(lines, cell), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="make starters and train what is missing")
    runs.add_argument("--vgpo", type=Path, default=Path("target/release/vgpo"))
    runs.add_argument("--out", type=Path, default=Path("experiment"))
    names = [cell_name(cell) for cell in MAP]
    runs.add_argument("--cells", nargs="+", default=names, metavar="CELL",
                      help=f"looks-filler-forgetting; by default {' '.join(names)}")
    runs.add_argument("--arms", nargs="+", choices=ARMS, help="these only")
    runs.add_argument("--seeds", type=int, default=len(SEEDS), help="number of seeds")
    runs.add_argument("--steps", type=int, default=STEPS)
    runs.add_argument("--tune", action=argparse.BooleanOptionalAction, default=True, help="choose learning rates first")
    runs.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    runs.add_argument("--threads", type=int, help="threads of a run")
    runs.add_argument("--nice", type=int, default=0)
    tables = commands.add_parser("report", help="tables and plots of what has run")
    tables.add_argument("--out", type=Path, help="the folder of `run`; without it, --results is read")
    tables.add_argument("--results", type=Path, help="the table of raw results")
    tables.add_argument("--plots", type=Path, help="folder for SVG plots")
    args = parser.parse_args()
    if args.command == "report" and not (args.out or args.results):
        parser.error("name --out or --results")
    (run if args.command == "run" else report)(args)


if __name__ == "__main__":
    main()
