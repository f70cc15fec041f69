"""The raw results of scripts/experiment.py as tables that grow: one row a run, and one row a cell for the audits."""

import csv
import json

import experiment_plan as plan

FIELDS = ["cell", "arm", "rate", "seed", "start", "curve", "accuracy", "sampled", "focus", "dependency", "length",
          "seconds"]
# What a starter says of itself.
CARD = "vgpo.json"
NUMBERS = [field for field in FIELDS[4:] if field != "curve"]


def key(row):
    """What makes two runs the same one."""
    return row["cell"], row["arm"], row["rate"], row["seed"]


def merged(*tables):
    """Rows of several tables, each run once: the first table that has it counts."""
    rows = {}
    for table in tables:
        for row in table:
            rows.setdefault(key(row), row)
    return sorted(rows.values(), key=key)


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def evaluations_of(lines):
    return [line for line in lines if "eval/accuracy" in line["values"]]


def read_run(folder, start):
    """What the plan looks at of one run; None when it did not finish."""
    if not (folder / "done").exists():
        return None
    lines = read_metrics(folder)
    steps = [line["values"] for line in lines if "accuracy" in line["values"]]
    evaluations = evaluations_of(lines)
    last = evaluations[-1]["values"]
    arm, rate, seed = folder.name.rsplit("_", 2)
    return {
        "cell": folder.parent.name, "arm": arm, "rate": float(rate), "seed": int(seed), "start": start,
        "curve": [(line["step"], 100 * line["values"]["eval/accuracy"]) for line in evaluations],
        "accuracy": 100 * last["eval/accuracy"],
        "sampled": 100 * sum(s["accuracy"] for s in steps) / len(steps),
        "focus": last["eval/late_early_ratio"],
        "dependency": late_early(read_audit(folder / "audit.json")),
        "length": last["eval/response_length"],
        "seconds": sum(s["time/step"] for s in steps),
    }


def read_all(out):
    """The runs of a folder of `run`, and the audits of its starters."""
    rows, audits = [], {}
    for folder in sorted((out / "runs").glob("*/*")):
        card = json.loads((out / "starters" / folder.parent.name / CARD).read_text(encoding="utf-8"))
        row = read_run(folder, 100 * card["made_with"]["accuracy"])
        if row:
            rows.append(row)
    for path in sorted((out / "starters").glob("*.audit.json")):
        audits[path.name.removesuffix(".audit.json")] = read_audit(path)
    return rows, audits


def read_audit(path):
    """The metrics over all answers that `vgpo audit --json` printed; none where there was no audit."""
    if not path.exists():
        return {}
    metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    wanted = {name.removeprefix("audit/"): value for name, value in metrics.items()
              if name.startswith("audit/") and not name.endswith(("_right", "_wrong"))}
    return {**wanted, "accuracy": metrics["eval/accuracy"]}


def late_early(audit):
    """Dependency on the image in the last third of the responses, as a share of that in the first."""
    return audit["dependency_late"] / audit["dependency_early"] if audit.get("dependency_early") else None


def write_results(rows, path):
    """Raw results as a table: what `report` needs, and no more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            text = {name: "" if row[name] is None else f"{row[name]:.6g}" for name in NUMBERS}
            curve = " ".join(f"{step}:{accuracy:.4g}" for step, accuracy in row["curve"])
            writer.writerow({**text, "cell": row["cell"], "arm": row["arm"], "rate": f"{row['rate']:g}",
                             "seed": row["seed"], "curve": curve})


def read_results(path):
    """The rows of a table; none where there is no table yet."""
    rows = []
    if not path.exists():
        return rows
    with open(path, newline="", encoding="utf-8") as file:
        for text in csv.DictReader(file):
            row = {name: float(text[name]) if text[name] else None for name in NUMBERS}
            points = [point.split(":") for point in text["curve"].split()]
            row["curve"] = [(int(step), float(accuracy)) for step, accuracy in points]
            rows.append({**row, "cell": text["cell"], "arm": text["arm"], "rate": float(text["rate"]),
                         "seed": int(text["seed"])})
    return rows


def audits_path(results):
    """Where the audits of the starters are, given where the runs are."""
    return results.with_name(results.stem + "-audits.csv")


def write_audits(audits, path):
    """What `vgpo audit` measured of each cell's starter, a row a cell."""
    names = sorted({name for audit in audits.values() for name in audit})
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["cell", *names])
        for cell in sorted(audits, key=plan.cell_of):
            found = [audits[cell].get(name) for name in names]
            writer.writerow([cell, *("" if value is None else f"{value:.6g}" for value in found)])


def read_audits(path):
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row.pop("cell"): {name: float(text) for name, text in row.items() if text}
                for row in csv.DictReader(file)}
