#!/bin/sh
# The transportation experiment, from a model to edited answers and one page that shows it all:
#
#   run.sh MODEL_DIR OUT_DIR [LAYER]
#
# stories.jsonl       300 stories, one per prompt                     qwen generate
# heldout.jsonl       150 stories from other sentences
# practice.jsonl      answers to 450 questions of the kind that surgery will ask about
# acts.safetensors    residual stream of the stories' generated tokens    sae capture
# heldout.safetensors the same of the held-out stories
# train.safetensors   the same of stories and practice answers
# sae/                20 times as wide SAE, train.csv, loss.svg, ...  sae train
# best.txt, features.svg, active.svg            the best feature of every category    sae features
# features.txt, features.json, features.ids     the ten best
# eval.json, eval.txt       the SAE and the model through it, on held-out stories     sae eval
# answers.md, .jsonl        original, SAE only, car features, bus features            sae steer
# answers_kept.md, .jsonl   the same with the SAE's error term kept                   sae steer --keep-error
# control.json, control.txt, control.jsonl   100 cases with random and opposite features   sae control
# report.html         all of it on one page                           sae report
# timings.txt         seconds per step
#
# A step whose output is there is skipped: the same command continues where it stopped. To change a setting, use
# another OUT_DIR. Settings come from the environment:
#   BIN       where qwen and sae are           (build/ of this repository)
#   PROMPTS   prompts file                     (prompts.jsonl)
#   HELDOUT   prompts of the held-out stories  (prompts_heldout.jsonl)
#   PRACTICE  prompts of the practice answers  (practice.jsonl; empty: the SAE learns from the stories alone)
#   QUESTIONS questions to answer              (questions.jsonl)
#   CASES     cases of the control             (cases.jsonl)
#   N_NEW     most tokens per story            (80)
#   TEMP      temperature of the stories       (0.9)
#   MIN_P     ... without tokens below MIN_P times the likeliest (0.1)
#   SEED      of the stories and the training  (42)
#   WIDTH     latents                          (20x)
#   EPOCHS    passes over the activations      (20)
#   L1        sparsity coefficient             (1)
#   BATCH     rows per step                    (256)
#   TOP       features per category            (10)
#   BY        ranking of features              (auroc)
#   POSITIONS where the SAE goes in            (generated: it was trained on no others)
#   SCALE     all latents are multiplied by it (0.5)
#   STRENGTH  added to the chosen features     (5; they reach about 10 in stories)
#   KEPT_STRENGTH  the same with the error term kept, where nothing is halved and every position is edited (8)
#   N_ANSWER  most tokens per answer           (64)
#   N_PRACTICE  most tokens per practice answer (32)
#   THREADS   threads, 0 = one per core        (0)
set -eu

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: $0 MODEL_DIR OUT_DIR [LAYER]" >&2
    exit 2
fi
here=$(dirname "$0")
model=$1
out=$2
BIN=${BIN:-$(cd "$here/../.." && pwd)/build}
PROMPTS=${PROMPTS:-$here/prompts.jsonl}
HELDOUT=${HELDOUT:-$here/prompts_heldout.jsonl}
PRACTICE=${PRACTICE-$here/practice.jsonl}
QUESTIONS=${QUESTIONS:-$here/questions.jsonl}
CASES=${CASES:-$here/cases.jsonl}
N_NEW=${N_NEW:-80}
TEMP=${TEMP:-0.9}
MIN_P=${MIN_P:-0.1}
SEED=${SEED:-42}
WIDTH=${WIDTH:-20x}
EPOCHS=${EPOCHS:-20}
L1=${L1:-1}
BATCH=${BATCH:-256}
TOP=${TOP:-10}
BY=${BY:-auroc}
POSITIONS=${POSITIONS:-generated}
SCALE=${SCALE:-0.5}
STRENGTH=${STRENGTH:-5}
KEPT_STRENGTH=${KEPT_STRENGTH:-8}
N_ANSWER=${N_ANSWER:-64}
N_PRACTICE=${N_PRACTICE:-32}
THREADS=${THREADS:-0}

