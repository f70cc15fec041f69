#!/usr/bin/env python3
"""Tiny random CLIP and SigLIP checkpoints, and what transformers says of pictures and texts with them.

Alone it writes tests/fixtures/reward_models; verify.py makes checkpoints from a fresh seed and compares our scores.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer, PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

WORDS = ["circle", "square", "picture", "the", "red", "green", "answer", "three"]
PICTURES = {"wide.png": (97, 61), "tall.png": (40, 100), "small.png": (23, 19), "even.png": (64, 64)}
TEXTS = [
    "a red circle", "The ANSWER is: three, not 7!", "", "Δ数🎉 café", "(x + 1)^2 = 4",
    "<think> The picture shows a green square left of the red circle, so I count the corners one by one. </think> \\boxed{4}",
]
LIMIT, RESIZED = 1e-4, 2e-2


def byte_characters():
    """The characters that stand for the 256 bytes in byte-level vocabularies."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def merged(words, end):
    """Merges that build each word from left to right, and the tokens that they make."""
    merges, tokens = [], []
    for word in words:
        left, rest = word[0], [*word[1:-1], word[-1] + end]
        for right in rest:
            if (left, right) not in merges:
                merges.append((left, right))
            left += right
            if left not in tokens:
                tokens.append(left)
    return merges, tokens


def shake(model, generator):
    """Random weights that are large enough to tell texts and pictures apart."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "logit" not in name:
                near_one = parameter.dim() == 1 and "norm" in name and name.endswith("weight")
                parameter.copy_(torch.from_numpy(generator.normal(1.0 if near_one else 0.0, 0.25, parameter.shape)))
    return model.eval()


def write_clip(folder, generator):
    merges, tokens = merged(WORDS, "</w>")
    letters = byte_characters()
    names = [*letters, *(letter + "</w>" for letter in letters), *tokens, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: index for index, name in enumerate(dict.fromkeys(names))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=24)
    end = vocabulary["<|endoftext|>"]
    config = CLIPConfig(
        text_config={"vocab_size": end + 1, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
                     "max_position_embeddings": 24, "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end},
        vision_config={"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 48, "patch_size": 16},
        projection_dim=12,
    )
    shake(CLIPModel(config), generator).to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 48, "width": 48}).save_pretrained(folder)


def write_siglip(folder, generator):
    """Its texts lose case and punctuation, as SigLIP's do."""
    merges, tokens = merged(WORDS, "")
    names = ["<pad>", "<eos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(set("".join(WORDS))), "▁", *tokens]
    vocabulary = {name: index for index, name in enumerate(dict.fromkeys(names))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([
        normalizers.Lowercase(), normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Replace(" ", "▁"),
    ])
    inner.pre_tokenizer = pre_tokenizers.Split("▁", behavior="isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<eos>", pad_token="<pad>", model_max_length=20)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", vocabulary["<eos>"])])
    config = SiglipConfig(
        text_config={"vocab_size": len(vocabulary), "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 20,
                     "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0},
        vision_config={"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 40, "patch_size": 8},
    )
    model = shake(SiglipModel(config), generator)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-1.25)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 40, "width": 40}, resample=2).save_pretrained(folder)


FAMILIES = {
    "clip_tiny": (write_clip, CLIPModel, CLIPTokenizer, CLIPImageProcessorPil, CLIPImageProcessor, True),
    "siglip_tiny": (write_siglip, SiglipModel, PreTrainedTokenizerFast, SiglipImageProcessorPil, SiglipImageProcessor, "max_length"),
}


def draw(generator, size):
    """Smooth waves: a small file with every grey between."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 120 * np.sin(x / generator.uniform(4, 20) + y / generator.uniform(4, 20)) for _ in range(3)]
    return Image.fromarray(np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8))


def theirs(family, folder, pictures, backend="pil"):
    """Cosine, and SigLIP's probability, of every picture with every text."""
    _, model_class, tokenizer_class, pil, torchvision, padding = FAMILIES[family]
    folder = folder / family
    model = model_class.from_pretrained(folder, dtype=torch.float32).eval()
    processor = (pil if backend == "pil" else torchvision).from_pretrained(folder)
    tokens = tokenizer_class.from_pretrained(folder)(TEXTS, padding=padding, truncation=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    if padding == "max_length":
        # SiglipProcessor hands over no mask: the model was trained to see its filler.
        tokens.pop("attention_mask")
    pixels = processor(list(pictures.values()), return_tensors="pt")
    with torch.no_grad():
        output = model(**tokens, **pixels)
    cosines = output.image_embeds @ output.text_embeds.T
    logits = output.logits_per_image
    return [
        {"image": name, "text": text, "cosine": cosines[i, j].item()}
        | ({"probability": torch.sigmoid(logits[i, j]).item()} if padding == "max_length" else {})
        for i, name in enumerate(pictures)
        for j, text in enumerate(TEXTS)
    ]


def make(folder, generator):
    """Checkpoints and pictures in a folder; returns the pictures."""
    pictures = {name: draw(generator, size) for name, size in PICTURES.items()}
    for name, picture in pictures.items():
        picture.save(folder / name)
    for family, (write, *_) in FAMILIES.items():
        write(folder / family, generator)
    return pictures


def ours(vgpo, folder, family, cases, score):
    rows = [{"response": case["text"], "ground_truth": "", "images": [str(folder / case["image"])]} for case in cases]
    spec = json.dumps({"type": "image_text", "model": str(folder / family), "score": score})
    done = subprocess.run([vgpo, "reward", "--spec", spec], input="\n".join(map(json.dumps, rows)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"vgpo reward failed:\n{done.stderr}{done.stdout}")
    return [json.loads(line)["reward"] for line in done.stdout.splitlines()]


def check(vgpo, generator, rows):
    """Our scores against those of transformers, for fresh checkpoints, pictures of two image processors."""
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        pictures = make(folder, generator)
        for family in FAMILIES:
            for backend, limit in [("pil", LIMIT), ("torchvision", RESIZED)]:
                cases = theirs(family, folder, pictures, backend)
                for score in [score for score in ("cosine", "probability") if score in cases[0]]:
                    values = ours(vgpo, folder, family, cases, score)
                    worst = max(abs(value - case[score]) for value, case in zip(values, cases, strict=True))
                    spread = max(values) - min(values)
                    rows.append((f"{family}: reward `image_text`, {score}, pictures through {backend}", f"{len(values)} pairs within {worst:.1e} (spread {spread:.2f})", f"{limit:g}", worst <= limit < spread))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = make(options.out, np.random.default_rng(options.seed))
    for family in FAMILIES:
        cases = theirs(family, options.out, pictures)
        (options.out / family / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
