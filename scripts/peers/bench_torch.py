"""The PyTorch side of bench.py: one kind of work, run once per line of standard input; prints seconds and peak memory as JSON."""

import io
import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast

THREADS = 2
PROMPT, RESPONSE, SIDE = 40, 64, 112


def peak_bytes():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


class Peer:
    def __init__(self, folder):
        torch.set_num_threads(THREADS)
        torch.manual_seed(1)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.processor = AutoProcessor.from_pretrained(folder)
        # For some families transformers would build a tokenizer of its own from the vocabulary alone.
        self.processor.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.config = self.model.config

    def picture(self, seed):
        noise = torch.randint(0, 256, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        png = io.BytesIO()
        Image.fromarray(noise.numpy()).save(png, "PNG")
        return png.getvalue()

    def question(self):
        """The text that makes a prompt of PROMPT tokens, with an image before it."""
        words = ["aab", "aac", "aad"] * 5
        for length in range(1, len(words) + 1):
            text = " " + " ".join(words[:length])
            if self.inputs(text, 1)["input_ids"].shape[1] == PROMPT:
                return text
        raise SystemExit(f"no prompt of {PROMPT} tokens")

    def inputs(self, question, count):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        images = [Image.open(io.BytesIO(self.picture(seed))) for seed in range(count)]
        return self.processor(text=[text] * count, images=images, return_tensors="pt")

    def prompts(self, count):
        """Inputs of `count` prompts with an image each, all of PROMPT tokens."""
        return self.inputs(self.question(), count)

    def repeated(self, inputs, times):
        """Each prompt `times` times, image included, as trainers on transformers do."""
        patches = inputs["image_grid_thw"][0].prod()
        out = {k: v.repeat_interleave(times, 0) for k, v in inputs.items() if k != "pixel_values"}
        images = inputs["pixel_values"].view(-1, patches, inputs["pixel_values"].shape[-1])
        out["pixel_values"] = images.repeat_interleave(times, 0).flatten(0, 1)
        return out

    def with_responses(self, inputs):
        rows = inputs["input_ids"].shape[0]
        response = torch.randint(0, 1000, (rows, RESPONSE))
        out = dict(inputs)
        out["input_ids"] = torch.cat([inputs["input_ids"], response], 1)
        out["attention_mask"] = torch.ones_like(out["input_ids"])
        if "mm_token_type_ids" in inputs:
            zeros = torch.zeros_like(response, dtype=inputs["mm_token_type_ids"].dtype)
            out["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], 1)
        return out, response

    def logprobs(self, inputs, response):
        logits = self.model(**inputs, logits_to_keep=RESPONSE + 1, use_cache=False).logits[:, :-1]
        return torch.log_softmax(logits.float(), -1).gather(2, response.unsqueeze(2)).squeeze(2)

    def update(self, batches, optimizer):
        optimizer.zero_grad(set_to_none=True)
        for inputs, response, old, advantages in batches:
            ratio = (self.logprobs(inputs, response) - old).exp()
            surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
            (-surrogate.mean() / len(batches)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()

    def optimizer(self):
        return torch.optim.AdamW(self.model.parameters(), lr=1e-6)

    def sample(self, inputs, tokens=RESPONSE, greedy=False):
        how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        banned = [[self.config.image_token_id], [self.config.video_token_id]]
        with torch.no_grad():
            return self.model.generate(
                **inputs, **how, max_new_tokens=tokens, min_new_tokens=tokens, bad_words_ids=banned
            )


def signs(rows):
    return torch.tensor([1.0, -1.0]).repeat(rows // 2).unsqueeze(1)


def updates(peer, groups, size):
    inputs, response = peer.with_responses(peer.repeated(peer.prompts(groups), size))
    optimizer = peer.optimizer()

    def run():
        with torch.no_grad():
            old = peer.logprobs(inputs, response)
        start = time.perf_counter()
        peer.update([(inputs, response, old, signs(groups * size))], optimizer)
        return time.perf_counter() - start

    return run


def rollouts(peer, groups, size):
    inputs = peer.repeated(peer.prompts(groups), size)

    def run():
        start = time.perf_counter()
        peer.sample(inputs)
        return time.perf_counter() - start

    return run


def first_token(peer):
    text = None

    def run():
        nonlocal text
        content = [{"type": "image"}, {"type": "text", "text": " " + " ".join(["aab"] * 14)}]
        png = peer.picture(7)
        start = time.perf_counter()
        text = peer.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = peer.processor(text=[text], images=[Image.open(io.BytesIO(png))], return_tensors="pt")
        peer.sample(inputs, tokens=1, greedy=True)
        return time.perf_counter() - start

    return run


def steps(peer, groups, size):
    """Rollout, log-probs under the old policy and one update in parts of 32 rows, without a trainer's own overhead."""
    inputs = peer.repeated(peer.prompts(groups), size)
    optimizer = peer.optimizer()
    rows, part = groups * size, 32
    patches = inputs["pixel_values"].shape[0] // rows

    def cut(inputs, start):
        out = {k: v[start : start + part] for k, v in inputs.items() if k != "pixel_values"}
        out["pixel_values"] = inputs["pixel_values"][start * patches : (start + part) * patches]
        return out

    def run():
        start = time.perf_counter()
        response = peer.sample(inputs)[:, PROMPT:]
        whole, _ = peer.with_responses(inputs)
        whole["input_ids"] = torch.cat([inputs["input_ids"], response], 1)
        batches = []
        for at in range(0, rows, part):
            piece, own = cut(whole, at), response[at : at + part]
            with torch.no_grad():
                old = peer.logprobs(piece, own)
            batches.append((piece, own, old, signs(len(own))))
        peer.update(batches, optimizer)
        return time.perf_counter() - start

    return run


def main():
    folder, work, *sizes = sys.argv[1:]
    peer = Peer(folder)
    run = {"update": updates, "rollout": rollouts, "generate": first_token, "step": steps}[work](peer, *map(int, sizes))
    for line in sys.stdin:
        runs = int(line)
        seconds = [run() for _ in range(runs)]
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
