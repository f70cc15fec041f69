#!/usr/bin/env python3
"""Follows a run of a VGPO server and logs it to Weights & Biases with their own client (`pip install wandb`).

    wandb_sync.py RUN [--server http://127.0.0.1:8080] [--project NAME] [--state FILE]

The protocol between that client and its servers is theirs, so the server does not speak it: this runs next to it, reads
the run's events over REST, and ends with the run. It notes in a file how far it has come, and continues there. A key
of the server is read from VGPO_API_KEY; how wandb logs in, and where to, is wandb's own matter (WANDB_API_KEY,
WANDB_BASE_URL, WANDB_MODE=offline).
"""
import argparse
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import wandb

FINAL = {"succeeded": 0, "failed": 1, "cancelled": 1}
ODD = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
PAGE = 500
PAUSE = 2.0
PATIENCE = 60.0


class Server:
    """A VGPO server that may be away for a while."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.headers = {"accept": "application/json"}
        if key := os.environ.get("VGPO_API_KEY"):
            self.headers["authorization"] = f"Bearer {key}"

    def get(self, path, **query):
        """The answer; waits for a server that does not answer."""
        address = f"{self.url}{path}?{urllib.parse.urlencode(query)}" if query else self.url + path
        while True:
            try:
                request = urllib.request.Request(address, headers=self.headers)
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise SystemExit(f"{address} answered {error.code}: {error.read(500).decode(errors='replace')}") from None
                problem = error
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                problem = error
            print(f"{self.url}: {problem}; trying again", flush=True)
            time.sleep(PAUSE)


def begin(run, job, project):
    """The run at wandb. One that is continued has the same id there."""
    tags = [f"{name}:{value}" if value else name for name, value in run["tags"].items()]
    logged = wandb.init(
        project=project or run["project"],
        id=run["id"].removeprefix("run_"),
        name=run["name"],
        config=job["spec"],
        tags=[tag[:64] for tag in tags],
        resume="allow",
    )
    # Steps may come again after a resume, which wandb's own counter of steps does not allow.
    logged.define_metric("vgpo/step")
    logged.define_metric("*", step_metric="vgpo/step")
    return logged


def log(logged, data):
    """One step."""
    values = {key: ODD[data["nonfinite"][key]] if value is None else value for key, value in data["values"].items()}
    logged.log({**values, "vgpo/step": data["step"], "vgpo/samples": data["samples"], "vgpo/tokens": data["tokens"]})


def follow(server, run_id, project, state):
    """Logs the run from where the file says, to its end; returns the exit status for wandb."""
    run = server.get(f"/v1/runs/{run_id}")
    job_id = run["job_id"]
    logged = begin(run, server.get(f"/v1/jobs/{job_id}"), project)
    after = json.loads(state.read_text())["after"] if state.exists() else 0
    while True:
        # Read before the events: an end that is seen here has its event among them.
        ended = FINAL.get(server.get(f"/v1/jobs/{job_id}")["state"])
        page = server.get(f"/v1/jobs/{job_id}/events", types="metrics", after=after, limit=PAGE)["data"]
        for event in page:
            log(logged, event["data"])
            after = event["seq"]
        if page:
            state.write_text(json.dumps({"run": run_id, "after": after}))
        elif ended is not None:
            logged.finish(exit_code=ended)
            return
        else:
            time.sleep(PAUSE)


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run_…")
    parser.add_argument("--server", default=os.environ.get("VGPO_SERVER", "http://127.0.0.1:8080"))
    parser.add_argument("--project", help="the project at wandb; by default the run's")
    parser.add_argument("--state", type=Path, help="how far it has come; by default .wandb-RUN.json")
    given = parser.parse_args()
    state = given.state or Path(f".wandb-{given.run}.json")
    follow(Server(given.server), given.run, given.project, state)


if __name__ == "__main__":
    main()
