"""Runs the reference shapes here and in PyTorch in turn, and writes the table of docs/performance.md. See bench-vs-pytorch."""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
import trl

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# What is measured: a title, our command, the sizes of the PyTorch side (or our other command), and the wanted ratio of times.
STEP = "step --groups 8 --group-size 8 --microbatch-tokens 2048"
VERSUS_TORCH = [
    ("update, 16 responses of 16 prompts", "update --groups 16 --microbatch-tokens 512", "update 16 1", 0.9),
    ("update, 2 groups of 8", "update --groups 2 --group-size 8", "update 2 8", 0.6),
    ("rollout, 32 prompts x 64 tokens", "rollout --groups 32", "rollout 32 1", 0.5),
    ("rollout, 4 groups of 8 x 64 tokens", "rollout --groups 4 --group-size 8", "rollout 4 8", 1 / 3),
    ("first token of one prompt with an image", "generate --response-tokens 1", "generate", 0.5),
    ("GRPO step over a plain loop, 8 groups of 8 x 64 tokens", STEP, "step 8 8", 1 / 3),
]
# The same of the small shape of Qwen3.5.
DELTA = "reference-qwen3.5"
VERSUS_TORCH_DELTA = [
    ("Qwen3.5: update, 16 responses of 16 prompts", "update --groups 16 --microbatch-tokens 512", "update 16 1", 0.6),
    ("Qwen3.5: update, 2 groups of 8", "update --groups 2 --group-size 8", "update 2 8", 0.6),
    ("Qwen3.5: rollout, 32 prompts x 64 tokens", "rollout --groups 32", "rollout 32 1", 0.5),
    ("Qwen3.5: rollout, 4 groups of 8 x 64 tokens", "rollout --groups 4 --group-size 8", "rollout 4 8", 0.5),
]
VERSUS_TRL = [("GRPO step over TRL's, 8 groups of 8 x 64 tokens", STEP, "step 8 8", 1 / 3)]
VERSUS_SELF = [
    (
        "VGPO step over GRPO step",
        "step --groups 8 --group-size 8 --method vgpo",
        "step --groups 8 --group-size 8 --method grpo",
        1.03,
    ),
    ("64 tokens with the maps of every token over none", "generate --maps", "generate", 1.2),
]


class Ours:
    def __init__(self, binary, work, folder=None):
        model = ["--model", folder] if folder else []
        self.command = [binary, "bench", *work.split(), *model, "--json"]

    def run(self, runs):
        found = subprocess.run(self.command + ["--repeats", str(runs)], check=True, capture_output=True, text=True)
        report = json.loads(found.stdout)
        seconds = report.get("first_token") if "--response-tokens" in self.command else report["seconds"]
        return seconds["median"], report["memory"]["peak_bytes"]

    def close(self):
        pass


class Torch:
    def __init__(self, script, folder, work):
        command = [sys.executable, str(Path(__file__).with_name(script)), folder, *work.split()]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run(1)

    def run(self, runs):
        print(runs, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the PyTorch side died; its error stands above")
        report = json.loads(line)
        return statistics.median(report["seconds"]), report["peak_bytes"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def stalled():
    """Microseconds in which something waited for a processor; none where the system does not tell."""
    try:
        return int(re.search(r"some .*total=(\d+)", Path("/proc/pressure/cpu").read_text())[1])
    except OSError:
        return None


def quiet(run, stall):
    """The result of `run`, and whether nothing else ran at the same time."""
    before, start = stalled(), time.perf_counter()
    result = run()
    wall = time.perf_counter() - start
    return result, before is None or (stalled() - before) / 1e6 <= stall * wall


def alternate(ours, other, rounds, tries, runs, stall):
    kept = []
    for _ in range(tries):
        (a, first), (b, second) = quiet(lambda: ours.run(runs), stall), quiet(lambda: other.run(runs), stall)
        if first and second:
            kept.append((a, b))
        if len(kept) == rounds:
            break
    return kept


def row(title, kept, wanted, memory):
    if not kept:
        return f"| {title} | — | — | no quiet run | {wanted:.2f} | — |"
    own, other = ([pair[side][0] for pair in kept] for side in (0, 1))
    ratio = statistics.median(a / b for a, b in zip(own, other))
    peaks = f"{kept[-1][0][1] / kept[-1][1][1]:.2f}" if memory else "—"
    times = f"{statistics.median(own):.3f} s | {statistics.median(other):.3f} s"
    return f"| {title} | {times} | {ratio:.2f} | {wanted:.2f} | {peaks} |"


def machine():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", info)
    return name[1] if name else platform.processor()


def gemm_gflops():
    """What a large product reaches in PyTorch: the bound of everything here."""
    torch.set_num_threads(2)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = min(timed(lambda: a @ b) for _ in range(20))
    return 2 * 1024**3 / best / 1e9


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--vgpo", required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--rounds", type=int, default=5, help="pairs of runs that are kept")
    arguments.add_argument("--tries", type=int, default=12, help="pairs of runs at most")
    arguments.add_argument("--runs", type=int, default=3, help="timed runs of each side in a pair; their median counts")
    arguments.add_argument("--only", default="", help="works whose title contains this")
    arguments.add_argument(
        "--stall", type=float, default=0.15, help="a pair counts if nothing waited for a processor during more than this share"
    )
    args = arguments.parse_args()
    how = (args.rounds, args.tries, args.runs, args.stall)
    lines = ["| work | vgpo | other | ratio of times | wanted at most | ratio of peak memory |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as delta:
        subprocess.run([args.vgpo, "bench", "model", "--out", folder], check=True)
        subprocess.run([args.vgpo, "bench", "model", "--out", delta, "--shape", DELTA], check=True)
        others = [
            (VERSUS_TORCH, folder, lambda work: Torch("bench_torch.py", folder, work)),
            (VERSUS_TORCH_DELTA, delta, lambda work: Torch("bench_torch.py", delta, work)),
            (VERSUS_TRL, folder, lambda work: Torch("bench_trl.py", folder, work)),
            (VERSUS_SELF, folder, lambda work: Ours(args.vgpo, work)),
        ]
        works = [(model, peer, *work) for works, model, peer in others for work in works]
        for model, peer, title, work, other, wanted in works:
            if args.only not in title:
                continue
            ours, other = Ours(args.vgpo, work, model), peer(other)
            memory = not isinstance(other, Ours)
            lines.append(row(title, alternate(ours, other, *how), wanted, memory))
            other.close()
            print(lines[-1], flush=True)
    measured = "\n".join(
        [
            BEGIN,
            f"{time.strftime('%Y-%m-%d')}, {machine()}, 2 threads, 32-bit floats; PyTorch {torch.__version__}, transformers "
            f"{transformers.__version__}, TRL {trl.__version__}.",
            f"A product of two 1024x1024 matrices reaches {gemm_gflops():.0f} GFLOP/s in PyTorch. Medians of up to "
            f"{args.rounds} pairs of runs in turn; pairs in which",
            f"something waited for a processor during more than {args.stall:.0%} of the time were thrown away.",
            "",
            *lines,
            END,
        ]
    )
    text = args.out.read_text()
    before, rest = text.split(BEGIN)
    args.out.write_text(before + measured + rest.split(END)[1])


if __name__ == "__main__":
    main()
