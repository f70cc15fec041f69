#!/usr/bin/env python3
"""Proves that our files mean the same to the libraries that people use; writes what it found to docs/peers.md.

Every claim is checked with the real libraries: transformers loads checkpoints that our trainer wrote, datasets writes rows
that our program reads, and both sides prepare the same fresh picture and text.
"""
import argparse
import base64
import datetime
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets
import numpy as np
import peft
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import image_text
import mathematics

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAMILIES = ["qwen2_vl_tiny", "qwen2_5_vl_tiny", "qwen3_vl_tiny", "qwen3_5_tiny"]
# Its widths do not divide into the blocks, and its settings have the newer names only.
WITHOUT_FORMS = ["qwen3_5_tiny"]
RESPONSE = "<think> A red circle, then 3 + 4 = 7. </think> \\boxed{7}"
EXACT, RESIZED = 1e-4, 1.5e-2


def run(vgpo, *arguments, stdin=None):
    """Runs our program and returns what it prints."""
    done = subprocess.run([vgpo, *arguments], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"vgpo {' '.join(map(str, arguments))} failed:\n{done.stderr}{done.stdout}")
    return done.stdout


def fresh_picture(generator, width, height):
    """Smooth waves with noise: a picture without prepared results."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / generator.uniform(5, 40) + y / generator.uniform(5, 40)) for _ in range(3)]
    pixels = np.stack(waves, axis=-1) + generator.normal(0, 8, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def data_url(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ours(vgpo, folder, picture, question):
    """Token ids and log-probs of the response under our program."""
    request = {"model": str(folder), "prompt": question, "images": [data_url(picture)], "responses": [RESPONSE]}
    answer = json.loads(run(vgpo, "score", "--model", folder, "--request", "-", stdin=json.dumps(request)))
    tokens = answer["responses"][0]["tokens"]
    return [token["id"] for token in tokens], [token["logprob"] for token in tokens]


def theirs(model, processor, picture, question):
    """The same under transformers."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[text], images=[picture], return_tensors="pt")
    response = processor.tokenizer(RESPONSE, add_special_tokens=False, return_tensors="pt").input_ids
    prompt = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], response], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(response)], dim=1)
    with torch.no_grad():
        logits = model(**inputs).logits[0, prompt - 1 : -1].float()
    logprobs = torch.log_softmax(logits, dim=-1)
    return response[0].tolist(), logprobs.gather(1, response[0].unsqueeze(1)).squeeze(1).tolist()


def transparent(picture, mode):
    """The picture with an alpha that rises from left to right, in one of Pillow's modes."""
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, picture.width).astype(np.uint8), (picture.height, 1)))
    picture.putalpha(alpha)
    if mode != "P":
        return picture.convert(mode)
    palette = picture.convert("RGB").quantize(64)
    palette.info["transparency"] = 0
    return palette


def compare(vgpo, folder, model, question, generator, size, mode="RGB"):
    """The largest difference of log-probs over the response, for a fresh picture."""
    picture = fresh_picture(generator, *size)
    if mode != "RGB":
        picture = transparent(picture, mode)
    processor = AutoProcessor.from_pretrained(folder)
    (our_ids, ours_), (their_ids, theirs_) = ours(vgpo, folder, picture, question), theirs(model, processor, picture, question)
    if our_ids != their_ids:
        sys.exit(f"{folder}: tokens differ: {our_ids} {their_ids}")
    return max(abs(a - b) for a, b in zip(ours_, theirs_)), len(our_ids)


def train(vgpo, work, checkpoint, more):
    """One supervised step of our trainer; returns the checkpoint that it wrote."""
    job = {
        "model": str(checkpoint), "dataset": "geometry", "method": {"type": "sft"}, "steps": 1, "eval_before": False, "eval_every": 0, "eval_rows": 1,
        "checkpoint_every": 1, "batch": {"prompts_per_step": 2, "minibatch_prompts": 2},
        "rollout": {"max_new_tokens": 400}, "optimizer": {"learning_rate": 1e-3, "warmup_steps": 0}, **more,
    }
    spec = work / "job.json"
    spec.write_text(json.dumps(job))
    out = work / "run"
    run(vgpo, "train", "--spec", spec, "--out", out, "--data", work / "data")
    return next((out / "checkpoints").glob("step-*"))


def moved(before, after):
    """How far the weights of two state dicts are apart at most."""
    return max((before[name] - after[name]).abs().max().item() for name in before)


