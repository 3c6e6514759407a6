#!/bin/sh
# Which layer, how many features and what strength move answers? Tries them on cases_tuning.jsonl, so that the cases
# of the control experiment have no part in the choice:
#
#   sweep.sh MODEL_DIR OUT_DIR
#
# OUT_DIR is run.sh's, finished; after another run there, remove OUT_DIR/sweep. One line per setting: answers that moved to the target, with random features of
# the same strength, with the other vehicle's. Settings come from the environment:
#   BIN LAYERS EPOCHS L1 BATCH SEED TOPS STRENGTHS SCALE PLACES (positions) CASES THREADS
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 MODEL_DIR OUT_DIR" >&2
    exit 2
fi
here=$(dirname "$0")
model=$1
out=$2
BIN=${BIN:-$(cd "$here/../.." && pwd)/build}
LAYERS=${LAYERS:-2 3 4}
EPOCHS=${EPOCHS:-20}
L1=${L1:-1}
BATCH=${BATCH:-256}
SEED=${SEED:-42}
TOPS=${TOPS:-1 3 10}
STRENGTHS=${STRENGTHS:-1 2 4 8}
SCALE=${SCALE:-0.5}
PLACES=${PLACES:-generated all}
CASES=${CASES:-$here/cases_tuning.jsonl}
THREADS=${THREADS:-0}

# Share of answers that moved in one way of control.json $1: the first "share" behind the way's name.
share() {
    awk -v way="\"$2\"" '/"name":/ { found = index($0, way) } found && /"share":/ { gsub(/[^0-9.]/, ""); print; exit }' "$1"
}

training=$out/training.jsonl
[ -e "$training" ] || training=$out/stories.jsonl
echo "layer  features  strength  positions   moved  random   other"
for layer in $LAYERS; do
    sae=$out/sweep/layer$layer-l1-$L1-epochs-$EPOCHS-batch-$BATCH-seed-$SEED
    acts=$out/sweep/layer$layer.safetensors
    train=$out/sweep/layer$layer-train.safetensors
    mkdir -p "$out/sweep"
    [ -e "$acts" ] || "$BIN/sae" capture -m "$model" --layer "$layer" --prompts "$out/stories.jsonl" -o "$acts" \
        --threads "$THREADS" > "$out/sweep/log.txt"
    [ -e "$train" ] || "$BIN/sae" capture -m "$model" --layer "$layer" --prompts "$training" -o "$train" \
        --threads "$THREADS" >> "$out/sweep/log.txt"
    [ -e "$sae/sae_weights.safetensors" ] || "$BIN/sae" train -a "$train" -o "$sae" --width 20x --epochs "$EPOCHS" \
        --l1 "$L1" --batch "$BATCH" --seed "$SEED" --threads "$THREADS" >> "$out/sweep/log.txt"
    for top in $TOPS; do
        "$BIN/sae" features -s "$sae" -a "$acts" --all --ids --top "$top" --by auroc --threads "$THREADS" \
            > "$out/sweep/features.ids"
        for place in $PLACES; do
            for strength in $STRENGTHS; do
                "$BIN/sae" control -m "$model" -s "$sae" --cases "$CASES" --features "$out/sweep/features.ids" \
                    --positions "$place" --scale "$SCALE" --strength "$strength" --seed "$SEED" \
                    --summary "$out/sweep/control.json" --threads "$THREADS" >> "$out/sweep/log.txt"
                awk -v l="$layer" -v t="$top" -v s="$strength" -v p="$place" \
                    -v a="$(share "$out/sweep/control.json" target)" -v b="$(share "$out/sweep/control.json" random)" \
                    -v c="$(share "$out/sweep/control.json" other)" \
                    'BEGIN { printf "%5s  %8s  %8s  %-9s  %s  %s  %s\n", l, t, s, p, percent(a), percent(b), percent(c) }
                     function percent(x) { return x == "" ? "     -" : sprintf("%5.1f%%", 100 * x) }'
            done
        done
    done
done
