#!/usr/bin/env python3
"""Records what a PostgreSQL 14 or later sends for one value of each type and more: the rows that tests and the fuzzer
of the decoder begin with. Standard library only; the server must be on loopback, without a password:
  record.py PORT USER DATABASE     (the database gets the extensions hstore and citext; all else is rolled back)
"""
import json
import pathlib
import re
import socket
import struct
import sys

DECODE = pathlib.Path(__file__).resolve().parent.parent / "src/capabilities/postgres/decode"

SETUP = """
create extension if not exists hstore; create extension if not exists citext;
begin; create schema recorded; set local search_path = recorded, public; set local timezone = 'UTC';
create type mood as enum ('sad', 'happy'); create domain posint as int4 check (value > 0);
create domain rate as numeric(10,4); create domain names as text[];
create type pair as (a int4, gone bool, b text); alter type pair drop attribute gone;
create type deep as (p pair, ps pair[], r rate, m mood[], i inet, z timetz, h hstore)"""

# Type, format, values as SQL. NULL is added to each.
TYPES = [
    ("bool", 1, ["true", "false"]),
    ("int2", 1, ["'-32768'", "'32767'"]),
    ("int4", 1, ["'-2147483648'", "7"]),
    ("int8", 1, ["'-9223372036854775808'", "9007199254740993"]),
    ("oid", 1, ["'4294967295'", "'0'"]),
    ("float4", 1, ["1.1", "'NaN'", "'Infinity'"]),
    ("float8", 1, ["0.1", "'-Infinity'"]),
    ("numeric(12,2)", 1, ["'1234567890.12'", "'-0.01'", "0", "100000000"]),
    ("numeric(38,10)", 1, ["'1234567890123456789012345678.0123456789'", "'-1e-10'"]),
    ("numeric(30,20)", 1, ["'1234567890.12345678901234567891'"]),
    ("numeric(60,5)", 1, ["'-1234567890123456789012345678901234567890123456789012345.12345'", "0"]),
    ("numeric(3,-2)", 1, ["'12345'"]),
    ("numeric(2,4)", 1, ["'0.0012'"]),
    ("numeric", 0, ["'12345678901234567890.123456789012345'", "'0.10'", "'NaN'", "'-Infinity'"]),
    ("money", 1, ["'-12.34'", "'92233720368547758.07'"]),
    ("text", 1, ["''", "'naïve 東京'"]),
    ("varchar(10)", 1, ["'abc'"]),
    ("char(5)", 1, ["'ab'"]),
    ("name", 1, ["'pg_class'"]),
    ('"char"', 0, ["'x'", "''"]),
    ("citext", 1, ["'Mixed'"]),
    ("bytea", 1, ["'\\x00ff10'", "''"]),
    ("date", 1, ["'0044-03-15 BC'", "'20240-01-01'"]),
    ("time", 1, ["'23:59:59.123456'", "'24:00:00'"]),
    ("timetz", 0, ["'12:00:00.5+02'"]),
    ("timestamp", 1, ["'0044-03-15 BC'", "'1969-12-31 23:59:59.999999'"]),
    ("timestamptz", 1, ["'2024-02-29 12:34:56.123456+00'", "'9999-12-31 23:59:59.999999+05:30'"]),
    ("interval", 1, ["'1 year 2 mons 3 days 04:05:06.789'", "'-1 day'"]),
    ("uuid", 1, ["'0000534e-73fe-86ee-3472-849d0bdc28a3'"]),
    ("json", 1, ["'{\"b\": 1,  \"a\": 12345678901234567890.10}'"]),
    ("jsonb", 1, ["'{\"b\": 1, \"a\": [1.10, \"東京\"]}'", "'12345678901234567890.10'"]),
    ("xml", 1, ["'<a>1</a>'"]),
    ("int4[]", 1, ["'{1,NULL,3}'", "'{}'"]),
    ("int4[]", 1, ["'{{1,2},{3,NULL}}'", "'{}'"]),
    ("text[]", 1, ["'{a,NULL,\"b,c\"}'"]),
    ("numeric(12,2)[]", 1, ["'{1.10,2.20}'"]),
    ("numeric[]", 1, ["'{1.10,NaN,1e10,-0.00010,-Infinity}'"]),
    ("timestamptz[]", 1, ["'{2024-02-29 12:34:56.123456+00}'"]),
    ("timetz[]", 1, ["'{12:00:00.5-02:30:15,24:00:00+00}'"]),
    ("inet[]", 1, ["'{192.168.0.1/24,::1,::ffff:1.2.3.4,1:0:0:2::3}'"]),
    ("cidr[]", 1, ["'{10.0.0.0/8,::/0}'"]),
    ("macaddr8[]", 1, ["'{08:00:2b:01:02:03:04:05}'"]),
    ("varbit[]", 1, ["'{101,1010101011}'"]),
    ('"char"[]', 1, ["'{x,\"\"}'"]),
    ("mood", 1, ["'happy'"]),
    ("mood[]", 1, ["'{happy,NULL,sad}'"]),
    ("posint", 1, ["7"]),
    ("rate[]", 1, ["'{1.2345}'"]),
    ("names", 1, ["'{n}'"]),
    ("pair", 1, ["row(1,'x')"]),
    ("deep", 1, ["row(row(1,null)::pair, array[row(2,'q')::pair,null], 1.5, '{sad}', '::1', '12:00:00+00', 'k=>v')"]),
    ("int4range", 1, ["'[1,5)'", "'empty'", "'(,3]'"]),
    ("numrange", 1, ["'(1.50,2]'"]),
    ("tstzrange[]", 1, ["array['[2024-01-01 00:00+00,2024-02-01 00:00+00)'::tstzrange]"]),
    ("int4multirange", 1, ["'{[1,3),[5,7)}'", "'{}'"]),
    ("hstore", 1, ["'a=>1,b=>NULL'", "''"]),
    ("hstore[]", 1, ["array['a=>1'::hstore, null]"]),
    ("inet", 0, ["'192.168.0.1/24'"]),
    ("bit(8)", 0, ["B'10101010'"]),
    ("point", 0, ["'(1.5,2.5)'"]),
    ("tsvector", 0, ["'a:1 b:2'"]),
]


