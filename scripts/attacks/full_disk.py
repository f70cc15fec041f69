#!/usr/bin/env python3
"""A disk that is full for a while: 503 with Retry-After, not ready, and everything goes on when there is room again."""

import os
import time

from storage_lib import Server, expect, fill, small_disk, unmount

JOB = {
    "model": "starter", "dataset": "digits", "steps": 12, "batch": {"prompts_per_step": 4}, "eval_rows": 8,
    "eval_before": False, "checkpoint_every": 6,
}

disk = small_disk(96)
server = None
try:
    server = Server(os.path.join(disk, "data"), devices="cpu")
    expect(server.is_up, "the server starts")
    status, job, _ = server.ask("POST", "/v1/jobs", JOB)
    expect(status == 201 and server.wait_for_job(job["id"], "running", 60), "a job runs")
    filler = os.path.join(disk, "filler")
    fill(filler)
    for what, method, path, body in (
        ("submit", "POST", "/v1/jobs", JOB),
        ("cancel", "POST", f"/v1/jobs/{job['id']}/pause", {}),
        ("upload", "POST", "/v1/datasets?name=x", b'{"problem": "a", "answer": "b"}\n' * 20000),
    ):
        headers = {"Content-Type": "application/jsonl"} if isinstance(body, bytes) else {}
        status, told, answered = server.ask(method, path, body, headers)
        code = told.get("code") if isinstance(told, dict) else told
        expect(status == 503 and "retry-after" in answered, f"full: {what} is {status} {code}")
    status, told, _ = server.ask("GET", "/readyz")
    expect(status == 503 and not any(check["ok"] for check in told["checks"]), f"full: /readyz is {status}: {told['checks']}")
    expect(server.ask("GET", "/healthz")[0] == 200 and server.ask("GET", "/v1/jobs")[0] == 200, "full: reads go on")
    time.sleep(10)
    os.remove(filler)
    freed = time.monotonic()
    expect(server.wait(lambda: server.ask("POST", "/v1/jobs", JOB)[0] == 201, 10), "a job can be submitted again")
    print(f"     {time.monotonic() - freed:.1f} s after there was room again")
    expect(server.wait(lambda: server.answers("/readyz"), 10), "the server is ready again")
    for one in server.ask("GET", "/v1/jobs")[1]["data"]:
        done = server.wait_for_job(one["id"], "succeeded", 300)
        expect(done, f"{one['id']} ends: {server.ask('GET', '/v1/jobs/' + one['id'])[1]['state']}")
finally:
    if server:
        server.stop()
    unmount(disk)
