"""Real tables of tests and benchmarks: the exact types of their columns, and what stands for null in them.

Usage: tables.py TABLE    prints the reader's `schema` of it
"""

import json
import sys

LINEITEM = {
    "columns": {
        "l_orderkey": "int64", "l_partkey": "int64", "l_suppkey": "int64", "l_linenumber": "int32",
        "l_quantity": "decimal(15,2)", "l_extendedprice": "decimal(15,2)", "l_discount": "decimal(15,2)",
        "l_tax": "decimal(15,2)", "l_returnflag": "string", "l_linestatus": "string", "l_shipdate": "date",
        "l_commitdate": "date", "l_receiptdate": "date", "l_shipinstruct": "string", "l_shipmode": "string",
        "l_comment": "string",
    },
    "nulls": [""],
}

FLIGHTS = {
    "columns": {
        "year": "int32", "month": "int32", "day": "int32", "dep_time": "int32", "sched_dep_time": "int32",
        "dep_delay": "int32", "arr_time": "int32", "sched_arr_time": "int32", "arr_delay": "int32",
        "carrier": "string", "flight": "int32", "tailnum": "string", "origin": "string", "dest": "string",
        "air_time": "int32", "distance": "int32", "hour": "int32", "minute": "int32", "time_hour": "timestamptz",
    },
    "nulls": ["", "NA"],
}

SQL = {
    "int32": "INTEGER", "int64": "BIGINT", "decimal(15,2)": "DECIMAL(15,2)", "date": "DATE", "string": "VARCHAR",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}


def table(name):
    return FLIGHTS if name == "flights" else LINEITEM


def schema(name):
    """For the reader."""
    return [{"name": column, "type": kind} for column, kind in table(name)["columns"].items()]


if __name__ == "__main__":
    print(json.dumps(schema(sys.argv[1])))
