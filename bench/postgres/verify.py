"""Compares a Parquet file with the table that it comes from, by exact sums, least and greatest values of every column.

Usage: verify.py TABLE FILE PSQL_COMMAND_AS_JSON FOLDER     prints a verdict as JSON

The types may be others, the values may not. What the server says is kept in FOLDER: the tables do not change.
"""

import json
import os
import subprocess
import sys
from decimal import Decimal, InvalidOperation

import duckdb
from tables import DUCKDB, KINDS, SERVER, facts

# A peer that knows no better type may give numbers as text or floats; their values are compared all the same.
NATURAL = {"integer": ("INTEGER", "BIGINT"), "numeric": ("DECIMAL",), "float": ("DOUBLE",), "bool": ("BOOLEAN",),
           "date": ("DATE",), "time": ("TIMESTAMP",), "text": ("VARCHAR",), "char": ("VARCHAR",),
           "uuid": ("UUID", "BLOB", "VARCHAR"), "json": ("JSON", "VARCHAR")}
CASTS = {"integer": "::bigint", "numeric": "::decimal(18,2)", "float": "::double", "bool": "::boolean", "date": "::date",
         "time": "::timestamp", "text": "::varchar", "char": "::varchar", "uuid": "", "json": "::varchar"}


def from_server(table, psql):
    columns = ask(psql, f"select attname, t.typname from pg_attribute a join pg_type t on t.oid = atttypid "
                        f"where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped order by attnum")
    wanted = ", ".join(f"array[{', '.join(facts(name, kind, SERVER))}]" for name, kind in columns)
    rows, found = ask(psql, f"set timezone = 'UTC'; select count(*), jsonb_build_array({wanted}) from {table}")[0]
    return {"rows": int(rows), "columns": [[*column, values] for column, values in zip(columns, json.loads(found))]}


def ask(psql, statement):
    done = subprocess.run([*psql, "-XAtq", "-F", "\x1f", "-c", statement], capture_output=True, text=True, check=True)
    return [line.split("\x1f") for line in done.stdout.splitlines()]


def same(kind, expected, found):
    if expected == found or None in (expected, found):
        return expected == found
    try:
        if kind == "float":
            return abs(float(expected) - float(found)) <= 1e-9 * abs(float(expected))
        return Decimal(expected) == Decimal(found)
    except (ValueError, InvalidOperation):
        return False


table, out, psql, folder = sys.argv[1:]
cache = f"{folder}/{table}.facts.json"
if not os.path.exists(cache):
    text = json.dumps(from_server(table, json.loads(psql)))
    with open(cache, "w") as file:
        file.write(text)
with open(cache) as file:
    truth = json.load(file)

db = duckdb.connect()
db.sql("set timezone = 'UTC'")
files = f"'{out}/**/*.parquet'" if os.path.isdir(out) else f"'{out}'"
source = f"read_parquet({files}, hive_partitioning = false)"
types = {name: kind for name, kind, *_ in db.sql(f"describe from {source}").fetchall()}
wrong, lesser = [], set()
rows = db.sql(f"select count(*) from {source}").fetchone()[0]
if rows != truth["rows"]:
    wrong.append(f"{rows} rows of {truth['rows']}")
for name, kind, expected in truth["columns"]:
    group, found_as = KINDS[kind], types.get(name, "missing")
    natural = found_as.startswith(NATURAL[group])
    if group == "time" and ("TIME ZONE" in found_as) != (kind == "timestamptz"):
        natural = False
    if not natural:
        lesser.add(f"{kind} as {found_as}")
    cast = "" if natural and group != "json" else CASTS[group]
    try:
        found = db.sql(f"select {', '.join(facts(name, kind, DUCKDB, cast))} from {source}").fetchone()
    except duckdb.Error as error:
        wrong.append(f"{name}: {str(error).splitlines()[0]}")
        continue
    wrong += [f"{name}: {theirs} for {ours}" for ours, theirs in zip(expected, found) if not same(group, ours, theirs)]
verdict = "exact" + (", but " + ", ".join(sorted(lesser)) if lesser else "")
print(json.dumps("WRONG: " + "; ".join(wrong)[:300] if wrong else verdict))
