"""One peer reads a table into Arrow in memory, or writes it as one snappy Parquet file. Prints its row count.

Usage: peer.py PEER TABLE arrow|parquet STREAMS URL OUT
"""

import glob
import json
import os
import sys

KEYS = {"wide": "id", "lineitem": "l_orderkey"}


def duckdb(table, goal, streams, url, out):
    import duckdb as db
    import duckdb_extension_postgres_scanner as extension

    connection = db.connect(config={"threads": streams, "allow_unsigned_extensions": "true"})
    (file,) = glob.glob(os.path.dirname(extension.__file__) + "/extensions/*/*.duckdb_extension")
    connection.execute(f"load '{file}'")
    connection.execute(f"attach '{url}' as pg (type postgres, read_only)")
    if goal == "arrow":
        return connection.sql(f"from pg.{table}").to_arrow_table().num_rows
    return connection.execute(f"copy (from pg.{table}) to '{out}' (format parquet, compression snappy)").fetchone()[0]


def parts(table, streams):
    return {} if streams == 1 else {"partition_on": KEYS[table], "partition_num": streams}


def connectorx(table, goal, streams, url, out):
    import connectorx as cx
    import pyarrow.parquet as pq

    rows = cx.read_sql(url, f"select * from {table}", return_type="arrow", **parts(table, streams))
    if goal == "parquet":
        pq.write_table(rows, out, compression="snappy")
    return rows.num_rows


def polars(table, goal, streams, url, out):
    import polars as pl

    rows = pl.read_database_uri(f"select * from {table}", url, engine="connectorx", **parts(table, streams))
    if goal == "parquet":
        rows.write_parquet(out, compression="snappy")
    return rows.height


def adbc(table, goal, streams, url, out):
    import adbc_driver_postgresql.dbapi as driver
    import pyarrow.parquet as pq

    assert streams == 1
    with driver.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"select * from {table}")
        if goal == "arrow":
            return cursor.fetch_arrow_table().num_rows
        return write(cursor.fetch_record_batch(), pq, out)


def write(batches, pq, out):
    rows, writer = 0, None
    for batch in batches:
        writer = writer or pq.ParquetWriter(out, batch.schema, compression="snappy")
        writer.write_batch(batch)
        rows += batch.num_rows
    writer.close()
    return rows


def psycopg2(table, goal, streams, url, out):
    """Rows as Python objects, as most programs read them, made into Arrow by pyarrow."""
    import psycopg2 as driver
    import psycopg2.extras
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert streams == 1
    connection = driver.connect(url)
    psycopg2.extras.register_default_jsonb(connection, loads=lambda text: text)
    schema = pa.schema(arrow_types(connection, table, pa))
    cursor = connection.cursor(name="rows")
    cursor.itersize = 50_000
    cursor.execute(f"select * from {table}")

    def batches():
        while rows := cursor.fetchmany(50_000):
            arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows), schema)]
            yield pa.record_batch(arrays, schema=schema)

    if goal == "arrow":
        return pa.Table.from_batches(batches(), schema).num_rows
    return write(batches(), pq, out)


def arrow_types(connection, table, pa):
    known = {"int4": pa.int32(), "int8": pa.int64(), "float8": pa.float64(), "bool": pa.bool_(), "date": pa.date32(),
             "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC")}
    with connection.cursor() as cursor:
        cursor.execute("select attname, typname, atttypmod from pg_attribute a join pg_type t on t.oid = atttypid "
                       "where attrelid = %s::regclass and attnum > 0 order by attnum", [table])
        for name, kind, modifier in cursor.fetchall():
            decimal = pa.decimal128((modifier - 4) >> 16, (modifier - 4) & 0xFFFF) if kind == "numeric" else None
            yield name, decimal or known.get(kind, pa.string())


peer, table, goal, streams, url, out = sys.argv[1:]
print(json.dumps({"rows": globals()[peer](table, goal, int(streams), url, out)}))
