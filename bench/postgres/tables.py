"""The tables of the benchmark: the SQL that makes them, and what each column's exact values are known by.

`wide`: 50 columns of mixed types, 7 % of most of them null. Each value is made from a hash of its row and column by the
server, so any machine gets the same table. `lineitem`: TPC-H's, made by tpchgen-cli.
"""

WORDS = """alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec
romeo sierra tango uniform victor whiskey xray yankee zulu open closed pending shipped returned cancelled invoice order
customer account payment refund region branch office depot parcel letter small medium large extra cotton linen leather
Überweisung café Ærø São Łódź 東京 "exact" one,two it's 100% a/b c\\d""".split()

# Of the hash `{h}`, at least 0: the low 8 bits say what is null, the rest makes the value.
INTEGER = "({low} + ({h} >> 8) % {count})::{type}"
WORD = "w[1 + ({h} >> {at}) % 64]"
CENTS = "(({h} >> 8) % {count} * 0.01)::numeric(12,2)"
MOMENT = "{type} '{start}' + ({h} >> 8) % {seconds} * interval '1 second' + {h} % 1000000 * interval '{micros} us'"


def words(count):
    """A sentence; a hash has bits for ten words, the rest repeats them in another order."""
    return " || ' ' || ".join(WORD.replace("{at}", str(4 + 5 * (number * 7 % 11))) for number in range(count))


def columns():
    """Name, type and expression of each column of `wide` after `id`."""
    integers = [("int4", low, count) for low, count in [
        (0, 2_000_000_000), (-1_000_000_000, 2_000_000_000), (0, 100), (0, 5), (1900, 130), (0, 65_536), (-500, 1000)]]
    integers += [("int8", low, count) for low, count in [
        (0, 10**16), (1_500_000_000_000, 2 * 10**11), (0, 1_000_000), (-(10**15), 2 * 10**15), (0, 50)]]
    made = [(kind, INTEGER.format(low=low, count=count, type=kind, h="{h}")) for kind, low, count in integers]
    made += [("float8", f"(({{h}} >> 8) / 36028797018963968.0::float8 * {scale})")
             for scale in ("1", "1e6", "360", "1e-3", "100", "1e12")]
    made += [("numeric(12,2)", CENTS.replace("{count}", str(10**digits))) for digits in (4, 6, 8, 10, 11, 5)]
    made += [("text", text) for text in (
        WORD.replace("{at}", "8"), WORD.replace("{at}", "8") + " || '-' || ({h} >> 16) % 65536",
        "'SKU' || lpad((({h} >> 8) % 16777216)::text, 8, '0')", "substr(md5({h}::text), 1, 12)",
        "w[1 + ({h} >> 8) % 8]", words(6), words(9), words(14))]
    made += [("varchar(40)", WORD.replace("{at}", "8") + " || '.' || " + WORD.replace("{at}", "14")),
             ("varchar(64)", "'user' || ({h} >> 8) % 1048576 || '@example.com'"),
             ("varchar(2)", "(array['US','DE','FR','GB','JP','BR','IN','CN'])[1 + ({h} >> 8) % 8]"),
             ("varchar(40)", "upper(substr(md5({h}::text), 1, 20))")]
    made += [("bool", f"({{h}} >> 8) % {one_in} = 0") for one_in in (2, 10, 100, 4)]
    made += [(kind, MOMENT.format(type=kind, start=start, seconds=seconds, micros=micros, h="{h}"))
             for kind, start, seconds, micros in [
                 ("timestamptz", "2015-01-01 00:00:00+00", 315_360_000, 1), ("timestamptz", "1969-12-01 00:00:00+00", 10**9, 1),
                 ("timestamptz", "2020-01-01 00:00:00+00", 10**8, 0), ("timestamp", "1990-01-01", 1_200_000_000, 1),
                 ("timestamp", "1990-01-01", 1_200_000_000, 0)]]
    made += [("date", "date '1940-01-01' + (({h} >> 8) % 30000)::int4"), ("date", "date '2018-01-01' + (({h} >> 8) % 2500)::int4"),
             ("uuid", "md5({h}::text)::uuid"),
             ("jsonb", "jsonb_build_object('source', " + WORD.replace("{at}", "8") + ", 'count', ({h} >> 14) % 1024, 'ok', "
              "({h} >> 24) % 2 = 1, 'tags', jsonb_build_array(" + WORD.replace("{at}", "25") + ", " + WORD.replace("{at}", "31") + "))")]
    for number, (kind, expression) in enumerate(made, 1):
        made_of = f"(hashint8extended(n, {number}) & 9223372036854775807)"
        value = expression.replace("{h}", made_of)
        if number % 12 != 1:
            value = f"case when {made_of} % 256 >= 18 then {value} end"
        yield f"{kind.split('(')[0]}_{number:02d}", kind, value


