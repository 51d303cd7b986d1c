#!/bin/sh
# evalscope 1.14.1 (`evalscope perf`): of speculation it averages only the requests of which drafts were accepted.
#
# Expected: "Decoded Tok/Iter" is tokens over steps of all requests, and "Spec. Accept Rate" accepted over drafted tokens, as the
# engines' own counters have them; and neither where nothing speculates.
# Seen: ten answers of 31 tokens, five of them with one token in each chunk and five with three: tokens after the first over their
# chunks are 300 / 200 = 1.5, the mean over requests is 2. It says 2.73 and 63.3%. Requests with one token to a chunk are left out;
# of the others the chunk that only tells the end is counted (30 tokens by 11 chunks). Its rate is 1 - 1 / that, whatever was
# drafted. Nothing speculates here: several tokens in a chunk, as a busy server's front end writes them, are taken for it.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet 'evalscope[perf]==1.14.1'
cat > server.py <<'EOF'
import itertools, json
from http.server import BaseHTTPRequestHandler, HTTPServer

TOKENS, per_chunk = 31, itertools.cycle((1, 3))


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def event(self, **fields):
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | fields
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        several = next(per_chunk)
        for size in (1, *[several] * ((TOKENS - 1) // several)):
            delta = {"role": "assistant", "content": " a" * size}
            self.event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])
        self.event(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}])
        usage = {"prompt_tokens": 5, "completion_tokens": TOKENS, "total_tokens": TOKENS + 5}
        self.event(choices=[], usage=usage)
        self.wfile.write(b"data: [DONE]\n\n")


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
EOF
python3 server.py > port &
trap 'kill $!' EXIT
while ! [ -s port ]; do sleep 0.1; done
venv/bin/evalscope perf --url "http://127.0.0.1:$(cat port)/v1/chat/completions" --model m --api openai --dataset openqa \
    --prompt hello --parallel 1 --number 10 --stream > log 2>&1 || { cat log; exit 1; }
venv/bin/python - <<'EOF'
import json
from pathlib import Path

(summary,) = Path("outputs").rglob("benchmark_summary.json")
found = json.loads(summary.read_text())
told = found["Avg Output Tokens"], found["Avg Decoded Tok/Iter"], found["Spec. Accept Rate"]
print(f"{told[0]:g} tokens an answer, decoded tokens an iteration {told[1]:g}, accept rate {told[2]:g}")
assert told == (31, 2.7273, 0.6333), "it has changed"
EOF
