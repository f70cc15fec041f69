#!/usr/bin/env python3
"""Serves a reward function of yours as a webhook reward.

    VGPO_WEBHOOK_SECRET=… scripts/reward_server.py my.py:compute_score --port 9000

`my.py:compute_score` may have any of the forms that people have:
  - EasyR1, one response:  compute_score(predict, ground_truth) -> float or {"overall": float, <part>: float, …}
  - EasyR1, newer:         compute_score(reward_input: {"response", "ground_truth", …}) -> the same
  - EasyR1, a batch:       compute_score(reward_inputs: list of {"response", "ground_truth", …}) -> list of the above
  - TRL:                   reward(completions, prompts=…, ground_truth=…, answer=…, **kwargs) -> list of floats or None
The form is read from the parameters' names; `--style easyr1|easyr1-input|easyr1-batch|trl` settles it where they do not tell.
`--conversational` hands TRL functions completions as [{"role": "assistant", "content": …}].

Needs Python 3.8 or newer and nothing else. Requests are checked against the secret (HMAC-SHA256 over "timestamp.body")
where one is set; a batch that was judged before is answered from memory.
"""

import argparse
import hashlib
import hmac
import importlib.util
import inspect
import json
import math
import os
import sys
import threading
import time
import traceback
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 256 << 20
MAX_AGE = 300  # seconds that a signature is good for
REMEMBERED = 256  # batches


def load(target):
    """The function behind `file.py:name`."""
    path, _, name = target.rpartition(":")
    if not path:
        sys.exit(f"{target}: say file.py:function")
    spec = importlib.util.spec_from_file_location("reward_module", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        sys.exit(f"{path} has no function {name}")
    return function


def style_of(function):
    """Which form a function has, from the names of its parameters."""
    names = [p.name for p in inspect.signature(function).parameters.values()]
    if "completions" in names:
        return "trl"
    if "reward_inputs" in names:
        return "easyr1-batch"
    if names[:1] == ["reward_input"]:
        return "easyr1-input"
    if len(names) >= 2 and "ground_truth" in names[1]:
        return "easyr1"
    sys.exit(f"{function.__name__}({', '.join(names)}): which form is it? Say --style")


def as_item(identifier, score):
    """A score as the webhook answers it; None where there is none."""
    parts = {}
    if isinstance(score, dict):
        parts = {str(k): float(v) for k, v in score.items() if isinstance(v, (int, float)) and math.isfinite(v)}
        score = parts.pop("overall", parts.get("score"))
    if score is None or not math.isfinite(float(score)):
        return {"id": identifier, "reward": None, "parts": {}}
    return {"id": identifier, "reward": float(score), "parts": parts}


def one_by_one(function, items, arguments):
    """A failing response must not take the others with it."""
    out = []
    for item in items:
        try:
            out.append(as_item(item["id"], function(*arguments(item))))
        except Exception:  # the function is not ours
            traceback.print_exc()
            out.append(as_item(item["id"], None))
    return out


def judge(function, style, conversational, items):
    if style == "easyr1":
        return one_by_one(function, items, lambda item: (item["response"], item["ground_truth"]))
    if style == "easyr1-input":
        return one_by_one(function, items, lambda item: (dict(item),))
    if style == "easyr1-batch":
        scores = function([dict(item) for item in items])
    else:
        completions = [item["response"] for item in items]
        prompts = [item["prompt"] for item in items]
        if conversational:
            completions = [[{"role": "assistant", "content": text}] for text in completions]
            prompts = [[{"role": "user", "content": text}] for text in prompts]
        truths = [item["ground_truth"] for item in items]
        columns = {"prompts": prompts, "ground_truth": truths, "answer": truths, "solution": truths}
        parameters = inspect.signature(function).parameters
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            columns = {name: column for name, column in columns.items() if name in parameters}
        scores = function(completions=completions, **columns)
    if len(scores) != len(items):
        raise ValueError(f"the function returned {len(scores)} scores for {len(items)} responses")
    return [as_item(item["id"], score) for item, score in zip(items, scores)]


class Handler(BaseHTTPRequestHandler):
    function = style = secret = None
    conversational = False
    answers = OrderedDict()
    lock = threading.Lock()

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def genuine(self, body):
        if not self.secret:
            return True
        timestamp = self.headers.get("x-vgpo-timestamp", "")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > MAX_AGE:
            return False
        wanted = hmac.new(self.secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest("sha256=" + wanted, self.headers.get("x-vgpo-signature", ""))

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            return self.answer(413, {"error": f"send a content-length of at most {MAX_BODY}"})
        body = self.rfile.read(int(length))
        if not self.genuine(body):
            return self.answer(401, {"error": "the signature does not match VGPO_WEBHOOK_SECRET"})
        try:
            request = json.loads(body)
            items = request["items"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": "send {version, run, step, items}"})
        batch = self.headers.get("x-vgpo-batch") or request.get("batch", "")
        # One batch at a time: reward functions are rarely safe to run side by side, and a repeat waits for the first.
        with self.lock:
            key = (batch, hashlib.sha256(body).hexdigest())
            if key not in self.answers:
                try:
                    self.answers[key] = judge(self.function, self.style, self.conversational, items)
                except Exception as error:
                    traceback.print_exc()
                    return self.answer(500, {"error": str(error)})
                while len(self.answers) > REMEMBERED:
                    self.answers.popitem(last=False)
            return self.answer(200, {"items": self.answers[key]})

    def log_message(self, form, *args):
        sys.stderr.write("%s %s\n" % (self.log_date_time_string(), form % args))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", help="file.py:function")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="0 picks a free one")
    parser.add_argument("--style", choices=["easyr1", "easyr1-input", "easyr1-batch", "trl"])
    parser.add_argument("--conversational", action="store_true")
    args = parser.parse_args()
    # `staticmethod` keeps Python from binding the function to the handler.
    function = load(args.function)
    Handler.function = staticmethod(function)
    Handler.style = args.style or style_of(function)
    Handler.conversational = args.conversational
    Handler.secret = os.environ.get("VGPO_WEBHOOK_SECRET", "")
    server = ThreadingHTTPServer((args.host, args.port), Handler)
    print(f"listening on http://{args.host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