def wide(rows):
    """SQL that makes the table `wide`."""
    names = "".join(f",\n  {name} {kind}" for name, kind, _ in columns())
    values = "".join(f",\n  {value}" for _, _, value in columns())
    array = ", ".join("'" + word.replace("'", "''") + "'" for word in (WORDS * 2)[:64])
    return (f"create table wide (id int8 not null{names});\n"
            f"insert into wide select n{values}\n"
            f"from (select array[{array}] as w) as words, generate_series(1::int8, {rows}) as n;\n"
            "alter table wide add primary key (id);\n")


LINEITEM = """create table lineitem (
  l_orderkey int8 not null, l_partkey int8 not null, l_suppkey int8 not null, l_linenumber int4 not null,
  l_quantity numeric(15,2) not null, l_extendedprice numeric(15,2) not null, l_discount numeric(15,2) not null,
  l_tax numeric(15,2) not null, l_returnflag char(1) not null, l_linestatus char(1) not null, l_shipdate date not null,
  l_commitdate date not null, l_receiptdate date not null, l_shipinstruct char(25) not null,
  l_shipmode char(10) not null, l_comment varchar(44) not null);
"""

# By kind of type: what the server and duckdb say of a column, in words that both understand. Sums, least and
# greatest values, and for text a sum over characters.
FACTS = {
    "integer": ["sum({c}::{exact})", "min({c})", "max({c})", "sum({c} % 9973)"],
    "numeric": ["sum({c})", "min({c})", "max({c})", "sum({c} % 9973)"],
    "float": ["min({c})", "max({c})", "sum({c})"],
    "bool": ["sum({c}::int)"],
    "date": ["sum({c} - date '1970-01-01')", "min({c})", "max({c})"],
    "time": ["sum({micros})", "min({micros})", "max({micros})", "sum({micros} % 9973)"],
    "text": ["sum({bytes}({c}))", "min({c}{plain})", "max({c}{plain})", "sum(ascii(substr({c}, 2, 1)) * ascii(substr({c}, 4, 1)))"],
    "char": ["sum({bytes}(rtrim({c}::text)))", "min(rtrim({c}::text){plain})", "max(rtrim({c}::text){plain})"],
    "uuid": ["min({uuid}{plain})", "max({uuid}{plain})", "sum(ascii(substr({uuid}, 3, 1)) * ascii(substr({uuid}, 36, 1)))"],
    "json": ["sum({bytes}(replace({c}::text, ' ', '')))"],
}
SERVER = {"exact": "numeric", "micros": "(extract(epoch from {c}) * 1000000)::int8", "bytes": "octet_length",
          "plain": ' collate "C"', "uuid": "{c}::text"}
DUCKDB = {"exact": "hugeint", "micros": "epoch_us({c})", "bytes": "strlen", "plain": "",
          "uuid": "case when typeof({c}) = 'BLOB' then regexp_replace(lower(hex({c}::blob)), "
                  "'(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})', '\\1-\\2-\\3-\\4-\\5') else {c}::varchar end"}
KINDS = {"int4": "integer", "int8": "integer", "numeric": "numeric", "float8": "float", "bool": "bool", "date": "date",
         "timestamp": "time", "timestamptz": "time", "text": "text", "varchar": "text", "bpchar": "char",
         "uuid": "uuid", "jsonb": "json"}


def facts(name, kind, dialect, cast=""):
    """Expressions that say what is exactly in a column, as text."""
    column = f'"{name}"{cast}'
    words = {word: text.format(c=column) for word, text in dialect.items()}
    shown = "text" if dialect is SERVER else "varchar"
    return [f"({text.format(c=column, **words)})::{shown}" for text in ["count({c})", *FACTS[KINDS[kind]]]]