def check_family(vgpo, family, generator, rows):
    checkpoint = ROOT / "tests/fixtures/models" / family / "checkpoint"
    with tempfile.TemporaryDirectory() as work:
        written = train(vgpo, pathlib.Path(work), checkpoint, {})
        model, info = AutoModelForImageTextToText.from_pretrained(written, dtype=torch.float32, output_loading_info=True)
        if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
            sys.exit(f"{family}: transformers finds other weights than it expects: {info}")
        start = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
        step = moved(start.state_dict(), model.state_dict())
        if step == 0:
            sys.exit(f"{family}: the step changed nothing")
        question = f"What is {generator.integers(10, 99)} in this picture? Δ数🎉"
        plain, forms = (224, 224), {"RGBA": "transparent", "LA": "transparent grey", "P": "transparent palette"}
        pictures = [("unresized", plain, EXACT, "RGB"), ("resized", (333, 217), RESIZED, "RGB")]
        pictures += [(what, plain, EXACT, mode) for mode, what in forms.items()]
        for what, size, limit, mode in pictures:
            worst, tokens = compare(vgpo, written, model.eval(), question, generator, size, mode)
            rows.append((f"{family}: checkpoint of our trainer in transformers, {what} picture", f"{tokens} tokens equal, log-probs within {worst:.1e}", f"{limit:g}", worst <= limit))


def check_lora(vgpo, family, generator, rows):
    """A LoRA run: the adapter in peft over the base, and the merged folder, against our own scores."""
    checkpoint = ROOT / "tests/fixtures/models" / family / "checkpoint"
    with tempfile.TemporaryDirectory() as work:
        written = train(vgpo, pathlib.Path(work), checkpoint, {"train": {"parameters": "lora"}})
        adapters = [path.parent for path in written.rglob("adapter_config.json")]
        if not adapters:
            sys.exit(f"{family}: a LoRA checkpoint without adapter_config.json: {sorted(p.name for p in written.rglob('*'))}")
        base = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
        untouched, _ = compare(vgpo, written, base.eval(), "What is this?", generator, (224, 224))
        if untouched <= EXACT:
            sys.exit(f"{family}: the adapter changes nothing ({untouched:.1e})")
        adapted = peft.PeftModel.from_pretrained(base, adapters[0]).eval()
        worst, tokens = compare(vgpo, written, adapted, "What is this?", generator, (224, 224))
        rows.append((f"{family}: LoRA adapter in peft", f"{tokens} tokens equal, log-probs within {worst:.1e}", f"{EXACT:g}", worst <= EXACT))
        if (written / "model.safetensors").exists():
            merged = AutoModelForImageTextToText.from_pretrained(written, dtype=torch.float32).eval()
            worst, tokens = compare(vgpo, written, merged, "What is this?", generator, (224, 224))
            rows.append((f"{family}: merged LoRA in transformers", f"{tokens} tokens equal, log-probs within {worst:.1e}", f"{EXACT:g}", worst <= EXACT))


def check_rows(vgpo, generator, rows):
    """Rows with pictures, written by `datasets`, trained on by our program; and our rows, read by `datasets`."""
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        features = datasets.Features({
            "problem": datasets.Value("string"), "answer": datasets.Value("string"),
            "images": datasets.Sequence(datasets.Image()), "demonstration": datasets.Value("string"),
        })
        made = [{
            "problem": f"<image>Question {n}: Δ数?", "answer": str(n),
            "images": [fresh_picture(generator, 56, 84)], "demonstration": f"\\boxed{{{n}}}",
        } for n in range(12)]
        table = datasets.Dataset.from_list(made, features=features)
        table.to_parquet(str(work / "train.parquet"), batch_size=5)
        checkpoint = ROOT / "tests/fixtures/models/qwen2_5_vl_tiny/checkpoint"
        written = train(vgpo, work, checkpoint, {"dataset": str(work / "train.parquet")})
        report = json.loads((written / "trainer/state.json").read_text())
        rows.append(("Parquet with pictures of datasets, trained on by us", f"{report['samples']} responses in {report['step']} step", "", report["samples"] == 2))
        run(vgpo, "datasets", "preview", "chart", "--out", work / "chart", "--limit", "5")
        back = datasets.load_dataset("json", data_files=str(work / "chart/rows.jsonl"), split="train", cache_dir=str(work / "cache"))
        seen = [Image.open(work / "chart" / row["images"][0]).size for row in back]
        rows.append(("our preview, read by datasets", f"{len(back)} rows, pictures of {sorted(set(seen))}", "", len(back) == 5 and set(seen) == {(224, 224)}))


