"""Files that are not what they were: an index without its end, a starter that is cut short."""

import glob
import os
import shutil
import tempfile

from _place import row
from _storage import Server

ASK = {"model": "starter", "prompt": "what is the sum of the digits ?", "max_new_tokens": 3}


def attack(vgpo):
    folder = tempfile.mkdtemp(prefix="vgpo-attack-")
    data = os.path.join(folder, "data")
    server = Server(vgpo, data)
    again = None
    try:
        rows = b'{"problem": "What?", "answer": "5"}\n' * 40
        server.ask("POST", "/v1/datasets?name=mine", rows, {"Content-Type": "application/jsonl"})
        ready = server.wait(lambda: server.ask("GET", "/v1/datasets/mine")[1].get("state") == "ready", 60)
        for index in glob.glob(os.path.join(data, "artifacts", "datasets", "*", "train.idx")):
            os.truncate(index, 0)
        read, told, _ = server.ask("GET", "/v1/datasets/mine/rows")
        server.stop()
        weights = glob.glob(os.path.join(data, "models", "starter-*", "model.safetensors"))
        for path in weights:
            os.truncate(path, 1000)
        again = Server(vgpo, data)
        answered = again.ask("POST", "/generate", ASK)[0] if again.is_up else 0
        size = os.path.getsize(weights[0])
    finally:
        if again:
            again.stop()
        elif server.alive():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return [
        row("an index of a data set of 0 bytes", "409 that names it", f"{read}: {str(told.get('detail'))[:100]}", ready and read == 409 and "train.idx" in told["detail"]),
        row("a starter of 1,000 bytes", "laid out again at the next start", f"generate {answered}, {size:,} bytes", answered == 200 and size > 1_000_000),
    ]
