"""Reads the exports of a run with the real packages and compares every point with the CSV. Called by verify-exports."""

import csv
import datetime
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

import mlflow
import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

work, report = Path(sys.argv[1]), Path(sys.argv[2])

wanted = {}
with open(work / "run.csv", newline="") as table:
    for row in csv.DictReader(table):
        for key, text in row.items():
            if key not in ("step", "time", "samples", "tokens") and text != "":
                wanted.setdefault(key, []).append((int(row["step"]), float(text)))
points = sum(map(len, wanted.values()))
assert points > 50, "the run measured something"


def same(found, expected):
    return found == expected or (math.isnan(found) and math.isnan(expected))


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


board = EventAccumulator(str(work / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
board.Reload()
tags = board.Tags()
for key, expected in wanted.items():
    assert key in tags["scalars"], f"tensorboard lacks {key}"
    found = [(event.step, event.value) for event in board.Scalars(key)]
    assert len(found) == len(expected), key
    for (step, value), (step_wanted, value_wanted) in zip(found, expected):
        assert step == step_wanted and same(value, single(value_wanted)), (key, step, value, value_wanted)
assert "settings" in tags["tensors"], "the settings are a text"
assert b"learning_rate" in board.Tensors("settings")[0].tensor_proto.string_val[0]


def read(uri):
    """Every point, parameter and tag of the only run in a store."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiments = [e for e in client.search_experiments() if e.name == "default"]
    assert len(experiments) == 1, experiments
    (run,) = client.search_runs([experiments[0].experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "exported", run.info
    assert run.data.params["method/type"] == "vgpo" and run.data.params["steps"] == "3", run.data.params
    assert run.data.tags["team"] == "vision"
    names = set(run.data.metrics)
    for key, expected in wanted.items():
        folders = [key[:at] for at, c in enumerate(key) if c == "/" and key[:at] in wanted]
        name = key
        for folder in folders:
            name = name[: len(folder)] + "." + name[len(folder) + 1 :]
        assert name in names, f"mlflow lacks {name}"
        found = sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        assert len(found) == len(expected), name
        for (step, value), (step_wanted, value_wanted) in zip(found, sorted(expected)):
            assert step == step_wanted and same(value, value_wanted), (name, step, value, value_wanted)
    return len(names), len(run.data.params)


metrics, params = read(f"file://{work / 'mlflow'}")
database = f"sqlite:///{work / 'mlflow.db'}"
subprocess.run(
    [sys.executable, "-m", "mlflow", "migrate-filestore", "--source", str(work / "mlflow"), "--target", database],
    check=True, capture_output=True, text=True,
)
assert read(database) == (metrics, params), "the migrated store holds the same"

report.write_text(f"""# Exports

`vgpo runs export RUN --format tensorboard|mlflow|csv --to PATH` writes a run in the forms of other programs:

| format | what it is | how to look at it |
|---|---|---|
| `tensorboard` | a folder with an event file: every point as a scalar (32 bits, as TensorBoard keeps them), settings as a text | `tensorboard --logdir PATH` |
| `mlflow` | a file store with the project as experiment: every point with its time and step, settings as parameters, labels as tags | `mlflow migrate-filestore --source PATH --target sqlite:///mlflow.db`, then `mlflow ui --backend-store-uri sqlite:///mlflow.db`; or `MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri PATH` |
| `csv` | a line a step, a column a key | any table |

What MLflow's store cannot hold is renamed: where a key is the beginning of another (`eval/accuracy`, `eval/accuracy/TAG`), a dot
takes the place of that slash (`eval/accuracy.TAG`).

## Checked with the real packages

`scripts/verify-exports` trains a small run, exports it, and compares every point that the packages read with the CSV.
Last run: {datetime.date.today().isoformat()}, tensorboard {tensorboard.__version__}, mlflow {mlflow.__version__}.

| package | read | equal |
|---|---|---|
| tensorboard | {len(wanted)} keys, {points} points, the settings | all, as 32-bit numbers |
| mlflow, file store | {metrics} metrics, {params} parameters | all |
| mlflow, SQLite after `migrate-filestore` | {metrics} metrics, {params} parameters | all |
""")
print(f"{points} points of {len(wanted)} keys are equal; wrote {report}")