def in_fp8(folder):
    """Puts the decoder's matrices into FP8 with a scale for each block of 32 by 32, as DeepSeek's and Qwen's checkpoints are."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if "layers." in name and name.endswith("_proj.weight")]:
        weight = tensors[name].float()
        tiles = weight.reshape(weight.shape[0] // 32, 32, weight.shape[1] // 32, 32)
        scales = tiles.abs().amax(dim=(1, 3)) / 448
        tensors[name] = (tiles / scales[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn)
        tensors[name.replace("weight", "weight_scale_inv")] = scales
    save_file(tensors, path)
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32]}
    edit(folder / "config.json", lambda config: config.update(quantization_config=settings))


def with_rope(kind):
    """A change of the rotary settings."""
    def change(folder):
        def settle(config):
            text = config.get("text_config") or config
            rope = {k: v for k, v in text["rope_scaling"].items() if k not in ("type", "rope_type")}
            text["rope_scaling"] = {**rope, "rope_type": kind, "factor": 4.0}
            if kind == "yarn":
                text["rope_scaling"]["original_max_position_embeddings"] = 1024
        edit(folder / "config.json", settle)
    return change


def nested_settings(folder):
    """The image settings in the newer file, and other ones in the older, which must not count."""
    own = json.loads((folder / "preprocessor_config.json").read_text())
    nested = {**own, "image_mean": [0.3, 0.4, 0.5]}
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": own.get("processor_class"), "image_processor": nested}))


def rich_template(folder):
    """A template that uses what only Hugging Face's environment has."""
    path = folder / "chat_template.json"
    template = json.loads(path.read_text())["chat_template"]
    more = (
        "{%- set ns0 = namespace(n=0) -%}{%- for m in messages[::-1] -%}{%- if loop.index > 1 -%}{%- break -%}{%- endif -%}"
        "{%- generation -%}{%- set ns0.n = ns0.n + 1 -%}{%- endgeneration -%}{%- endfor -%}"
        "{{- {'b': ns0.n, 'a': [1.0, 1e16, 'é']} | tojson(ensure_ascii=True, separators=(',', ':')) -}}"
        "{{- {'b': {}, 'a': [none, true]} | tojson(indent=2, sort_keys=True) -}}{{- strftime_now('%Y') -}}{{- 'x' | center(4) -}}"
    )
    path.write_text(json.dumps({"chat_template": more + template}))


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


FORMS = {
    "FP8 with scales in blocks": in_fp8,
    "rotary scaling yarn": with_rope("yarn"),
    "rotary scaling linear": with_rope("linear"),
    "image settings in processor_config.json": nested_settings,
    "a template with Hugging Face's own functions": rich_template,
}


def check_forms(vgpo, family, generator, rows):
    """Folders as other tools write them mean the same on both sides, and something else than the plain folder."""
    checkpoint = ROOT / "tests/fixtures/models" / family / "checkpoint"
    for what, change in FORMS.items():
        with tempfile.TemporaryDirectory() as work:
            folder = pathlib.Path(work) / "model"
            shutil.copytree(checkpoint, folder)
            change(folder)
            model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
            start = generator.bit_generator.state
            worst, tokens = compare(vgpo, folder, model, "What is this?", generator, (224, 224))
            generator.bit_generator.state = start
            picture = fresh_picture(generator, 224, 224)
            (_, changed), (_, plain) = ours(vgpo, folder, picture, "What is this?"), ours(vgpo, checkpoint, picture, "What is this?")
            apart = max(abs(a - b) for a, b in zip(changed, plain))
            found = f"{tokens} tokens equal, log-probs within {worst:.1e}, {apart:.1e} from the plain folder's"
            rows.append((f"{family}: {what}", found, f"{EXACT:g}", worst <= EXACT < apart))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vgpo", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=None, help="of the fresh pictures (default: a new one)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    generator, rows = np.random.default_rng(seed), []
    for family in FAMILIES:
        check_family(options.vgpo, family, generator, rows)
        check_lora(options.vgpo, family, generator, rows)
        if family not in WITHOUT_FORMS:
            check_forms(options.vgpo, family, generator, rows)
    check_rows(options.vgpo, generator, rows)
    image_text.check(options.vgpo, generator, rows)
    mathematics.check(options.vgpo, rows)
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, transformers, peft, datasets))
    lines = [
        "# Our files under other people's libraries", "",
        "Written by `just verify-peers`, which runs by hand: it needs PyPI and about 6 GB.", "",
        f"{datetime.date.today().isoformat()}, {run(options.vgpo, '--version').strip()}, with {versions}; fresh pictures from seed {seed}.", "",
        "| what | found | limit | |", "|---|---|---|---|",
        *[f"| {what} | {found} | {limit} | {'ok' if good else '**FAILED**'} |" for what, found, limit, good in rows],
        "", "Checkpoints are those of one supervised step of our trainer over the tiny fixtures. Log-probs are compared at every token",
        "of a response, computed by `vgpo score` and by the library. A resized picture goes through both sides' own resizing.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if not all(row[-1] for row in rows):
        sys.exit("some checks failed; nothing was written")
    options.out.write_text(text)


if __name__ == "__main__":
    main()