class Server:
    def __init__(self, port, user, database):
        self.socket = socket.create_connection(("127.0.0.1", int(port)))
        pairs = {"user": user, "database": database, "client_encoding": "UTF8"}
        body = struct.pack("!i", 196608) + b"".join(f"{k}\0{v}\0".encode() for k, v in pairs.items()) + b"\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.until_ready()

    def exactly(self, size):
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data)) or sys.exit("the server is gone")
        return data

    def until_ready(self):
        messages = []
        while not messages or messages[-1][0] != b"Z":
            head = self.exactly(5)
            messages.append((head[:1], self.exactly(struct.unpack("!i", head[1:])[0] - 4)))
        for kind, body in messages:
            if kind == b"E":
                sys.exit(body.replace(b"\0", b" ").decode())
        return messages

    def ask(self, *messages):
        self.socket.sendall(b"".join(kind + struct.pack("!i", len(body) + 4) + body for kind, body in messages))
        return self.until_ready()

    def simple(self, sql):
        self.ask((b"Q", sql.encode() + b"\0"))

    def prepare(self, sql):
        """Name, type and modifier of each column."""
        answer = self.ask((b"P", b"\0" + sql.encode() + b"\0\0\0"), (b"D", b"S\0"), (b"S", b""))
        body = next(body for kind, body in answer if kind == b"T")
        columns, at = [], 2
        while at < len(body):
            end = body.index(b"\0", at)
            oid, _, typmod = struct.unpack("!ihi", body[end + 7:end + 17])
            columns.append([body[at:end].decode(), oid, typmod])
            at = end + 19
        return columns

    def rows(self, formats, *parameters):
        """Of what was prepared, as messages."""
        bind = b"\0\0" + struct.pack("!hh", 0, len(parameters))
        bind += b"".join(struct.pack("!i", len(p)) + p.encode() for p in parameters)
        bind += struct.pack(f"!h{len(formats)}h", len(formats), *formats)
        answer = self.ask((b"B", bind), (b"E", b"\0" + struct.pack("!i", 0)), (b"S", b""))
        return [kind + struct.pack("!i", len(body) + 4) + body for kind, body in answer if kind in (b"D", b"C")]


def texts(row):
    fields, at = [], 7
    while at < len(row):
        size = struct.unpack("!i", row[at:at + 4])[0]
        fields.append(None if size < 0 else row[at + 4:at + 4 + size].decode())
        at += 4 + max(size, 0)
    return fields


def main():
    server = Server(*sys.argv[1:])
    for statement in SETUP.split(";"):
        server.simple(statement)
    most = max(len(values) for _, _, values in TYPES)
    selects = []
    for row in range(most + 1):
        fields = []
        for number, (kind, _, values) in enumerate(TYPES):
            value = values[row] if row < len(values) else "NULL"
            fields.append(f"({value})::{kind} AS c{number:02}")
        selects.append("SELECT " + ", ".join(fields))
    # A table, so that modifiers are kept.
    server.simple("CREATE TABLE recorded.t (row int4, " + ", ".join(f"c{n:02} {kind}" for n, (kind, _, _) in enumerate(TYPES)) + ")")
    for number, select in enumerate(selects):
        server.simple(f"INSERT INTO recorded.t SELECT {number}, s.* FROM ({select}) s")
    sql = "SELECT " + ", ".join(f"c{n:02}" for n in range(len(TYPES))) + " FROM recorded.t ORDER BY row"
    columns = server.prepare(sql)
    formats = [format for _, format, _ in TYPES]
    rows = server.rows(formats)
    source = (DECODE / "catalog.rs").read_text()
    query = re.search(r'const QUERY: &str = "\\\n(.*?)";', source, re.S).group(1)
    server.prepare(query)
    oids = ",".join(str(oid & 0xFFFFFFFF) for _, oid, _ in columns)
    catalog = [texts(row) for row in server.rows([0], "{" + oids + "}") if row[:1] == b"D"]
    server.simple("rollback")
    for column, (kind, _, _) in zip(columns, TYPES):
        column[0] = kind
    names = set()
    for column in columns:  # one name each
        while column[0] in names:
            column[0] += " 2d"
        names.add(column[0])
    folder = DECODE / "recorded"
    (folder / "types.rows").write_bytes(b"".join(rows))
    compact = {"columns": columns, "formats": formats, "catalog": catalog}
    (folder / "types.json").write_text("{\n" + ",\n".join(
        f'"{key}": [\n' + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"
        for key, items in compact.items()) + "\n}\n")


main()
