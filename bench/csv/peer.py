"""One peer reads a CSV file into memory, or writes it as one snappy Parquet file. Prints its row count.

Usage: peer.py PEER TABLE typed|inferred arrow|parquet THREADS FILE OUT
"""

import json
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/support"))

from tables import SQL, table  # noqa: E402: it is found there


def pyarrow_options(facts, typed):
    import pyarrow as pa
    import pyarrow.csv as pc

    types = {
        "int32": pa.int32(), "int64": pa.int64(), "decimal(15,2)": pa.decimal128(15, 2), "date": pa.date32(),
        "string": pa.string(), "timestamptz": pa.timestamp("us", "UTC"),
    }
    columns = {name: types[kind] for name, kind in facts["columns"].items()} if typed else None
    return pc.ConvertOptions(column_types=columns, null_values=facts["nulls"], strings_can_be_null=True)


def limit_pyarrow(threads):
    import pyarrow as pa

    pa.set_cpu_count(threads)
    pa.set_io_thread_count(threads)


def pyarrow_read(facts, typed, goal, threads, file, out):
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    limit_pyarrow(threads)
    rows = pc.read_csv(file, convert_options=pyarrow_options(facts, typed))
    if goal == "parquet":
        pq.write_table(rows, out, compression="snappy")
    return rows.num_rows


def pyarrow_stream(facts, typed, goal, threads, file, out):
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    limit_pyarrow(threads)
    blocks = pc.ReadOptions(block_size=16 << 20)
    reader = pc.open_csv(file, read_options=blocks, convert_options=pyarrow_options(facts, typed))
    if goal == "arrow":
        return reader.read_all().num_rows
    rows = 0
    with pq.ParquetWriter(out, reader.schema, compression="snappy") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def polars(facts, typed, goal, threads, file, out):
    import polars as pl

    assert pl.thread_pool_size() == threads
    types = {
        "int32": pl.Int32, "int64": pl.Int64, "decimal(15,2)": pl.Decimal(15, 2), "date": pl.Date,
        "string": pl.String, "timestamptz": pl.Datetime("us", "UTC"),
    }
    schema = {name: types[kind] for name, kind in facts["columns"].items()} if typed else None
    lazy = pl.scan_csv(file, schema=schema, try_parse_dates=not typed, null_values=facts["nulls"])
    if goal == "arrow":
        return lazy.collect(engine="streaming").height
    lazy.sink_parquet(out, compression="snappy")
    return pl.scan_parquet(out).select(pl.len()).collect().item()


def duckdb(facts, typed, goal, threads, file, out):
    import duckdb as db

    connection = db.connect(config={"threads": threads})
    options = f"nullstr = {facts['nulls']}"
    if typed:
        columns = {name: SQL[kind] for name, kind in facts["columns"].items()}
        options += f", columns = {columns}, auto_detect = false, header = true, delim = ',', quote = '\"'"
    query = f"from read_csv('{file}', {options})"
    if goal == "arrow":
        return connection.sql(query).to_arrow_table().num_rows
    return connection.execute(f"copy ({query}) to '{out}' (format parquet, compression snappy)").fetchone()[0]


peer, name, kind, goal, threads, file, out = sys.argv[1:]
rows = globals()[peer](table(name), kind == "typed", goal, int(threads), file, out)
print(json.dumps({"rows": rows}))