if [ ! -f "$model/config.json" ]; then
    echo "error: $model/config.json: No such file" >&2
    exit 1
fi
# The layer: five eighths of the way up, which is 15 in the 24 layers of Qwen2.5-0.5B.
depth=$(tr -d ' \n' < "$model/config.json" | sed -n 's/.*"num_hidden_layers":\([0-9]*\).*/\1/p')
layer=${3:-$((${depth:-0} * 5 / 8))}
case $layer in
*[!0-9]* | '') echo "error: layer $layer: not a number" >&2 && exit 1 ;;
esac
if [ "$layer" -ge "${depth:-0}" ]; then
    echo "error: layer $layer: the model has layers 0 to $((depth - 1))" >&2
    exit 1
fi
mkdir -p "$out"

say() { printf '\n%s\n' "$*"; }

# Prints a command as it could be typed.
show() {
    printf '$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./,:=@%+-]*) printf " '%s'" "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
}

# step FILE COMMAND...: runs the command, which writes FILE, unless FILE is there.
step() {
    file=$1
    shift
    if [ -e "$file" ]; then
        echo "= $file is there"
        return
    fi
    show "$@"
    start=$(date +%s)
    "$@"
    took "$file"
}

# step_into FILE COMMAND...: the same for a command that prints what FILE is to hold.
step_into() {
    file=$1
    shift
    if [ -e "$file" ]; then
        echo "= $file is there"
        return
    fi
    echo "$(show "$@") > $file"
    start=$(date +%s)
    "$@" > "$file.part"
    mv "$file.part" "$file"
    took "$file"
}

took() {
    echo "$(($(date +%s) - start)) s  ${1##*/}" >> "$out/timings.txt"
}

# The text of line $2 of a stories file, for people.
story() {
    sed -n "$2p" "$1" | sed -n 's/.*"text": *"\(.*\)", *"tokens".*/\1/p' | sed 's/\\n/ /g; s/\\"/"/g; s/^/  /'
}

say "1. The model writes stories about 30 means of transportation, and more from sentences held out for checking."
step "$out/stories.jsonl" "$BIN/qwen" generate -m "$model" --jsonl "$PROMPTS" -o "$out/stories.jsonl" \
    -n "$N_NEW" --temp "$TEMP" --min-p "$MIN_P" --seed "$SEED" --threads "$THREADS"
step "$out/heldout.jsonl" "$BIN/qwen" generate -m "$model" --jsonl "$HELDOUT" -o "$out/heldout.jsonl" \
    -n "$N_NEW" --temp "$TEMP" --min-p "$MIN_P" --seed "$SEED" --threads "$THREADS"
echo "  $(wc -l < "$out/stories.jsonl") stories; two of them:"
story "$out/stories.jsonl" 1
story "$out/stories.jsonl" 11

# The SAE is to work while the model answers questions, so it learns from answers too; its features are still those
# that are found in the stories.
training=$out/stories.jsonl
if [ -n "$PRACTICE" ]; then
    step "$out/practice.jsonl" "$BIN/qwen" generate -m "$model" --jsonl "$PRACTICE" -o "$out/practice.jsonl" \
        -n "$N_PRACTICE" --seed "$SEED" --threads "$THREADS"
    training=$out/training.jsonl
    step_into "$training" cat "$out/stories.jsonl" "$out/practice.jsonl"
fi

say "2. The residual stream behind layer $layer is captured for every token the model wrote."
step "$out/acts.safetensors" "$BIN/sae" capture -m "$model" --layer "$layer" --prompts "$out/stories.jsonl" \
    -o "$out/acts.safetensors" --threads "$THREADS"
step "$out/heldout.safetensors" "$BIN/sae" capture -m "$model" --layer "$layer" --prompts "$out/heldout.jsonl" \
    -o "$out/heldout.safetensors" --threads "$THREADS"

step "$out/train.safetensors" "$BIN/sae" capture -m "$model" --layer "$layer" --prompts "$training" \
    -o "$out/train.safetensors" --threads "$THREADS"

