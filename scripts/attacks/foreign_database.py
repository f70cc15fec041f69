#!/usr/bin/env python3
"""A server with another database on the artifacts of a first one: it refuses, and nothing is gone."""

import json
import os
import shutil
import tempfile

from storage_lib import Server, expect

folder = tempfile.mkdtemp(prefix="vgpo-attack-")
shared = {"VGPO_ARTIFACTS_URL": "file:" + os.path.join(folder, "artifacts")}
first = other = None
try:
    first = Server(os.path.join(folder, "first"), env=shared)
    expect(first.is_up, "the first server starts")
    rows = b"".join(json.dumps({"problem": "What?", "answer": "5"}).encode() + b"\n" for _ in range(40))
    for name in ("one", "two", "three"):
        first.ask("POST", f"/v1/datasets?name={name}", rows, {"Content-Type": "application/jsonl"})
    states = lambda: [first.ask("GET", f"/v1/datasets/{name}")[1].get("state") for name in ("one", "two", "three")]
    expect(first.wait(lambda: states() == ["ready"] * 3, 60), "three data sets are ready")
    stored = os.path.join(folder, "artifacts", "datasets")
    expect(len(os.listdir(stored)) == 3, "their files are stored")
    other = Server(os.path.join(folder, "other"), env=shared)
    told = other.told()
    expect(not other.is_up and "vgpo prune --adopt" in told, "the other server refuses and names the way out")
    expect(len(os.listdir(stored)) == 3, "every file is there")
    expect(first.ask("GET", "/v1/datasets/one/rows")[0] == 200, "the first server reads them")
finally:
    for server in (first, other):
        if server:
            server.stop()
    shutil.rmtree(folder, ignore_errors=True)
