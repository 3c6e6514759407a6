"""What is measured of SAEs: training steps beside dictionary_learning, encoding beside PyTorch (works.py)."""
import places
from works import THREADS, Goal, Side, Way, Work

# At least so many times dictionary_learning's tokens per second: screened, dense.
GOALS = {"topk": (12.0, 7.0), "batchtopk": (12.0, 7.0), "matryoshka": (12.0, 7.0), "relu": (10.0, None), "jumprelu": (6.0, None),
         "gated": (6.0, None)}
BIAS = {"relu": 2.75, "gated": 2.75, "jumprelu": 2.65}  # about 100 of 17,920 latents fire on a row


def ours(steps, *options):
    argv = [places.SAE, "bench-train", "-a", places.ACTS, "--steps", steps, "--threads", THREADS, *options]
    return Way("", argv), [places.SAE, places.ACTS]


def theirs(name, what, steps):
    argv = [places.PYTHON_SAE, "bench/side_train.py", what, places.ACTS, THREADS, steps]
    return Side(name, [Way("", argv, env={"OMP_NUM_THREADS": str(THREADS)})], [places.PYTHON_SAE, places.ACTS])


def train_works(passes):
    steps = passes + 1
    for arch, (screened, dense) in GOALS.items():
        options = ["--arch", arch] + (["--start-bias", BIAS[arch]] if arch in BIAS else [])
        way, needs = ours(2 * steps, *options)
        other = theirs("dictionary_learning", arch, steps)
        yield Work(f"train-{arch}", f"training {arch}, 896 → 17,920, batches of 4,096", [Side("ours", [way], needs), other],
                   [Goal(other.name, screened)])
        if dense:
            way, needs = ours(2 * steps, *options, "--screen", "off")
            yield Work(f"train-{arch}-dense", f"training {arch} without screening", [Side("ours", [way], needs), other],
                       [Goal(other.name, dense)])
    way, needs = ours(2 * steps, "--encoder", "screen")
    other = theirs("PyTorch, dense encode", "encode", steps)
    yield Work("train-encode", "encoding and decoding with topk, 896 → 17,920", [Side("ours", [way], needs), other],
               [Goal(other.name, 2.0)])
