"""Writes CTranslate2's directory of a Hugging Face model.

    python bench/convert_ct2.py MODEL_DIR OUT_DIR float32|int8
"""
import sys

import ctranslate2

source, target, kind = sys.argv[1:]
ctranslate2.converters.TransformersConverter(source).convert(target, quantization=kind, force=True)