say "3. A sparse autoencoder, $WIDTH as wide, learns to say each of those vectors with a few latents."
step "$out/sae/sae_weights.safetensors" "$BIN/sae" train -a "$out/train.safetensors" -o "$out/sae" --width "$WIDTH" \
    --epochs "$EPOCHS" --l1 "$L1" --batch "$BATCH" --seed "$SEED" --checkpoint-every 100 --resume --threads "$THREADS"

say "4. Does the model still work with the SAE in its place? On the held-out stories:"
step_into "$out/eval.txt" "$BIN/sae" eval -m "$model" -s "$out/sae" --prompts "$out/heldout.jsonl" \
    -o "$out/eval.json" --threads "$THREADS"
cat "$out/eval.txt"

say "5. Which latents fire for one category and not for the others?"
step_into "$out/best.txt" "$BIN/sae" features -s "$out/sae" -a "$out/acts.safetensors" -m "$model" --all \
    --held-out "$out/heldout.safetensors" --by "$BY" --heatmap "$out/features.svg" --bars "$out/active.svg" \
    --threads "$THREADS"
step_into "$out/features.txt" "$BIN/sae" features -s "$out/sae" -a "$out/acts.safetensors" -m "$model" --all \
    --held-out "$out/heldout.safetensors" --top "$TOP" --by "$BY" --threads "$THREADS"
step_into "$out/features.json" "$BIN/sae" features -s "$out/sae" -a "$out/acts.safetensors" -m "$model" --all \
    --held-out "$out/heldout.safetensors" --top "$TOP" --by "$BY" --json --threads "$THREADS"
# "LABEL<tab>12,55,90" per category, for the edits below.
step_into "$out/features.ids" "$BIN/sae" features -s "$out/sae" -a "$out/acts.safetensors" --all --ids \
    --top "$TOP" --by "$BY" --threads "$THREADS"
sed -n '2p; /^car /p; /^bus /p; $p' "$out/best.txt"
car=$(sed -n 's/^car	//p' "$out/features.ids")
bus=$(sed -n 's/^bus	//p' "$out/features.ids")

say "6. Surgery: the same questions with the model as it is, through the SAE, and with car or bus features turned up."
step_into "$out/answers.md" "$BIN/sae" steer -m "$model" -s "$out/sae" --prompts "$QUESTIONS" \
    --positions "$POSITIONS" --set "car=$car" --set "bus=$bus" \
    --op "car features: all *= $SCALE; car += $STRENGTH" \
    --op "bus features: all *= $SCALE; bus += $STRENGTH" \
    -n "$N_ANSWER" -o "$out/answers.jsonl" --threads "$THREADS"
# The same features added to the residual stream itself: what the SAE does not explain stays, nothing is halved.
step_into "$out/answers_kept.md" "$BIN/sae" steer -m "$model" -s "$out/sae" --prompts "$QUESTIONS" \
    --keep-error --positions all --set "car=$car" --set "bus=$bus" \
    --op "car features: car += $KEPT_STRENGTH" \
    --op "bus features: bus += $KEPT_STRENGTH" \
    -n "$N_ANSWER" -o "$out/answers_kept.jsonl" --threads "$THREADS"
awk '/^## / { n++ } n == 1' "$out/answers.md"

say "7. Is it the features? Other questions, against random features and the other vehicle's."
step_into "$out/control.txt" "$BIN/sae" control -m "$model" -s "$out/sae" --cases "$CASES" \
    --features "$out/features.ids" --positions "$POSITIONS" --scale "$SCALE" --strength "$STRENGTH" \
    --seed "$SEED" --summary "$out/control.json" -o "$out/control.jsonl" --threads "$THREADS"
cat "$out/control.txt"

say "8. Everything on one page."
step "$out/report.html" "$BIN/sae" report -m "$model" -s "$out/sae" -a "$out/acts.safetensors" \
    --held-out "$out/heldout.safetensors" --answers "The SAE in place of layer $layer=$out/answers.jsonl" \
    --answers "The same features added, the SAE's error kept=$out/answers_kept.jsonl" \
    --eval "$out/eval.json" --control "$out/control.json" -o "$out/report.html" --threads "$THREADS"

say "Open $out/report.html in a browser. Seconds per step:"
cat "$out/timings.txt"
