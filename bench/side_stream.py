"""One `sae train` over very many rows, and one over few of them with the same shuffle buffer: speed and peak memory.

    python bench/side_stream.py SAE ROWS TIMES BUFFER THREADS    ROWS: an activation file, read TIMES times over;
                                                                 one JSON object on stdout

Peak memory is that of the process, pages of mapped files included.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def train(sae, rows, times, buffer, threads):
    """Seconds and peak bytes of one pass over a directory that holds the file of rows so many times."""
    with tempfile.TemporaryDirectory() as directory:
        shards, out = pathlib.Path(directory, "shards"), pathlib.Path(directory, "sae")
        shards.mkdir()
        for i in range(times):
            (shards / f"{i:05}.safetensors").symlink_to(pathlib.Path(rows).resolve())
        argv = [sae, "train", "-a", str(shards), "-o", str(out), "--arch", "topk", "--k", "4", "--width", "2x", "--batch", "8192",
                "--epochs", "1", "--val", "0", "--buffer", buffer, "--threads", threads]
        start = time.perf_counter()
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(argv[:3])} …: status {status}")
        return time.perf_counter() - start, used.ru_maxrss * 1024


def main():
    sae, rows, times, buffer, threads = sys.argv[1:]
    with open(rows, "rb") as file:
        count, width = json.loads(file.read(int.from_bytes(file.read(8), "little")))["activations"]["shape"]
    few_seconds, few_peak = train(sae, rows, 1, buffer, threads)
    many_seconds, many_peak = train(sae, rows, int(times), buffer, threads)
    print(json.dumps({"tok_s": count * int(times) / many_seconds, "few_tok_s": count / few_seconds, "peak_bytes": many_peak,
                      "few_peak_bytes": few_peak, "buffer_bytes": 4 * width * int(buffer)}))


if __name__ == "__main__":
    main()
