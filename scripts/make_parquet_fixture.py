#!/usr/bin/env python3
"""Writes tests/fixtures/data/*.parquet with the real Python libraries.

    python3 -m venv venv && venv/bin/pip install datasets pyarrow pillow
    venv/bin/python scripts/make_parquet_fixture.py tests/fixtures/data
"""
import io
import pathlib
import sys

import datasets
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)


def png(number: int, side: int = 8) -> bytes:
    picture = Image.new("RGB", (side + number, side), (10 * number, 100, 200))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


# 1. What `datasets` itself writes: a list of images, unicode, tags; default compression, small row groups.
rows = [
    {
        "problem": f"<image>Wie groß ist Δ{n}? 数 🎉" if n % 2 else f"<image><image>Compare {n}.",
        "answer": f"\\boxed{{{n}}}",
        "images": [{"bytes": png(n), "path": f"{n}.png"}] * (1 if n % 2 else 2),
        "tags": ["odd" if n % 2 else "even"],
    }
    for n in range(10)
]
features = datasets.Features(
    {
        "problem": datasets.Value("string"),
        "answer": datasets.Value("string"),
        "images": datasets.List(datasets.Image()),
        "tags": datasets.List(datasets.Value("string")),
    }
)
datasets.Dataset.from_list(rows, features=features).to_parquet(out / "hf_list.parquet", batch_size=4)

# 2. A single image column, another column mapping, and integers as answers.
single = datasets.Dataset.from_list(
    [{"question": f"How wide is picture {n}?", "target": n + 8, "image": {"bytes": png(n), "path": None}} for n in range(5)],
    features=datasets.Features(
        {"question": datasets.Value("string"), "target": datasets.Value("int64"), "image": datasets.Image()}
    ),
)
single.to_parquet(out / "hf_single.parquet")

# 3. pyarrow by hand: zstd, large_string, nested lists of images, several row groups, a solution and a split column.
image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
table = pa.table(
    {
        "problem": pa.array([f"Question {n}" for n in range(7)], pa.large_string()),
        "answer": pa.array([str(n) for n in range(7)], pa.large_string()),
        "images": pa.array([[[{"bytes": png(n), "path": "x"}]] for n in range(7)], pa.list_(pa.list_(image))),
        "solution": pa.array([f"<think> {n} </think>" if n else None for n in range(7)]),
        "split": pa.array(["train"] * 5 + ["test"] * 2).dictionary_encode(),
        "unused": pa.array([{"a": [n]} for n in range(7)]),
    }
)
pq.write_table(table, out / "arrow_zstd.parquet", compression="zstd", row_group_size=3)

# 4. The same with snappy, one answer null, one image null inside a list.
broken = pa.table(
    {
        "problem": [f"Question {n}" for n in range(6)],
        "answer": pa.array(["0", "1", None, "3", "4", "5"]),
        "images": pa.array([[{"bytes": png(n), "path": None}] if n != 4 else [None] for n in range(6)], pa.list_(image)),
    }
)
pq.write_table(broken, out / "arrow_nulls.parquet", compression="snappy", row_group_size=2)

(out / "README.md").write_text(
    "# Parquet files written by Python\n\n"
    f"Made by `scripts/make_parquet_fixture.py` with datasets {datasets.__version__}, pyarrow {pa.__version__} and "
    f"pillow {PIL.__version__}.\n\n"
    "- `hf_list.parquet`: `Dataset.to_parquet`, 10 rows, lists of one or two images, tags, unicode, row groups of 4.\n"
    "- `hf_single.parquet`: `Dataset.to_parquet`, 5 rows, one image column, integer answers, other column names.\n"
    "- `arrow_zstd.parquet`: pyarrow, zstd, large strings, nested lists of images, row groups of 3, `solution`, `split`.\n"
    "- `arrow_nulls.parquet`: pyarrow, snappy, row groups of 2; row 3 has no answer, row 5 a null image.\n"
)
