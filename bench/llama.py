"""llama.cpp through the C interface that llama-cpp-python carries: models, contexts, batches, nothing else."""
import ctypes
import os

import llama_cpp as C
import numpy as np


@C.llama_log_callback
def _only_errors(level, text, _):
    if level == 4:
        os.write(2, text)


C.llama_log_set(_only_errors, None)
C.llama_backend_init()


class Model:
    def __init__(self, path):
        self.p = C.llama_model_load_from_file(os.fsencode(path), C.llama_model_default_params())
        if not self.p:
            raise SystemExit(f"{path}: llama.cpp could not load it")
        self.vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(self.p))


class Context:
    """One context: its KV cache (F16, as by default), a batch of up to `batch` rows, their logits."""

    def __init__(self, model, ctx, threads, flash, batch=512, sequences=1, unified=False):
        params = C.llama_context_default_params()
        params.n_ctx = ctx
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else C.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.kv_unified = unified
        self.p = C.llama_init_from_model(model.p, params)
        if not self.p:
            raise SystemExit("llama.cpp could not make a context")
        self.vocab = model.vocab
        self.memory = C.llama_get_memory(self.p)
        self.rows = C.llama_batch_init(batch, 0, 1)
        self._token = np.ctypeslib.as_array(self.rows.token, (batch,))
        self._pos = np.ctypeslib.as_array(self.rows.pos, (batch,))
        self._logits = np.ctypeslib.as_array(self.rows.logits, (batch,))
        np.ctypeslib.as_array(self.rows.n_seq_id, (batch,))[:] = 1

    def clear(self):
        C.llama_memory_clear(self.memory, False)

    def decode(self, tokens, positions, sequences=None, logits="last"):
        """Feeds rows; whose logits are wanted: "last", "all", "none" or a 0 or 1 for each."""
        n = len(tokens)
        self.rows.n_tokens = n
        self._token[:n] = tokens
        self._pos[:n] = positions
        self._logits[:n] = logits == "all" if isinstance(logits, str) else logits
        if isinstance(logits, str) and logits == "last":
            self._logits[n - 1] = 1
        for i in range(n):
            self.rows.seq_id[i][0] = 0 if sequences is None else sequences[i]
        if C.llama_decode(self.p, self.rows):
            raise SystemExit("llama_decode failed")

    def logits(self, n=1):
        """[n, vocab] of the n rows wanted of the last call, waiting until they are there."""
        return np.ctypeslib.as_array(C.llama_get_logits(self.p), (n, self.vocab))

    def copy_sequence(self, source, target):
        C.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def save(self, path, tokens):
        ids = (C.llama_token * len(tokens))(*tokens)
        if not C.llama_state_seq_save_file(self.p, os.fsencode(path), 0, ids, len(tokens)):
            raise SystemExit(f"{path}: not written")

    def load(self, path, room):
        ids, count = (C.llama_token * room)(), ctypes.c_size_t()
        if not C.llama_state_seq_load_file(self.p, os.fsencode(path), 0, ids, room, ctypes.byref(count)):
            raise SystemExit(f"{path}: not read")
        return count.value
