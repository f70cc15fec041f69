"""A disk that is full for a while."""

import os
import time

from _place import row
from _storage import Server, fill, small_disk, unmount

JOB = {
    "model": "starter", "dataset": "digits", "steps": 12, "batch": {"prompts_per_step": 4}, "eval_rows": 8,
    "eval_before": False, "checkpoint_every": 6,
}
UPLOAD = b'{"problem": "a", "answer": "b"}\n' * 20000


def while_full(server, job):
    rows = []
    for what, method, path, body in (
        ("a job is submitted", "POST", "/v1/jobs", JOB),
        ("a job is paused", "POST", f"/v1/jobs/{job['id']}/pause", {}),
        ("a data set is uploaded", "POST", "/v1/datasets?name=x", UPLOAD),
    ):
        headers = {"Content-Type": "application/jsonl"} if isinstance(body, bytes) else {}
        status, _, answered = server.ask(method, path, body, headers)
        seen = f"{status}, Retry-After: {answered.get('retry-after')}"
        rows.append(row(f"full disk: {what}", "503 with Retry-After", seen, status == 503 and "retry-after" in answered))
    status, told, _ = server.ask("GET", "/readyz")
    rows.append(row("full disk: `/readyz`", "503", f"{status}: {told['checks']}", status == 503))
    reads = [server.ask("GET", path)[0] for path in ("/healthz", "/v1/jobs")]
    rows.append(row("full disk: `/healthz`, `/v1/jobs`", "200", str(reads), reads == [200, 200]))
    return rows


def attack(vgpo):
    disk = small_disk(96)
    server = Server(vgpo, os.path.join(disk, "data"), devices="cpu")
    try:
        job = server.ask("POST", "/v1/jobs", JOB)[1]
        server.wait_for_job(job["id"], "running", 60)
        filler = os.path.join(disk, "filler")
        fill(filler)
        rows = while_full(server, job)
        time.sleep(10)
        os.remove(filler)
        freed = time.monotonic()
        again = server.wait(lambda: server.ask("POST", "/v1/jobs", JOB)[0] == 201, 30)
        ready = server.wait(lambda: server.answers("/readyz"), 30)
        seconds = time.monotonic() - freed
        states = []
        for one in server.ask("GET", "/v1/jobs")[1]["data"]:
            server.wait_for_job(one["id"], "succeeded", 300)
            states.append(server.ask("GET", "/v1/jobs/" + one["id"])[1]["state"])
    finally:
        server.stop()
        unmount(disk)
    rows.append(row("room again: submit, `/readyz`", "201 and 200 without a restart", f"{again}, {ready} after {seconds:.1f} s", again and ready))
    rows.append(row("room again: every job", "succeeds", str(states), states and set(states) == {"succeeded"}))
    return rows
