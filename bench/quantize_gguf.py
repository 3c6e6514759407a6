"""Quantises a GGUF file with llama.cpp's own choice of each tensor's type.

    python bench/quantize_gguf.py IN.gguf q8|q4 OUT.gguf
"""
import ctypes
import os
import sys

import llama_cpp as C

FILE_TYPES = {"q8": C.LLAMA_FTYPE_MOSTLY_Q8_0, "q4": C.LLAMA_FTYPE_MOSTLY_Q4_0}

if __name__ == "__main__":
    source, kind, target = sys.argv[1:]
    params = C.llama_model_quantize_default_params()
    params.nthread = os.cpu_count()
    params.ftype = FILE_TYPES[kind]
    sys.exit(C.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)))
