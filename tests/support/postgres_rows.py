"""Compares Parquet files with what PostgreSQL prints, value by value.

Usage: postgres_rows.py PAIRS    a JSON list of [FOLDER, FILE]: Parquet files, and the same rows in the text format of
                                 COPY. The first column of both is a number by which the rows are told apart.

Prints for each pair {"rows", "types", "wrong"}: the Arrow types by column, and what differs.
"""

import glob
import json
import re
import sys

import pyarrow.dataset as ds
from postgres_text import parse, values

ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def printed(file):
    """Rows in the text format of COPY; None is null."""
    with open(file, encoding="utf-8", newline="") as text:
        for line in text.read().split("\n")[:-1]:
            yield [None if cell == "\\N" else re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), cell)
                   for cell in line.split("\t")]


def compare(folder, file):
    expected = sorted(printed(file), key=lambda row: int(row[0]))
    if not glob.glob(f"{folder}/*.parquet"):
        return {"rows": 0, "types": {}, "wrong": [f"{len(expected)} rows are missing"] if expected else []}
    table = ds.dataset(folder, format="parquet").to_table().combine_chunks()
    keys = table.column(0).to_pylist()
    order = sorted(range(table.num_rows), key=lambda row: int(keys[row]))
    wrong = [] if len(expected) == table.num_rows else [f"{table.num_rows} rows of {len(expected)}"]
    for number, field in enumerate(table.schema):
        found = [value for chunk in table.column(number).chunks for value in values(chunk)]
        for row, at in zip(expected, order):
            value = found[at]
            try:
                wanted = parse(row[number], field.type)
            except Exception as error:
                wanted = f"{error!r} of {row[number]}"
            # The text form tells -0.0 from 0.0, and one NaN is as good as another.
            if repr(wanted) != repr(value):
                wrong.append(f"{field.name}, row {row[0]}: {str(value)[:200]!r} for {row[number][:200] if row[number] else row[number]!r}")
    return {"rows": table.num_rows, "types": {field.name: str(field.type) for field in table.schema}, "wrong": wrong[:20]}


with open(sys.argv[1]) as pairs:
    print(json.dumps([compare(*pair) for pair in json.load(pairs)]))
