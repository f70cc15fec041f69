"""The transformers side of size.py: answers of one model folder in one number format; prints what it took as JSON."""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast


def peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def prompts(processor, side, tokens, rows):
    """`rows` prompts of this many tokens, each with a picture of noise."""
    noise = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    picture = Image.fromarray(noise.numpy())
    for words in range(1, tokens):
        content = [{"type": "image"}, {"type": "text", "text": " " + " ".join(["aab"] * words)}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = processor(text=[text] * rows, images=[picture] * rows, return_tensors="pt")
        if inputs["input_ids"].shape[1] >= tokens:
            return inputs
    raise SystemExit(f"no prompt of {tokens} tokens")


def main():
    folder, dtype, threads, side, prompt, response, clients, runs = sys.argv[1:]
    torch.set_num_threads(int(threads))
    start = time.perf_counter()
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    opened = time.perf_counter() - start
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def seconds(inputs, tokens):
        inputs = {key: value.to(model.dtype) if value.is_floating_point() else value for key, value in inputs.items()}
        times = []
        for _ in range(int(runs) + 1):
            start = time.perf_counter()
            with torch.no_grad():
                model.generate(**inputs, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens)
            times.append(time.perf_counter() - start)
        return sorted(times[1:])[int(runs) // 2]

    one, many = (prompts(processor, int(side), int(prompt), rows) for rows in (1, int(clients)))
    first, answer = seconds(one, 1), seconds(one, int(response))
    found = {"opened": opened, "first": first, "rate": (int(response) - 1) / (answer - first)}
    found["peak"] = peak_bytes()
    found["many"] = int(clients) * int(response) / seconds(many, int(response))
    print(json.dumps(found))


main()
