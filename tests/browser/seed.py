"""Multiplies what one real run left in a SQLite database: many runs, a very long one, a sample of very long answers.

    python3 seed.py DATABASE RUN --runs 1000 --steps 100000 --tokens 2000

The server must not be running. Rows are copies of real ones under new ids, so that whatever a row needs is there. Prints the ids of
the long run and of the run with the long sample as JSON.
"""

import argparse
import json
import math
import random
import sqlite3

LISTED = ("reward/mean", "eval/accuracy")
STEPS_OF_LISTED = 60
STATES = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")


class Copier:
    """Copies rows of one run under new names."""

    def __init__(self, database, run):
        self.db = database
        self.run = self.row("runs", "id", run)
        self.job = self.row("jobs", "id", self.run["job_id"])
        self.keys = self.rows("metric_keys", "run_id", run)
        self.count = 0

    def rows(self, table, column, value):
        cursor = self.db.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor]

    def row(self, table, column, value):
        return self.rows(table, column, value)[0]

    def insert(self, table, row):
        places = ", ".join("?" for _ in row)
        return self.db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values())).lastrowid

    def copy_run(self, name, steps, state="succeeded"):
        """A run with its job; its id sorts behind that of the run before."""
        self.count += 1
        tail = f"{self.count:06d}"
        run_id, job_id = self.run["id"][:-6] + tail, self.job["id"][:-6] + tail
        created = self.run["created_at"] + self.count * 60_000
        times = {"created_at": created, "updated_at": created + 60_000}
        self.insert("jobs", {**self.job, **times, "id": job_id, "run_id": run_id, "name": name, "state": state,
                             "started_at": created + 1000, "finished_at": created + 61_000})
        self.insert("runs", {**self.run, **times, "id": run_id, "job_id": job_id, "name": name, "steps": steps, "last_step": steps,
                             "best_checkpoint": None, "last_checkpoint": None})
        return run_id

    def points(self, run_id, steps, only=None):
        """A noisy curve from where each metric of the real run was."""
        for key in self.keys:
            if only and key["key"] not in only:
                continue
            base, chance = key["last_value"] or 0.1, random.Random(f"{run_id}{key['key']}")
            values = [base * (0.6 + 0.4 * math.tanh(3 * i / steps) + chance.gauss(0, 0.08)) for i in range(1, steps + 1)]
            known = {name: value for name, value in key.items() if name != "id"}
            key_id = self.insert("metric_keys", {**known, "run_id": run_id, "last_step": steps, "last_value": values[-1],
                                                 "min_value": min(values), "max_value": max(values)})
            self.db.executemany("INSERT INTO points (key_id, step, value) VALUES (?, ?, ?)",
                                ((key_id, step, value) for step, value in enumerate(values, 1)))
        begin = self.run["created_at"]
        self.db.executemany("INSERT INTO metric_steps (run_id, step, time, samples, tokens) VALUES (?, ?, ?, ?, ?)",
                            ((run_id, step, begin + step * 500, step * 64, step * 4096) for step in range(1, steps + 1)))

    def samples(self, run_id, tokens):
        """Every sample of the real run, its answers repeated until they are long enough."""
        for sample in self.rows("samples", "run_id", self.run["id"]):
            group = json.loads(sample["data"])
            group["responses"] = [longer(response, tokens) for response in group["responses"]]
            self.insert("samples", {**sample, "id": sample["id"][:-6] + f"{self.count:06d}" + sample["id"][-6:], "run_id": run_id,
                                    "data": json.dumps(group)})


def longer(response, count):
    long = len(response["tokens"])
    repeat = lambda values: (values * (count // long + 1))[:count]
    return {name: repeat(value) if isinstance(value, list) and len(value) == long else value for name, value in response.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("run")
    for name in ("runs", "steps", "tokens"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    database = sqlite3.connect(given.database)
    with database:
        copier = Copier(database, given.run)
        for n in range(given.runs):
            copier.points(copier.copy_run(f"run number {n}", STEPS_OF_LISTED, STATES[n % len(STATES)]), STEPS_OF_LISTED, LISTED)
        long_run = copier.copy_run("a very long run", given.steps)
        copier.points(long_run, given.steps)
        long_sample = copier.copy_run("very long answers", copier.run["steps"])
        copier.samples(long_sample, given.tokens)
    print(json.dumps({"run": long_run, "sample": long_sample}))


main()
