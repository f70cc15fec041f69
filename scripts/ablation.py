#!/usr/bin/env python3
"""The ablation of VGPO's parts on the generated digits task: one script from jobs to tables.

    scripts/ablation.py run    --vgpo target/release/vgpo --out ablation      # trains what is missing, may be stopped
    scripts/ablation.py report --out ablation > docs/ablation.md              # tables from what was trained

The plan below was fixed before the first run; `report` computes nothing that it does not name.

Plan
  Arms      ARMS below: each is the default VGPO job with the named switches, or DAPO, which has no visual weights.
  Pairs     Every arm runs with the same SEEDS. A seed settles order of the prompts and all sampling, so that runs of
            one seed differ in the arm alone; arms are compared by differences within a seed.
  Training  The starter's recommended settings for `digits`: STEPS steps of 32 prompts x 8 responses.
  Primary   Held-out accuracy (greedy, EVAL_ROWS rows) after the last step: VGPO minus DAPO.
  Secondary the same difference of every arm to DAPO, and of each variant to full VGPO; the accuracy of all sampled
            responses averaged over all steps (how fast an arm learns); the late/early ratio of visual focus and the
            response length at the end. They are looked at, not tested for.
  Interval  Mean difference with its 95% t interval over seeds (n - 1 degrees of freedom), and the exact sign-flip
            p-value (two-sided; with 5 seeds it cannot be below 0.0625). No correction for the number of arms: only
            the primary comparison counts as a test.
  Exclusion None. A run that fails is reported as failed.
"""

import argparse
import itertools
import json
import math
import platform
import shutil
import subprocess
import sys
from pathlib import Path

SEEDS = [0, 1, 2, 3, 4]
STEPS = 40
EVAL_ROWS = 2000

# name -> (what it is, `method` of the job)
ARMS = {
    "dapo": ("DAPO: no visual weights", {"type": "dapo"}),
    "intra": ("+ intra-trajectory weights", {"type": "vgpo", "inter": False}),
    "inter": ("+ inter-trajectory weights", {"type": "vgpo", "intra": False}),
    "vgpo": ("+ both (VGPO)", {"type": "vgpo"}),
    "step": ("VGPO, step schedule", {"type": "vgpo", "schedule": "step"}),
    "exponential": ("VGPO, exponential schedule", {"type": "vgpo", "schedule": "exponential"}),
    "whole": ("VGPO, compensation of the whole response (gamma 1)", {"type": "vgpo", "gamma": 1.0}),
    "predicting": ("VGPO, focus of the predicting state", {"type": "vgpo", "focus_position": "predicting"}),
}
BASELINE, FULL = "dapo", "vgpo"

# Two-sided 95% quantiles of Student's t by degrees of freedom.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def job(arm, seed):
    return {
        "model": "starter", "dataset": "digits", "seed": seed, "steps": STEPS, "method": ARMS[arm][1],
        "eval_before": False, "eval_every": 0, "eval_rows": EVAL_ROWS,
        "checkpoint_every": 0, "keep_checkpoints": 1, "log_samples_every": 0,
    }


def train(program, out, arm, seed):
    """One run; its metrics stay, its checkpoint does not. A finished run is not repeated."""
    folder = out / f"{arm}-{seed}"
    metrics = folder / "metrics.jsonl"
    if (folder / "done").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = folder / "job.json"
    spec.write_text(json.dumps(job(arm, seed), indent=1) + "\n")
    command = [str(program), "train", "--spec", str(spec), "--out", str(folder), "--data", str(out / "data")]
    with open(folder / "log", "w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if code == 0 and metrics.exists():
        (folder / "done").touch()
    print(f"{arm} seed {seed}: {'done' if code == 0 else f'FAILED ({code}), see {folder}/log'}", flush=True)


def read(out, arm, seed):
    """What the plan looks at of one run; None when it did not finish."""
    folder = out / f"{arm}-{seed}"
    if not (folder / "done").exists():
        return None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["values"] for line in lines if "accuracy" in line["values"]]
    last = next(line["values"] for line in reversed(lines) if "eval/accuracy" in line["values"])
    return {
        "accuracy": 100 * last["eval/accuracy"],
        "sampled": 100 * sum(s["accuracy"] for s in steps) / len(steps),
        "ratio": last["eval/late_early_ratio"],
        "length": last["eval/response_length"],
        "seconds": sum(s["time/step"] for s in steps),
    }


def interval(values):
    """Mean and half width of its 95% t interval."""
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return mean, math.nan
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, T95[n - 1] * deviation / math.sqrt(n)


def sign_flip(values):
    """Exact two-sided p-value of `mean = 0` when every sign is equally likely."""
    observed = abs(sum(values))
    flips = itertools.product([1, -1], repeat=len(values))
    sums = [abs(sum(s * v for s, v in zip(signs, values))) for signs in flips]
    return sum(total >= observed - 1e-9 for total in sums) / len(sums)


def paired(results, arm, base, key):
    seeds = [s for s in SEEDS if results[arm][s] and results[base][s]]
    return [results[arm][s][key] - results[base][s][key] for s in seeds]


def difference(results, arm, base, key, digits=2):
    values = paired(results, arm, base, key)
    if arm == base or not values:
        return "-"
    mean, half = interval(values)
    return f"{mean:+.{digits}f} ± {half:.{digits}f} (p {sign_flip(values):.2f})"


def report(out):
    results = {arm: {seed: read(out, arm, seed) for seed in SEEDS} for arm in ARMS}
    failed = [f"{arm}-{seed}" for arm in ARMS for seed in SEEDS if results[arm][seed] is None]
    print("| arm | accuracy by seed | mean, 95% interval | minus DAPO | minus VGPO |")
    print("|---|---|---|---|---|")
    for arm, (text, _) in ARMS.items():
        found = [r for r in results[arm].values() if r]
        if not found:
            continue
        mean, half = interval([r["accuracy"] for r in found])
        seeds = " ".join(f"{r['accuracy']:.1f}" for r in found)
        print(f"| {text} | {seeds} | {mean:.2f} ± {half:.2f} | {difference(results, arm, BASELINE, 'accuracy')} "
              f"| {difference(results, arm, FULL, 'accuracy')} |")
    print()
    print("| arm | accuracy of all sampled responses | minus DAPO | late/early focus | minus DAPO | response tokens |")
    print("|---|---|---|---|---|---|")
    for arm, (text, _) in ARMS.items():
        found = [r for r in results[arm].values() if r]
        if not found:
            continue
        mean = {key: sum(r[key] for r in found) / len(found) for key in found[0]}
        print(f"| {text} | {mean['sampled']:.2f} | {difference(results, arm, BASELINE, 'sampled')} | {mean['ratio']:.4f} "
              f"| {difference(results, arm, BASELINE, 'ratio', 4)} | {mean['length']:.1f} |")
    print()
    print(f"Runs: {sum(r is not None for a in results.values() for r in a.values())} of {len(ARMS) * len(SEEDS)}"
          + (f"; not finished: {', '.join(failed)}" if failed else "")
          + f". Machine: {platform.machine()}, CPU only.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("--vgpo", type=Path, default=Path("target/release/vgpo"))
    parser.add_argument("--out", type=Path, default=Path("ablation"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="run: these only")
    args = parser.parse_args()
    if args.command == "report":
        return report(args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    # Seed by seed: whenever it is stopped, every arm has had the same seeds.
    for seed in SEEDS:
        for arm in args.arms:
            train(args.vgpo.resolve(), args.out.resolve(), arm, seed)
    return None


if __name__ == "__main__":
    sys.exit(main())
