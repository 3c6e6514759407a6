"""One measured process of `qwen generate --jsonl`, from its start to its end.

    python bench/side_generate.py COMMAND…      without -o, which is added; one JSON object on stdout
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "stories.jsonl"
        start = time.perf_counter()
        subprocess.run([*sys.argv[1:], "-o", str(out)], check=True)
        seconds = time.perf_counter() - start
        stories = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    tokens = sum(len(story["tokens"]) for story in stories)
    print(json.dumps({"tok_s": tokens / seconds, "stories": len(stories), "tokens": tokens, "seconds": seconds}))
