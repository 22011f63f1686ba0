"""Opens sealed files as docs/sealed-files.md says, knowing none of the runtime's code: a second implementation.

Usage: sealed.py v0 KEY FILE           by the steps of the first writers' own script
       sealed.py v1 KEY FILE           as a stream
       sealed.py v1 KEY FILE NUMBER    one chunk
       sealed.py vectors PAGE          the files that the page itself gives
Prints JSON: what the head says, and the length and the SHA-256 of the plaintext.
"""

import hashlib
import hmac
import json
import re
import sys

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def number(data):
    return int.from_bytes(data, "big")


def open_v0(key, file):
    iv, length = file[:12], number(file[12:16])
    wrapped, rest = file[16 : 16 + length], file[16 + length :]
    tag, ciphertext = rest[:16], rest[16:]
    decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag)).decryptor()
    return {"wrapped": wrapped.hex()}, decryptor.update(ciphertext) + decryptor.finalize()


class V1:
    def __init__(self, key, file):
        assert file[:8] == b"\x89DATIVO\n", "magic number"
        assert file[8] == 1, "version"
        self.size = 1 << file[9]
        end = number(file[10:12])
        fields, check, checksum = file[: end - 64], file[end - 64 : end - 32], file[end - 32 : end]
        assert hashlib.sha256(fields + check).digest() == checksum, "checksum"
        length = number(file[44:46])
        self.wrapped = file[46 : 46 + length]
        self.context = self.pairs(file[46 + length : end - 64])
        info = b"dativo sealed file v1" + hashlib.sha256(fields).digest()
        keys = HKDF(algorithm=SHA256(), length=64, salt=file[12:44], info=info).derive(key)
        assert hmac.compare_digest(keys[32:], check), "key check"
        self.aead = AESGCM(keys[:32])
        self.chunks = file[end:]
        self.last = len(self.chunks) // (self.size + 16)

    @staticmethod
    def pairs(data):
        texts, rest = [], data[1:]
        for _ in range(2 * data[0]):
            end = 2 + number(rest[:2])
            texts.append(rest[2:end].decode())
            rest = rest[end:]
        assert rest == b"", "length of the context"
        names = texts[::2]
        assert names == sorted(set(names), key=str.encode), "order of the context"
        return dict(zip(names, texts[1::2]))

    def chunk(self, which):
        start = which * (self.size + 16)
        nonce = bytes(7) + which.to_bytes(4, "big") + bytes([which == self.last])
        return self.aead.decrypt(nonce, self.chunks[start : start + self.size + 16], None)

    def open(self, which=None):
        numbers = range(self.last + 1) if which is None else [which]
        head = {"wrapped": self.wrapped.hex(), "context": self.context, "last": self.last}
        return head, b"".join(map(self.chunk, numbers))


def vectors(page):
    text = open(page, encoding="utf-8").read().split("## Test vectors")[1]
    found = re.findall(r"^([a-z0-9 ]+) =((?:\s+[0-9a-f]+$)+)", text, re.MULTILINE)
    values = {name: bytes.fromhex("".join(value.split())) for name, value in found}
    key, plaintext = values["key"], values["plaintext"]
    for head, opened in [open_v0(key, values["v0 file"]), V1(key, values["v1 file"]).open()]:
        assert opened == plaintext and head["wrapped"] == values["wrapped key"].hex()
    return {"opened": 2}


def main():
    if sys.argv[1] == "vectors":
        return vectors(sys.argv[2])
    key = bytes.fromhex(sys.argv[2])
    with open(sys.argv[3], "rb") as file:
        data = file.read()
    if sys.argv[1] == "v0":
        head, plaintext = open_v0(key, data)
    else:
        head, plaintext = V1(key, data).open(*map(int, sys.argv[4:]))
    return head | {"bytes": len(plaintext), "sha256": hashlib.sha256(plaintext).hexdigest()}


print(json.dumps(main()))
