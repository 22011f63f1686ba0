"""Prints the keyed and the plain hash of each text as one JSON object. Usage: hashes.py KEY TEXT..."""

import hashlib
import hmac
import json
import sys

key, *texts = (text.encode() for text in sys.argv[1:])
print(json.dumps({
    text.decode(): {
        "hmac": hmac.new(key, text, hashlib.sha256).hexdigest(),
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    for text in texts
}))
