#!/usr/bin/env python3
"""The only worker dies, and no other one lives: the server itself ends the lease, and the job can be cancelled."""

import os
import shutil
import signal
import subprocess
import tempfile

from storage_lib import PROGRAM, Server, expect

folder = tempfile.mkdtemp(prefix="vgpo-attack-")
server = worker = None
try:
    data = os.path.join(folder, "data")
    server = Server(data)
    expect(server.is_up, "the server starts")
    job = server.ask("POST", "/v1/jobs", {"model": "starter", "dataset": "digits", "steps": 4000, "eval_before": False})[1]
    worker = subprocess.Popen([PROGRAM, "worker", "--device", "cpu", "--data", data], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    expect(server.wait_for_job(job["id"], "running", 60), "a worker runs a job")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    expect(server.wait_for_job(job["id"], "queued", 60), "its lease ends though no worker lives")
    server.ask("POST", f"/v1/jobs/{job['id']}/cancel", {})
    expect(server.wait_for_job(job["id"], "cancelled", 10), "the job can be cancelled")
    expect(server.ask("DELETE", f"/v1/runs/{job['run_id']}")[0] in (200, 204), "its run can be deleted")
finally:
    if worker and worker.poll() is None:
        worker.kill()
    if server:
        server.stop()
    shutil.rmtree(folder, ignore_errors=True)
