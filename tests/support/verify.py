"""Compares Parquet files with the CSV file that they come from, which duckdb reads as text. Prints a verdict.

Usage: verify.py TABLE typed|inferred CSV PARQUET

For every column: how many values are null, and the sum of the hashes of the exact values (of the numbers
themselves too, where the column has numbers). The order of rows is free. Inferred types may differ, values may not.
What the CSV file says is kept beside it: it does not change.
"""

import json
import os
import sys

import duckdb
from tables import SQL, table


def facts(db, source, columns):
    wanted = ["count(*)"]
    for name, kind in columns.items():
        value = f"{name}::{SQL[kind]}"
        total = f"sum({value})" if kind.startswith(("int", "decimal")) else "null"
        wanted.append(f"[count({name})::varchar, ({total})::varchar, sum(hash({value})::hugeint)::varchar]")
    rows, *values = db.sql(f"select {', '.join(wanted)} from {source}").fetchall()[0]
    return {"rows": rows, "columns": dict(zip(columns, values))}


name, kind, csv, out = sys.argv[1:]
columns = table(name)["columns"]
db = duckdb.connect()
db.sql("set timezone = 'UTC'")
cache = csv + ".truth.json"
if not os.path.exists(cache):
    text = f"read_csv('{csv}', all_varchar = true, header = true, nullstr = {table(name)['nulls']})"
    truth = json.dumps(facts(db, text, columns))
    with open(cache, "w") as file:
        file.write(truth)
with open(cache) as file:
    truth = json.load(file)

files = f"'{out}/**/*.parquet'" if os.path.isdir(out) else f"'{out}'"
source = f"read_parquet({files}, hive_partitioning = false)"
types = {name: kind for name, kind, *_ in db.sql(f"describe from {source}").fetchall()}
wrong = [f"columns {list(types)}"] if list(types) != list(columns) else []
if not wrong:
    found = facts(db, source, columns)
    if found["rows"] != truth["rows"]:
        wrong.append(f"{found['rows']} rows of {truth['rows']}")
    wrong += [f"{name} {found['columns'][name]} for {truth['columns'][name]}"
              for name in columns if found["columns"][name] != truth["columns"][name]]
other = [f"{name} {types.get(name)}" for name, kind in columns.items() if types.get(name) != SQL[kind]]
codecs = {codec for codec, in db.sql(f"select distinct compression from parquet_metadata({files})").fetchall()}
wrong += [] if codecs == {"SNAPPY"} else [f"compression {sorted(codecs)}"]
if kind == "typed":
    wrong += other
lesser = [line for line in other if "INTEGER" not in line and "BIGINT" not in line]
verdict = "exact" + (", but " + ", ".join(lesser) if lesser else "")
print(json.dumps("WRONG: " + "; ".join(wrong)[:300] if wrong else verdict))
