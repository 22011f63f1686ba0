"""Prints what the Parquet files of a folder hold, as a tool that is not ours reads it: one JSON object
with the type of each column, and the rows as text, sorted.

Usage: contents.py pyarrow|duckdb FOLDER
"""

import json
import sys


def with_pyarrow(folder):
    import pyarrow.dataset as ds

    table = ds.dataset(folder, format="parquet").to_table()
    rows = [[text(value) for value in row.values()] for row in table.to_pylist()]
    return {field.name: str(field.type) for field in table.schema}, rows


def with_duckdb(folder):
    import duckdb

    db = duckdb.connect()
    db.sql("set timezone = 'UTC'")
    source = f"read_parquet('{folder}/*.parquet')"
    columns = {name: kind for name, kind, *_ in db.sql(f"describe from {source}").fetchall()}
    shown = ", ".join('"' + name.replace('"', '""') + '"::varchar' for name in columns)
    return columns, [list(row) for row in db.sql(f"select {shown} from {source}").fetchall()]


def text(value):
    return None if value is None else str(value)


tool, folder = sys.argv[1:]
columns, rows = {"pyarrow": with_pyarrow, "duckdb": with_duckdb}[tool](folder)
rows.sort(key=lambda row: [(value is not None, value or "") for value in row])
print(json.dumps({"columns": columns, "rows": rows}))
