"""The experiment's SAE at its size: `sae train` and `sae features` with all pictures, from start to end.

    python bench/side_experiment.py SAE ACTS THREADS OPTIONS…    OPTIONS: of sae train; one JSON object on stdout
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time


def seconds(*argv):
    start = time.perf_counter()
    subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    sae, acts, threads, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "sae"
        train = seconds(sae, "train", "-a", acts, "-o", out, "--threads", threads, *options)
        features = seconds(sae, "features", "-s", out, "-a", acts, "--all", "--heatmap", out / "features.svg", "--bars",
                           out / "active.svg", "--threads", threads)
    print(json.dumps({"seconds": train + features, "train_seconds": train, "features_seconds": features}))


if __name__ == "__main__":
    main()
