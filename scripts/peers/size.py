"""Compares answers of a large random checkpoint here and in transformers, and writes a section of docs/performance-size.md."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from bench import machine

PROMPT, PATCHES = 288, 32
# Title, the program's format or transformers' number format.
OURS = [("vgpo, as stored", "native"), ("vgpo, `q8_0`", "q8_0"), ("vgpo, `q4_0`", "q4_0")]
THEIRS = [("transformers, 32 bits", "float32"), ("transformers, 16 bits", "bfloat16")]


def ours(args, folder, weights):
    def bench(response, clients=1):
        command = [args.vgpo, "bench", "generate", "--json", "--model", folder, "--weights", weights]
        command += ["--prompt-tokens", str(PROMPT), "--image-patches", str(PATCHES)]
        command += ["--response-tokens", str(response), "--clients", str(clients), "--repeats", str(args.runs)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    one, many = bench(args.tokens), bench(args.tokens, args.clients)
    first, answer = one["first_token"]["median"], one["answer"]["median"]
    return {
        "first": first,
        "rate": (args.tokens - 1) / (answer - first),
        "peak": one["memory"]["peak_bytes"],
        "many": args.clients * args.tokens / many["seconds"]["median"],
    }


def theirs(args, folder, dtype):
    patch = json.loads(Path(folder, "preprocessor_config.json").read_text())["patch_size"]
    sizes = [args.threads, PATCHES * patch, PROMPT, args.tokens, args.clients, args.runs]
    script = str(Path(__file__).with_name("size_torch.py"))
    command = [sys.executable, script, folder, dtype, *map(str, sizes)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def line(title, found):
    peak = f"{found['peak'] / 2**20:,.0f} MiB"
    return f"| {title} | {peak} | {found['first']:.2f} s | {found['rate']:.1f} | {found['many']:.1f} |"


def middle(rounds):
    return {key: statistics.median(found[key] for found in rounds) for key in ("peak", "first", "rate", "many")}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--vgpo", required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--size", required=True, help="a shape of `vgpo bench model`")
    arguments.add_argument("--model", type=Path, help="a folder of that shape that was made before")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--tokens", type=int, default=24, help="tokens of an answer")
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=3, help="runs of each side, in turn")
    arguments.add_argument("--runs", type=int, default=1, help="timed answers in a run; their median counts")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = args.model or Path(made)
        if not args.model:
            subprocess.run([args.vgpo, "bench", "model", "--shape", args.size, "--out", made], check=True)
            for weights in folder.glob("*.safetensors"):
                weights.chmod(0o444)
        works = [(title, ours, how) for title, how in OURS] + [(title, theirs, how) for title, how in THEIRS]
        found = {title: [] for title, _, _ in works}
        for _ in range(args.rounds):
            for title, side, how in works:
                found[title].append(side(args, str(folder), how))
                print(line(title, found[title][-1]), flush=True)
        size = sum(weights.stat().st_size for weights in folder.glob("*.safetensors"))
    begin, end = f"<!-- {args.size}: begin -->", f"<!-- {args.size}: end -->"
    section = "\n".join(
        [
            begin,
            f"{time.strftime('%Y-%m-%d')}, {machine()}, {args.threads} threads; PyTorch {torch.__version__}, transformers "
            f"{transformers.__version__}.",
            f"Weights {size / 2**20:,.0f} MiB in bfloat16; prompts of {PROMPT} tokens with a picture of {PATCHES} x {PATCHES} "
            f"patches, answers of {args.tokens} tokens;",
            "one run of each." if args.rounds == 1 else f"medians of {args.rounds} runs in turn.",
            "",
            f"| | peak memory, one request | first token | tokens/s after it | tokens/s, {args.clients} requests at once |",
            "|---|---|---|---|---|",
            *(line(title, middle(rounds)) for title, rounds in found.items()),
            end,
        ]
    )
    text = args.out.read_text()
    if begin not in text:
        text = f"{text.rstrip()}\n\n## `{args.size}`\n\n{begin}\n{end}\n"
    before, rest = text.split(begin)
    args.out.write_text(before + section + rest.split(end)[1])


if __name__ == "__main__":
    main()
