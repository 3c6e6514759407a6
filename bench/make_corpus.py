"""Writes 8,000,000 bytes of source and prose for the tokenizers, out of what the repository and the peers' Python
packages hold. The same versions of these give the same bytes.

    python bench/make_corpus.py OUT.txt

About half is source (Python, C), the rest prose: manuals, documentation strings, package descriptions.
"""
import pathlib
import random
import re
import subprocess
import sys
import sysconfig

SIZE = 8_000_000
PER_FILE = 40_000  # characters, so that no single file sets the tone


def sites():
    return [pathlib.Path(p) for p in sys.path if p.endswith("site-packages")]


def take(paths, budget, step=1):
    """Beginnings of every step-th file until there are `budget` bytes."""
    texts = []
    for path in list(paths)[::step]:
        text = path.read_bytes().decode("utf-8", "ignore")[:PER_FILE]
        if len(text) < 400:
            continue
        texts.append(text)
        budget -= len(text.encode())
        if budget <= 0:
            break
    return texts


def installed(package, pattern):
    for site in sites():
        yield from sorted(path for path in (site / package).rglob(pattern) if path.is_file())


def tracked(*patterns):
    names = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True, check=True).stdout
    return [pathlib.Path(name) for name in names.splitlines()]


def docstrings(paths, budget):
    """Prose of Python files: the texts between triple quotes."""
    texts = []
    for path in paths:
        source = path.read_bytes().decode("utf-8", "ignore")
        text = "\n".join(found for found in re.findall(r'"""(.+?)"""', source, re.S) if len(found) > 200)
        texts.append(text[:PER_FILE])
        budget -= len(texts[-1].encode())
        if budget <= 0:
            break
    return texts


def parts():
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    yield from take(tracked("*/*.c", "*/*.h"), 600_000)
    yield from take(installed("torch", "*.py"), 1_900_000, step=7)
    yield from take(installed("transformers", "*.py"), 1_300_000, step=19)
    yield from take(installed("torch/include", "*.h"), 1_200_000, step=11)
    yield from docstrings(sorted(library.glob("*.py")), 1_000_000)
    yield from docstrings(list(installed("transformers", "*.py"))[5::23], 1_500_000)
    yield (library / "pydoc_data/topics.py").read_text(encoding="utf-8")
    yield pathlib.Path("tests/golden/prose.txt").read_text(encoding="utf-8")
    yield from take(tracked("docs/*.md", "experiments/*.jsonl", "README.md"), 400_000)
    for site in sites():
        yield from take(sorted(site.glob("*.dist-info/METADATA")), 700_000)


if __name__ == "__main__":
    texts = list(parts())
    random.Random(1).shuffle(texts)
    data = "\n".join(texts).encode()
    if len(data) < SIZE:
        raise SystemExit(f"only {len(data)} bytes of text were found")
    pathlib.Path(sys.argv[1]).write_bytes(data[:SIZE].decode("utf-8", "ignore").encode())
