"""Prints SQL that makes tables of random types with random rows. Usage: random_postgres.py SEED TABLES ROWS VERSION

Table `r0`, `r1`, … each have the columns `id` and `c0`, `c1`, … Prints a JSON object: {"sql", "cells"}.
"""

import json
import random
import sys
import uuid

TEXTS = ["", " ", "a", "NULL", "null", "\\", "\"", "'", ",", "{}", "()", "\n", "\t", "\r", "=>", "é", "東京", "🦀", "\u2028",
         "x" * 63, "a b", "\x7f", "\\N", "\\.", "%s", "[1,2)"]


def text(rng):
    return "".join(rng.choice(TEXTS) for _ in range(rng.choice([0, 1, 1, 2, 4])))


def integer(bits):
    ends = [-(1 << bits - 1), (1 << bits - 1) - 1, 0, 1, -1]
    return lambda rng: str(rng.choice([*ends, rng.randrange(*ends[:2]), rng.randrange(-1000, 1000)]))


def decimal(precision, scale):
    """Up to `precision` digits, `scale` of them behind the point."""
    def value(rng):
        digits = rng.choice([precision, rng.randint(1, precision)])
        number = rng.choice([0, 10**precision - 1, rng.randrange(10**digits)])
        shown = f"{number:0{scale + 1}d}"
        point = len(shown) - scale
        return rng.choice(["", "-"]) + shown[:point] + ("." + shown[point:] if scale else "")
    return value


def any_numeric(rng):
    return rng.choice(["NaN", "Infinity", "-Infinity", "0", "0.00", "1e-30", "-1e40", "1e200", decimal(60, 0)(rng),
                       decimal(30, 17)(rng), decimal(4, 3)(rng)])


def floating(low, high):
    return lambda rng: rng.choice(["NaN", "Infinity", "-Infinity", "0", "-0", "0.1", low, high, f"{rng.uniform(-1, 1):.9g}",
                                   f"{rng.uniform(-1e6, 1e6):.7g}", f"{rng.gauss(0, 1) * 10 ** rng.randint(-30, 30):.8g}"])


def day(rng):
    year, month, date = rng.choice([1, 99, 1583, 1900, 1969, 1970, 2000, 2024, 9999, 20240, 294245]), rng.randint(1, 12), rng.randint(1, 28)
    era = " BC" if year < 100 and rng.random() < 0.5 else ""
    return rng.choice([f"{year:04d}-{month:02d}-{date:02d}{era}", f"{rng.randint(1900, 2100)}-{month:02d}-{date:02d}"])


def clock(rng):
    micros = rng.choice(["", ".1", ".000001", ".999999", f".{rng.randrange(10**6):06d}"])
    return rng.choice([f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}{micros}", "00:00:00"])


def moment(rng):
    date, _, era = day(rng).partition(" ")
    return f"{date} {clock(rng)}" + (" " + era if era else "")


def or_infinite(value):
    return lambda rng: rng.choice(["infinity", "-infinity"]) if rng.random() < 0.05 else value(rng)


def zone(rng):
    return rng.choice(["+00", "-12", "+05:45", "+15:59:59", "-00:00:01"])


def interval(rng):
    parts = [f"{rng.randint(-1000, 1000)} {unit}" for unit in ("years", "months", "days") if rng.random() < 0.6]
    seconds = rng.choice(["0", "0.000001", str(rng.randint(-10**6, 10**6)), f"{rng.uniform(-1e5, 1e5):.6f}"])
    return " ".join([*parts, f"{seconds} seconds"])


def json_text(rng):
    value = rng.choice([None, True, 12345678901234567890, 1.5, text(rng).replace("\0", ""), [1, "two", None], {"a": {"b": text(rng)}}])
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def address(rng):
    if rng.random() < 0.5:
        return ".".join(str(rng.randrange(256)) for _ in range(4)) + rng.choice(["", f"/{rng.randrange(33)}"])
    groups = [f"{rng.choice([0, 0, 0xffff, rng.randrange(1 << 16)]):x}" for _ in range(8)]
    return ":".join(groups) + rng.choice(["", f"/{rng.randrange(129)}"])


def network(rng):
    bits = rng.randrange(33)
    number = rng.randrange(1 << 32) >> (32 - bits) << (32 - bits)
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) + f"/{bits}"


def hexadecimal(count):
    return lambda rng: ":".join(f"{rng.randrange(256):02x}" for _ in range(count))


def bits(least, most):
    return lambda rng: "".join(rng.choice("01") for _ in range(rng.randint(least, most)))


def pairs(rng):
    quoted = lambda part: '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return ", ".join(f"{quoted(text(rng))}=>{rng.choice(['NULL', quoted(text(rng))])}" for _ in range(rng.randrange(4)))


