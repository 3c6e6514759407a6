"""One measured process of one tokenizer: its first pass over a text, on one thread.

    python bench/side_tokenizer.py NAME TOKENIZER_JSON TEXT        NAME: a key of LOAD; one JSON object on stdout

All have the vocabulary of TOKENIZER_JSON (quicktok brings its own copy of it). Loading is not timed, nor is
reading the text; every peer gets the text in the cheapest form that it takes (UTF-8, else Python's characters, from
which it makes UTF-8) and returns the cheapest kind of list that it offers. `ids` is a checksum of the result: sides
that agree on it did the same work.
"""
import ctypes
import json
import os
import pathlib
import sys
import tempfile
import time
import zlib

import numpy as np

import places

os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

# Qwen2's pre-tokenizer, for the peer that is given patterns rather than tokenizer.json.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def hugging_face(path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def tiktoken(path):
    import tiktoken

    file = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    # The vocabulary spells bytes with GPT-2's letters: printable ones stand for themselves, the others follow.
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    byte = {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(rest)}}
    ranks = {bytes(byte[c] for c in token): i for token, i in file["model"]["vocab"].items()}
    special = {token["content"]: token["id"] for token in file["added_tokens"]}
    encoding = tiktoken.Encoding("qwen2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    return lambda text: encoding.encode_to_numpy(text, disallowed_special=())


def bpe_qwen(path):
    """Wants the files of a slow tokenizer. Its package imports transformers; the extension inside does not."""
    import importlib.util

    file = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    added = {str(t["id"]): {"content": t["content"], "special": t["special"]} for t in file["added_tokens"]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in file["model"]["merges"]]
    (directory,) = importlib.util.find_spec("bpe_qwen").submodule_search_locations
    (extension,) = pathlib.Path(directory).glob("bpe_qwen*.so")
    spec = importlib.util.spec_from_file_location("bpe_qwen", extension)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as out:
        out = pathlib.Path(out)
        (out / "vocab.json").write_text(json.dumps(file["model"]["vocab"]), encoding="utf-8")
        (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        (out / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}), encoding="utf-8")
        return module.QwenTokenizer(str(out)).encode


def quicktok(_):
    import quicktok

    tokenizer = quicktok.Tokenizer("qwen3", "")
    return lambda text: tokenizer.encode_batch([text], 1, False)[0]


def gigatoken(path):
    from gigatoken import Tokenizer

    return Tokenizer(path).encode


class Ids(ctypes.Structure):
    """tok_ids of tokenizer/tokenizer.h."""

    _fields_ = [("data", ctypes.POINTER(ctypes.c_int32)), ("len", ctypes.c_size_t), ("cap", ctypes.c_size_t)]


def ours(path):
    """The library, called like the peers' extensions: one call from text to ids."""
    library = ctypes.CDLL(str((places.BUILD / "libscalpel.so").resolve()))
    model, error = ctypes.c_void_p(), ctypes.create_string_buffer(1024)
    directory = os.fsencode(pathlib.Path(path).parent)
    library.tok_encode.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.POINTER(Ids), ctypes.c_char_p,
    ]
    if library.tok_open_dir(ctypes.byref(model), directory, error):
        raise SystemExit("our tokenizer does not open")

    def encode(data):
        ids = Ids()
        if library.tok_encode(model, data, len(data), 1, ctypes.byref(ids), error):
            raise SystemExit("our tokenizer fails")
        return np.ctypeslib.as_array(ids.data, (ids.len,))

    return encode


LOAD = {
    "ours": ours,
    "Hugging Face tokenizers": hugging_face,
    "tiktoken": tiktoken,
    "bpe-qwen": bpe_qwen,
    "quicktok": quicktok,
    "gigatoken": gigatoken,
}

TAKES_BYTES = {"ours", "gigatoken"}

if __name__ == "__main__":
    name, path, text_path = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one thread, whatever the library thinks
    data = pathlib.Path(text_path).read_bytes()
    text = data if name in TAKES_BYTES else data.decode()
    encode = LOAD[name](path)
    start = time.perf_counter()
    ids = encode(text)
    seconds = time.perf_counter() - start
    checksum = zlib.crc32(np.asarray(ids, np.int32).tobytes())
    print(json.dumps({"mb_s": len(data) / 1e6 / seconds, "tokens": len(ids), "ids": checksum}))
