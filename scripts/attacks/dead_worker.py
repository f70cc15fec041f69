"""The only worker dies, and no other one lives."""

import os
import shutil
import signal
import subprocess
import tempfile
import time

from _place import row
from _storage import Server

JOB = {"model": "starter", "dataset": "digits", "steps": 4000, "eval_before": False}


def attack(vgpo):
    folder = tempfile.mkdtemp(prefix="vgpo-attack-")
    data = os.path.join(folder, "data")
    server = Server(vgpo, data)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    worker = subprocess.Popen([vgpo, "worker", "--device", "cpu", "--data", data], **quiet)
    try:
        job = server.ask("POST", "/v1/jobs", JOB)[1]
        ran = server.wait_for_job(job["id"], "running", 60)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        begun = time.monotonic()
        freed = server.wait_for_job(job["id"], "queued", 90)
        seconds = time.monotonic() - begun
        server.ask("POST", f"/v1/jobs/{job['id']}/cancel", {})
        cancelled = server.wait_for_job(job["id"], "cancelled", 10)
        deleted = server.ask("DELETE", f"/v1/runs/{job['run_id']}")[0]
    finally:
        worker.kill()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    seen = f"queued after {seconds:.0f} s" if freed else "still running"
    return [
        row("the only worker is killed", "its job is queued again", seen, ran and freed),
        row("then cancel, and delete the run", "both work", f"cancelled: {cancelled}, DELETE {deleted}", cancelled and deleted in (200, 204)),
    ]
