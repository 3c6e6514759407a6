#!/bin/sh
# Installs the peers, builds our commands, measures everything but the larger models and writes bench/RESULTS.md. What
# is there already is kept, what has been measured is not measured again; options go to bench/run.py all:
#
#     bench/run.sh                  one run of everything
#     bench/run.sh --repeats 3      three runs, as bench/RESULTS.md reports them
#     bench/run.sh --quick          fewer rounds
#
# Needs python3 with venv and pip, a C and a C++ compiler, make, npm and tar; 12 GB of disk and 8 GB of memory.
set -eu
cd "$(dirname "$0")/.."
dir=${BENCH_DIR:-build/bench}
venv=${BENCH_VENV:-$dir/venv}
sae=${BENCH_VENV_SAE:-$dir/venv-sae}
avx2=${BENCH_VENV_AVX2:-$dir/venv-avx2}

# install VENV CMAKE_ARGS PIP_ARGS...: a finished environment is marked. Nothing comes from pip's cache, which does
# not know for which processor a package was built.
install() {
    if [ -e "$1/installed" ]; then return; fi
    where=$1
    export CMAKE_ARGS="$2"
    shift 2
    echo "installing into $where" >&2
    python3 -m venv "$where"
    "$where/bin/pip" install --quiet --no-cache-dir "$@"
    touch "$where/installed"
}
install "$venv" "-DGGML_NATIVE=ON '-DCMAKE_CXX_FLAGS=-include $PWD/bench/amx_tile_config.h'" -r bench/requirements.txt
install "$avx2" "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON \
-DGGML_AVX512=OFF" $(grep -E '^(llama-cpp-python|numpy)==' bench/requirements.txt)

install "$sae" "" $(grep -E '^(torch|numpy|safetensors)==' bench/requirements.txt) dictionary-learning==0.1.0

make -j"$(nproc)" all
exec "$venv/bin/python" bench/run.py all "$@"
