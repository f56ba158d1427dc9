"""Reads a frozen dataset with the libraries that people use, and prints what they see.

    read_dataset.py FOLDER

FOLDER has the manifest. The output is one JSON object:

    features   the types of the columns in Hugging Face `datasets`
    card       the metadata that Hugging Face's Hub reads from README.md
    rows       by library (`datasets`, `pandas`, `duckdb`) and split: [image_id, label, url, fetched]
    faces      by library and image: null, or for each face [bbox, last key point, score]
    pictures   what `datasets` decodes, by image: [width, height, mode]
    attributed the image ids of attribution.csv
"""

import json
import sys
from pathlib import Path

import datasets
import duckdb
import pandas
from huggingface_hub import DatasetCard

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())
classes = manifest["classes"]
splits = [name for name, split in manifest["splits"].items() if split["shards"]]


def milliseconds(time):
    """The time as a whole number, or None."""
    return None if time is None or pandas.isna(time) else round(time.timestamp() * 1000)


def text(value):
    return None if value is None or pandas.isna(value) else value


def by_datasets(split):
    label = split.features["label"]
    return [
        [row["image_id"], label.int2str(row["label"]), row["url"], milliseconds(row["fetched"])]
        for row in split
    ]


def by_pandas(split):
    table = pandas.concat(
        pandas.read_parquet(folder / shard["file"], engine="pyarrow")
        for shard in manifest["splits"][split]["shards"]
    )
    return [
        [row.image_id, classes[row.label], text(row.url), milliseconds(row.fetched)]
        for row in table.itertuples()
    ]


def by_duckdb(split):
    files = str(folder / f"data/{split}-*.parquet")
    query = "SELECT image_id, label, url, epoch_ms(fetched) FROM read_parquet(?)"
    found = duckdb.execute(query, [files]).fetchall()
    return [[image, classes[label], url, fetched] for image, label, url, fetched in found]


def faces_of(lists):
    """The faces of a row as lists, or None where nobody looked for them."""
    if lists is None:
        return None
    numbers = lambda values: [float(value) for value in values]
    return [
        [numbers(face["bbox"]), numbers(face["keypoints"][-1]), float(face["score"])]
        for face in lists
    ]


def all_faces(loaded):
    files = [str(folder / shard["file"]) for name in splits for shard in manifest["splits"][name]["shards"]]
    tables = pandas.concat(pandas.read_parquet(file, engine="pyarrow") for file in files)
    found = duckdb.execute("SELECT image_id, faces FROM read_parquet(?)", [files]).fetchall()
    return {
        "datasets": {
            row["image_id"]: faces_of(row["faces"])
            for split in loaded.values()
            for row in split.remove_columns("image")
        },
        "pandas": {row.image_id: faces_of(row.faces) for row in tables.itertuples()},
        "duckdb": {image: faces_of(faces) for image, faces in found},
    }


loaded = datasets.load_dataset(str(folder))
assert sorted(loaded) == sorted(splits), f"{sorted(loaded)}, not {sorted(splits)}"
pictures = {
    row["image_id"]: [*row["image"].convert(row["image"].mode).size, row["image"].mode]
    for split in loaded.values()
    for row in split
}
features = next(iter(loaded.values())).features
print(
    json.dumps(
        {
            "features": {name: repr(feature) for name, feature in features.items()},
            "card": DatasetCard.load(folder / "README.md").data.to_dict(),
            "rows": {
                "datasets": {name: by_datasets(split) for name, split in loaded.items()},
                "pandas": {name: by_pandas(name) for name in splits},
                "duckdb": {name: by_duckdb(name) for name in splits},
            },
            "faces": all_faces(loaded),
            "pictures": pictures,
            "attributed": list(pandas.read_csv(folder / "attribution.csv")["image_id"]),
        }
    )
)
