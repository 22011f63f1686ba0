"""Opens what the writer `encrypted-s3` wrote, with boto3, cryptography and pyarrow and nothing of ours.

encrypted.py seed BUCKET PREFIX FOLDER     the steps of the first writer of this kind, for each file of format v0
encrypted.py modular BUCKET PREFIX FOLDER  files with Parquet modular encryption; keys from KMS, by what the files say
Prints the metadata of each object as JSON. FOLDER gets plain Parquet files.
"""

import base64
import json
import os
import sys

import boto3
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.hazmat.backends import default_backend
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def seed(file, kms):
    with open(file, "rb") as f:
        iv = f.read(12)
        key_length = int.from_bytes(f.read(4), "big")
        encrypted_data_key = f.read(key_length)
        tag = f.read(16)
        ciphertext = f.read()
    data_key = kms.decrypt(CiphertextBlob=encrypted_data_key)["Plaintext"]
    cipher = Cipher(algorithms.AES(data_key), modes.GCM(iv, tag), backend=default_backend())
    decryptor = cipher.decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


class KmsClient(pe.KmsClient):
    def __init__(self, config, kms):
        pe.KmsClient.__init__(self)
        self.kms = kms

    def wrap_key(self, key, master):
        raise NotImplementedError

    def unwrap_key(self, wrapped, master):
        blob = base64.b64decode(wrapped)
        return self.kms.decrypt(CiphertextBlob=blob, KeyId=master)["Plaintext"]


def modular(file, kms):
    factory = pe.CryptoFactory(lambda config: KmsClient(config, kms))
    properties = factory.file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())
    try:
        pq.read_table(file)
        raise SystemExit(f"{file} can be read without a key")
    except OSError as error:
        assert "encrypt" in str(error).lower() or "decrypt" in str(error).lower(), error
    return pq.ParquetFile(file, decryption_properties=properties).read()


def main():
    how, bucket, prefix, folder = sys.argv[1:]
    s3, kms = boto3.client("s3"), boto3.client("kms")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [o["Key"] for page in pages for o in page.get("Contents", [])]
    found = {}
    for key in keys:
        if "/_dativo/" in key:
            continue
        head = s3.head_object(Bucket=bucket, Key=key)
        found[key] = {"metadata": head["Metadata"], "sse": head.get("ServerSideEncryption"), "size": head["ContentLength"]}
        name = os.path.join(folder, key[len(prefix):].lstrip("/"))
        os.makedirs(os.path.dirname(name), exist_ok=True)
        s3.download_file(bucket, key, name)
        if how == "seed":
            plain = seed(name, kms)
            os.remove(name)
            with open(name.removesuffix(".encrypted"), "wb") as f:
                f.write(plain)
        else:
            table = modular(name, kms)
            os.remove(name)
            pq.write_table(table, name)
    print(json.dumps(found), flush=True)
    # Threads of pyarrow that met an unreadable file may still be ending, and abort the process that ends around them.
    os._exit(0)


main()
