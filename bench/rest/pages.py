"""Writes the pages of an API as files: 100 records of 10 fields each, with the number of pages beside them.

Usage: pages.py FOLDER PAGES     FOLDER/N.json, from 1 on
"""

import json
import random
import sys
from pathlib import Path

RECORDS = 100
folder, pages = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
draw = random.Random(17)
words = [f"word{number}" for number in range(1000)]
for page in range(1, pages + 1):
    items = [
        {
            "id": (page - 1) * RECORDS + number,
            "customer_id": draw.randrange(1_000_000),
            "status": draw.choice(["open", "paid", "sent", "lost"]),
            "amount": draw.randrange(10_000_000) / 100,
            "ratio": draw.random(),
            "is_new": draw.random() < 0.5,
            "title": " ".join(draw.choices(words, k=4)),
            "note": None if draw.random() < 0.3 else "a note with an é and a \"quote\"",
            "updated_at": f"2025-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}T{draw.randrange(24):02}:00:00Z",
            "address": {"city": draw.choice(words), "zip": str(draw.randrange(100_000))},
        }
        for number in range(1, RECORDS + 1)
    ]
    body = json.dumps({"items": items, "page": page, "total_pages": pages}, ensure_ascii=False)
    (folder / f"{page}.json").write_text(body)
