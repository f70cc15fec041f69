"""A server with another database on the artifacts of a first one."""

import json
import os
import shutil
import tempfile

from _place import row
from _storage import Server

NAMES = ("one", "two", "three")


def attack(vgpo):
    folder = tempfile.mkdtemp(prefix="vgpo-attack-")
    shared = {"VGPO_ARTIFACTS_URL": "file:" + os.path.join(folder, "artifacts")}
    stored = os.path.join(folder, "artifacts", "datasets")
    first = Server(vgpo, os.path.join(folder, "first"), env=shared)
    other = None
    try:
        rows = b"".join(json.dumps({"problem": "What?", "answer": "5"}).encode() + b"\n" for _ in range(40))
        for name in NAMES:
            first.ask("POST", f"/v1/datasets?name={name}", rows, {"Content-Type": "application/jsonl"})
        states = lambda: [first.ask("GET", f"/v1/datasets/{name}")[1].get("state") for name in NAMES]
        ready = first.wait(lambda: states() == ["ready"] * 3, 60)
        before = len(os.listdir(stored))
        other = Server(vgpo, os.path.join(folder, "other"), env=shared)
        refused = not other.is_up and "vgpo prune --adopt" in other.told()
        after, read = len(os.listdir(stored)), first.ask("GET", "/v1/datasets/one/rows")[0]
    finally:
        for server in (first, other):
            if server:
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return [
        row("a second server with an empty database on the same artifacts", "refuses to start, and names the way out",
            "refused" if refused else "started", ready and refused),
        row("the three data sets of the first one", "all there", f"{before} before, {after} after, rows {read}", (before, after, read) == (3, 3, 200)),
    ]
