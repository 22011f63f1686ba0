"""Writes the records that the HTTP servers of the tests serve, the same ones for each, into a folder.

Usage: data.py FOLDER     data.db for datasette, db.json for json-server 0.17, db-1.json for json-server 1
"""

import json
import sqlite3
import sys
from pathlib import Path

POSTS = 201
folder = Path(sys.argv[1])


def post(number):
    # Three posts share each time: a cursor has equal values.
    return {
        "id": number,
        "user_id": number % 5 + 1,
        "title": f"title {number} é😀",
        "body": None if number % 7 == 0 else f'line "one"\nline {number}',
        "score": number / 4,
        "updated_at": f"2025-01-01T00:{number // 3 // 60:02}:{number // 3 % 60:02}Z",
    }


posts = [post(number) for number in range(1, POSTS + 1)]
users = [{"id": number, "name": f"user {number}"} for number in range(1, 8)]

database = sqlite3.connect(folder / "data.db")
# So that a test can add rows while the server reads.
database.execute("pragma journal_mode = wal")
database.execute(
    "create table posts (id integer primary key, user_id integer, title text, body text, score real, updated_at text)"
)
database.execute("create table users (id integer primary key, name text)")
database.executemany(
    "insert into posts values (:id, :user_id, :title, :body, :score, :updated_at)", posts
)
database.executemany("insert into users values (:id, :name)", users)
database.commit()
database.close()

nested = [dict(item, meta={"tags": ["a", "b"][: item["id"] % 3], "rank": item["id"]}) for item in posts]
(folder / "db.json").write_text(json.dumps({"posts": nested, "users": users}))
(folder / "db-1.json").write_text(json.dumps({"posts": nested, "users": users}))
