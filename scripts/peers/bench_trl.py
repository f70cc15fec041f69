"""TRL's side of bench.py: whole steps of its GRPOTrainer on CPU, so many per line of standard input; prints seconds and peak memory as
JSON. A response has always 64 tokens: the end token is held back, as it is on the other sides."""

import io
import json
import sys
import tempfile
import time

import bench_torch
import torch
from datasets import Dataset
from PIL import Image
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer


def rewards(completions, **_):
    """Any verdict that differs within a group."""
    return [float(index % 2) for index in range(len(completions))]


class Asked(TrainerCallback):
    """Times steps, and answers a line of standard input whenever as many as it asked for are done."""

    def __init__(self):
        self.seconds, self.start = [], 0.0
        self.wanted = self.next()

    def next(self):
        line = sys.stdin.readline()
        return int(line) if line else None

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        self.seconds.append(time.perf_counter() - self.start)
        if self.wanted is not None and len(self.seconds) >= self.wanted:
            print(json.dumps({"seconds": self.seconds, "peak_bytes": bench_torch.peak_bytes()}), flush=True)
            self.seconds, self.wanted = [], self.next()
        control.should_training_stop = self.wanted is None
        return control


def main():
    folder, work, groups, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    if work != "step":
        raise SystemExit(f"TRL is measured by whole steps, not by {work}")
    peer = bench_torch.Peer(folder)
    images = [Image.open(io.BytesIO(peer.picture(seed))) for seed in range(groups)]
    prompt = [{"role": "user", "content": peer.question()}]
    data = Dataset.from_dict({"prompt": [prompt] * groups, "image": images})
    rows, part = groups * size, 32
    with tempfile.TemporaryDirectory() as out:
        config = GRPOConfig(
            output_dir=out,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            per_device_train_batch_size=part,
            gradient_accumulation_steps=rows // part,
            num_generations=size,
            max_completion_length=bench_torch.RESPONSE,
            generation_kwargs={"min_new_tokens": bench_torch.RESPONSE},
            temperature=1.0,
            learning_rate=1e-6,
            beta=0.0,
            max_steps=10**6,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=peer.model,
            processing_class=peer.processor,
            reward_funcs=rewards,
            args=config,
            train_dataset=data,
            callbacks=[Asked()],
        )
        torch.set_num_threads(bench_torch.THREADS)
        trainer.train()


main()
