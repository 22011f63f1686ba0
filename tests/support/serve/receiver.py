"""Takes what a process tells of its runs: spans, read with OpenTelemetry's own messages, and posts of a webhook.

Usage: receiver.py; prints its port, then a line of JSON for each thing that came. Ends with its standard input.
`/hook?refuse=N` answers the first N posts with 503."""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

refused = {}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["content-length"]))
        limit = int(parse_qs(url.query).get("refuse", ["0"])[0])
        if refused.setdefault(self.path, 0) < limit:
            refused[self.path] += 1
            return self.answer(503)
        if url.path == "/v1/traces":
            said = {"spans": MessageToDict(ExportTraceServiceRequest.FromString(body))}
        else:
            said = {"hook": json.loads(body), "type": self.headers["content-type"]}
        print(json.dumps(said), flush=True)
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
os._exit(0)
