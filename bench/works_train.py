"""What is measured of SAEs: training steps beside dictionary_learning, encoding beside PyTorch, growth (works.py)."""
import places
from works import THREADS, Goal, Limit, Side, Way, Work

# At least so many times dictionary_learning's tokens per second: screened, dense.
GOALS = {"topk": (12.0, 7.0), "batchtopk": (12.0, 7.0), "matryoshka": (12.0, 7.0), "relu": (10.0, None), "jumprelu": (6.0, None),
         "gated": (6.0, None)}
BIAS = {"relu": 2.75, "gated": 2.75, "jumprelu": 2.65}  # about 100 of 17,920 latents fire on a row
WIDTHS = (4, 20, 64)  # times the activations' width
STEPS = (16, 64)  # of 1,024 rows: what a step costs must not depend on how many have been


STREAM_TIMES, STREAM_BUFFER = 100, 1 << 19  # of 1 M rows of 32 numbers; rows of the shuffle buffer, 67 MB


def ours(name, steps, *options):
    argv = [places.SAE, "bench-train", "-a", places.ACTS, "--steps", steps, "--threads", THREADS, *options]
    return Side(name, [Way("", argv)], [places.SAE, places.ACTS])


def theirs(name, what, steps):
    argv = [places.PYTHON_SAE, "bench/side_train.py", what, places.ACTS, THREADS, steps]
    return Side(name, [Way("", argv, env={"OMP_NUM_THREADS": str(THREADS)})], [places.PYTHON_SAE, places.ACTS])


def train_works(passes):
    for arch, (screened, dense) in GOALS.items():
        options = ["--arch", arch] + (["--start-bias", BIAS[arch]] if arch in BIAS else [])
        other = theirs("dictionary_learning", arch, passes)
        sides, goals = [ours("ours", 2 * passes, *options)], [Goal(other.name, screened)]
        if dense:
            sides.append(ours("ours without screening", passes, *options, "--screen", "off"))
            goals.append(Goal(other.name, dense, of="ours without screening"))
        yield Work(f"train-{arch}", f"training {arch}, 896 → 17,920, batches of 4,096", [*sides, other], goals)
    other = theirs("PyTorch, dense encode", "encode", 2 * passes)
    yield Work("train-encode", "encoding and decoding with topk, 896 → 17,920",
               [ours("ours", 2 * passes, "--encoder", "screen"), other], [Goal(other.name, 2.0)])


def scaling_works(passes):
    """A goal of less / more: cost grows no faster than linearly."""
    sides = [ours(f"{times}×", passes, "--arch", "topk", "--width", times) for times in WIDTHS]
    goals = [Goal(f"{less}×", less / more, of=f"{more}×") for less, more in zip(WIDTHS, WIDTHS[1:])]
    yield Work("scaling-width", "training topk, 896 wide, so many times as many latents", sides, goals)
    sides = [ours(f"{steps} steps", steps, "--arch", "topk", "--batch", 1024) for steps in STEPS]
    goals = [Goal(sides[0].name, 1.0, of=sides[1].name)]
    yield Work("scaling-tokens", "training topk, 896 → 17,920, batches of 1,024", sides, goals)


def experiment_works():
    """20 epochs of 19,000 rows of 896, 20 times as many latents: loss curves, features of 30 labels, two more pictures."""
    for arch, options in (("topk", ["--k", 32]), ("relu", ["--l1", 4])):
        argv = [places.PYTHON, "bench/side_experiment.py", places.SAE, places.EXPERIMENT, THREADS, "--arch", arch, *options]
        yield Work(f"experiment-{arch}", f"the experiment's SAE, {arch} {' '.join(map(str, options))}, 19,000 × 896 → 17,920, 20 epochs",
                   [Side("ours", [Way("", argv, "seconds")], [places.SAE, places.EXPERIMENT])], [], unit="",
                   limits=[Limit("seconds", "training, features and pictures", 60, least=False, unit="s")])


def stream_works():
    argv = [places.PYTHON, "bench/side_stream.py", places.SAE, places.ROWS, STREAM_TIMES, STREAM_BUFFER, THREADS]
    sides = [Side(name, [Way("", argv, key)], [places.SAE, places.ROWS]) for name, key in (("ours", "tok_s"), ("ours, 1 M rows", "few_tok_s"))]
    yield Work("stream", f"training topk, 32 → 64, {STREAM_TIMES} M rows through a buffer of {STREAM_BUFFER:,}", sides,
               [Goal("ours, 1 M rows", 1.0)],
               limits=[Limit("peak_bytes", "peak memory, of that with 1 M rows", 105, least=False, scale=100, unit="%",
                             per="few_peak_bytes"),
                       Limit("peak_bytes", "peak memory, of the buffer", 150, least=False, scale=100, unit="%",
                             per="buffer_bytes")])
