"""What the peers do, each as its documentation has it. Usage: peer.py dlt|pyiceberg URL FOLDER

dlt        its `sql_database` source with the pyarrow backend, into a table of format iceberg on the local file system
pyiceberg  connectorx into Arrow in two partitions, then `append` to a table of a SQLite catalog
"""

import os
import sys

name, url, folder = sys.argv[1:]
os.chdir(folder)

if name == "dlt":
    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", EXTRACT__WORKERS="2", NORMALIZE__WORKERS="2", LOAD__WORKERS="2")
    import dlt
    from dlt.sources.sql_database import sql_table

    pipeline = dlt.pipeline("lineitem", destination=dlt.destinations.filesystem(f"file://{folder}/lake"),
                            dataset_name="bench", pipelines_dir=f"{folder}/pipelines")
    table = sql_table(url.replace("postgresql://", "postgresql+psycopg2://"), table="lineitem", backend="pyarrow",
                      chunk_size=100_000, reflection_level="full_with_precision")
    pipeline.run(table, table_format="iceberg", write_disposition="append")
else:
    import connectorx
    from pyiceberg.catalog import load_catalog

    rows = connectorx.read_sql(url, "select * from lineitem", return_type="arrow", partition_on="l_orderkey", partition_num=2)
    catalog = load_catalog("default", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/lake")
    catalog.create_namespace("bench")
    catalog.create_table("bench.lineitem", rows.schema).append(rows)
