"""Writes random tables with Python's csv module. Usage: random_csv.py FOLDER SEED COUNT STYLE

Prints for each {"file", "config", "columns", "rows"}: what the reader has to be told, and the cells as the csv module
reads the file. STYLE is quoted (quotes are doubled), bare (no quotes at all), escaped (inside quotes a backslash makes
the next character plain) or latin-1.
"""

import csv
import io
import json
import random
import sys

TEXTS = ["", " ", "\"", "\"\"", "\n", "\r\n", "\r", "\\", "\\\"", "'", "''", ",", ";", "|", "\t", "NA", "null", "0", "-1.5",
         "a", "b c", "x" * 63, "y" * 64, "\0", "\ufeff", "ü", "\x85", "\u2028", "漢字", "🦀", "e\u0301"]


def cell(rng, allowed):
    return "".join(rng.choice(allowed) for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 5, 12])))


def settings(rng, style):
    """What the reader is told, what the csv module is told, and the texts that cells are made of."""
    delimiter, quote, allowed = rng.choice(",;|\t"), rng.choice("\"\"'"), TEXTS
    reader = {"delimiter": delimiter, "quote": quote}
    dialect = {"delimiter": delimiter, "quotechar": quote, "lineterminator": "\r\n"}
    if style == "bare":
        reader["quote"] = ""
        dialect |= {"quoting": csv.QUOTE_NONE, "quotechar": None}
        allowed = [text for text in TEXTS if not set(text) & set(delimiter + "\r\n")]
    elif style == "escaped":
        # Outside quotes the csv module escapes as well, which the reader does not.
        dialect |= {"quoting": csv.QUOTE_ALL, "escapechar": "\\", "doublequote": rng.random() < 0.5}
        reader["escape"] = "\\"
    else:
        dialect["quoting"] = rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
    if style == "latin-1":
        reader["encoding"] = style
        allowed = [text for text in TEXTS if all(ord(character) < 256 for character in text)]
    return reader, dialect, allowed


def table(rng, style):
    reader, dialect, allowed = settings(rng, style)
    width, height = rng.choice([1, 2, 3, 8, 40]), rng.choice([0, 1, 2, 30, 200])
    columns = [f"c{number}" for number in range(width)]
    rows = [[cell(rng, allowed) for _ in columns] for _ in range(height)]
    if style == "bare" and width == 1:
        # The csv module refuses to write an empty line.
        rows = [[text or "-"] for text, in rows]
    ends = rng.choice([["\n"], ["\r\n"], ["\n", "\r\n"]])
    text = ""
    for row in [columns, *rows]:
        line = io.StringIO()
        csv.writer(line, **dialect).writerow(row)
        text += line.getvalue().removesuffix("\r\n") + rng.choice(ends)
    if rng.random() < 0.3:
        text = text.removesuffix("\n").removesuffix("\r")
    found = list(csv.reader(io.StringIO(text, newline=""), **dialect, strict=True))
    mark = "\ufeff" if style != "latin-1" and rng.random() < 0.2 else ""
    reader |= {
        "null_values": [], "schema": [{"name": name, "type": "string"} for name in columns],
        "split_bytes": rng.choice([1024, 4096, 1 << 24]), "batch_size": rng.choice([1, 7, 65536]),
    }
    return mark + text, reader, columns, found[1:]


folder, seed, count, style = sys.argv[1:]
answer = []
for number in range(int(count)):
    text, reader, columns, rows = table(random.Random(f"{seed} {number} {style}"), style)
    path = f"{folder}/{number}.csv"
    with open(path, "wb") as file:
        file.write(text.encode(reader.get("encoding", "utf-8")))
    answer.append({"config": reader | {"file_path": path}, "columns": columns, "rows": rows})
print(json.dumps(answer))