LEAVES = {
    "bool": lambda rng: rng.choice("tf"), "int2": integer(16), "int4": integer(32), "int8": integer(64),
    "oid": lambda rng: str(rng.choice([0, 1, 2**32 - 1, rng.randrange(2**32)])),
    "float4": floating("1e-45", "3.4028235e38"), "float8": floating("5e-324", "1.7976931348623157e308"),
    "numeric": any_numeric, "numeric(1,0)": decimal(1, 0), "numeric(4,4)": decimal(4, 4), "numeric(9,2)": decimal(9, 2),
    "numeric(18,9)": decimal(18, 9), "numeric(19,0)": decimal(19, 0), "numeric(38,10)": decimal(38, 10),
    "numeric(38,38)": decimal(38, 38), "numeric(39,1)": decimal(39, 1), "numeric(76,30)": decimal(76, 30),
    "money": lambda rng: f"{rng.randrange(-2**63, 2**63)}"[:-2] + ".25", "text": text, "varchar(300)": text,
    "bpchar": text, "char(9)": lambda rng: text(rng)[:9], "name": lambda rng: rng.choice(["", "a", "pg_class", "é" * 31]),
    "citext": text, "bytea": lambda rng: "\\x" + rng.randbytes(rng.choice([0, 1, 5, 40])).hex(),
    "date": or_infinite(day), "time": lambda rng: rng.choice(["24:00:00", clock(rng)]),
    "timetz": lambda rng: clock(rng) + zone(rng), "timestamp": or_infinite(moment),
    "timestamptz": or_infinite(lambda rng: moment(rng).replace(" BC", "+00 BC")), "interval": interval,
    "uuid": lambda rng: str(uuid.UUID(int=rng.choice([0, rng.getrandbits(128)]))), "json": json_text, "jsonb": json_text,
    "inet": address, "cidr": network, "macaddr": hexadecimal(6), "macaddr8": hexadecimal(8), "bit(11)": bits(11, 11),
    "varbit": bits(0, 20), "mood": lambda rng: rng.choice(["sad", "so, so", "happy"]), "positive": lambda rng: str(rng.randint(1, 99)),
    "rate": decimal(10, 4), "hstore": pairs, "point": lambda rng: f"({rng.randint(-9, 9)},{rng.random():.3f})",
    "pg_lsn": lambda rng: f"{rng.randrange(1 << 32):X}/{rng.randrange(1 << 32):X}",
    "tsvector": lambda rng: " ".join(rng.choice("abcdef") for _ in range(rng.randrange(4))),
}
RANGES = {
    "int4range": ("int4", lambda rng: rng.randrange(-10**6, 10**6)), "int8range": ("int8", lambda rng: rng.randrange(-10**15, 10**15)),
    "numrange": ("numeric", lambda rng: round(rng.uniform(-1e6, 1e6), rng.randrange(5))),
    "daterange": ("date", lambda rng: f"{rng.randint(1900, 2100)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"),
    "tsrange": ("timestamp", lambda rng: f"{rng.randint(1900, 2100)}-{rng.randint(1, 12):02d}-03 04:05:06.789"),
    "tstzrange": ("timestamptz", lambda rng: f"{rng.randint(1900, 2100)}-{rng.randint(1, 12):02d}-03 04:05:06+00"),
}


def span(rng, bound):
    if rng.random() < 0.1:
        return "empty"
    lower, upper = sorted([bound(rng), bound(rng)])
    lower, upper = (f'"{end}"' if rng.random() < 0.85 else "" for end in (lower, upper))
    return rng.choice("[(") + f"{lower},{upper}" + rng.choice("])")


def quoted(value):
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Maker:
    def __init__(self, rng, version):
        self.rng, self.version, self.composites = rng, version, []

    def kind(self, depth):
        """A name of a type, and a function that makes a value's text."""
        rng = self.rng
        shape = rng.random()
        if depth == 0 or shape < 0.55:
            return rng.choice(list(LEAVES.items()))
        if shape < 0.75:
            name, value = self.kind(depth - 1)
            if name.endswith("]"):
                return name, value
            nulls = rng.choice([0, 0.2])
            return name + "[]", lambda rng: "{" + ",".join(
                quoted(None if rng.random() < nulls else value(rng)) for _ in range(rng.choice([0, 1, 1, 2, 5]))) + "}"
        if shape < 0.9:
            name, (_, bound) = rng.choice(list(RANGES.items()))
            if self.version >= 14 and rng.random() < 0.3:
                spans = lambda rng: "{" + ",".join(span(rng, bound) for _ in range(rng.randrange(3))) + "}"
                return name.replace("range", "multirange"), spans
            return name, lambda rng: span(rng, bound)
        parts = [self.kind(depth - 1) for _ in range(rng.randint(1, 4))]
        name = f"composite_{len(self.composites)}"
        self.composites.append(f"create type {name} as (" + ", ".join(f"f{at} {kind}" for at, (kind, _) in enumerate(parts)) + ");")

        def value(rng):
            fields = [None if rng.random() < 0.2 else part(rng) for _, part in parts]
            return "(" + ",".join("" if field is None else quoted(field) for field in fields) + ")"
        return name, value


def copied(value):
    if value is None:
        return "\\N"
    for character, escape in [("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")]:
        value = value.replace(character, escape)
    return value


seed, tables, rows, version = sys.argv[1], *map(int, sys.argv[2:])
rng = random.Random(seed)
maker = Maker(rng, version)
made, cells = [], 0
for table in range(tables):
    kinds = [maker.kind(2) for _ in range(rng.randint(5, 20))]
    nulls = [rng.choice([0, 0.1, 0.9, 1]) for _ in kinds]
    columns = "".join(f", c{at} {kind}" for at, (kind, _) in enumerate(kinds))
    lines = [f"create table r{table} (id int4 not null{columns});", f"copy r{table} from stdin;"]
    for row in range(rows):
        values = [None if rng.random() < share else value(rng) for (_, value), share in zip(kinds, nulls)]
        lines.append("\t".join([str(row), *map(copied, values)]))
        cells += len(values)
    made += [*lines, "\\."]
types = ["create extension hstore; create extension citext;", "create type mood as enum ('sad', 'so, so', 'happy');",
         "create domain positive as int4 check (value > 0);", "create domain rate as numeric(10,4);"]
print(json.dumps({"sql": "\n".join([*types, *maker.composites, *made, ""]), "cells": cells}))
