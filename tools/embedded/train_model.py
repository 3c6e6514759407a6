"""Trains the embedded model with PyTorch and writes it as a Hugging Face directory in BF16.

    python tools/embedded/train_model.py --steps 3300 --threads 2 --bf16
    python tools/embedded/train_model.py --steps 3300 --threads 2 --bf16 --resume

A Qwen2 of 4 million parameters. A step sees some stories and some questions, each as one ChatML conversation; the loss
counts the answer fully and the question a little. Step n draws its examples with the seed and n alone, so that a resumed
run does what an unbroken one would. OUT.ckpt holds the state, written every few minutes; OUT is written with it, so there
is a usable model at any time. It is not the last step's weights but their exponential mean, which is smoother.
"""
import argparse
import json
import math
import os
import pathlib
import random
import shutil
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AttentionInterface, Qwen2Config, Qwen2ForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from make_sentences import ASK, ROOT, held_out
from train_tokenizer import english_words

WORK = ROOT / "build" / "embedded"
QUESTION_LOSS = 0.05  # weight of the user's words in the loss, stories' prompts included; the answer's is 1
KINDS = {"compare": 0.65, "taste": 0.14, "attribute": 0.16, "open": 0.05}  # shares of the questions
DISTILLED = 0.02      # share of SmolLM2's stories: they are few, and shall not be learnt by heart


def rows(path):
    with path.open(encoding="utf-8") as f:
        return [json.loads(line) for line in f]


class Data:
    """The training texts, and batches of them."""

    def __init__(self, work, seed):
        self.tok = Tokenizer.from_file(str(work / "tokenizer/tokenizer.json"))
        self.begin, self.end, self.pad = (self.tok.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>",
                                                                            "<|endoftext|>"))
        self.seed = seed
        self.grammar = rows(work / "stories_grammar.jsonl")
        distilled = ROOT / "tools/embedded/data/stories.jsonl"
        self.distilled = rows(distilled) if distilled.exists() else []
        questions = rows(work / "questions_train.jsonl")
        self.questions = {kind: [q for q in questions if q["kind"] == kind] for kind in KINDS}
        self.words = english_words()

    def conversation(self, prompt, text):
        """ids and the weight each has as a target."""
        ask = self.tok.encode(f"user\n{prompt}").ids
        ids = [self.begin, *ask, self.end, *self.tok.encode("\n").ids, self.begin, *self.tok.encode("assistant\n").ids]
        weights = [QUESTION_LOSS] * len(ids)
        answer = [*self.tok.encode(text).ids, self.end]
        return ids + answer, weights + [1.0] * len(answer)

    def story(self, rng):
        """A story; often with words of its opening sentence replaced by any others, because a sentence must be
        repeated as it is, whatever it says."""
        pool = self.distilled if self.distilled and rng.random() < DISTILLED else self.grammar
        row = rng.choice(pool)
        opening, text = row["sentence"], row["text"]
        if rng.random() < 0.5:
            named = set(row["label"].split())
            words = opening.split(" ")
            for i in rng.sample(range(len(words)), min(len(words), rng.choice((1, 2, 3, 5, 8)))):
                if words[i].isalpha() and len(words[i]) > 3 and words[i] not in named:
                    new = rng.choice(self.words)
                    words[i] = new.capitalize() if words[i][0].isupper() else new
            changed = " ".join(words)
            text = changed + text[len(opening):]
            opening = changed
        return self.conversation(ASK.format(opening), text)

    def question(self, rng):
        kind = rng.choices(list(KINDS), KINDS.values())[0]
        row = rng.choice(self.questions[kind])
        return self.conversation(row["prompt"], row["text"])

    def batch(self, examples):
        """ids, targets and weights [n, longest], padded at the right."""
        width = max(len(ids) for ids, _ in examples) - 1
        x = torch.full((len(examples), width), self.pad)
        y = torch.full((len(examples), width), self.pad)
        w = torch.zeros(len(examples), width)
        for i, (ids, weights) in enumerate(examples):
            n = len(ids) - 1
            x[i, :n], y[i, :n] = torch.tensor(ids[:-1]), torch.tensor(ids[1:])
            w[i, :n] = torch.tensor(weights[1:])
        return x, y, w

    def step(self, number, stories, questions):
        rng = random.Random(f"{self.seed} {number}")
        return (self.batch([self.story(rng) for _ in range(stories)]),
                self.batch([self.question(rng) for _ in range(questions)]))

    def probes(self, work):
        """Never trained on: repeating a held-out sentence, and answers to held-out questions."""
        rng = random.Random(0)
        sentences = rng.sample(held_out(), 24)
        questions = rng.sample(rows(work / "questions_heldout.jsonl"), 48)
        out = {}
        for name, pairs in (("copy", [(ASK.format(s["sentence"]), s["sentence"]) for s in sentences]),
                            ("answer", [(q["prompt"], q["text"]) for q in questions])):
            x, y, w = self.batch([self.conversation(*p) for p in pairs])
            w = w * (w == 1)
            if name == "copy":
                w = w * (y != self.end)
            out[name] = (x, y, w)
        return out


def float32_attention(module, query, key, value, *args, **kwargs):
    """Attention outside of autocast: on CPUs PyTorch's BF16 attention is several times slower backwards."""
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), *args, **kwargs)


AttentionInterface.register("float32", float32_attention)


def losses(model, batch, bf16):
    """Cross entropy of every target [n, t]."""
    x, y, _ = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(input_ids=x).logits
    return F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view(y.shape)


def config(tok, args):
    return Qwen2Config(
        vocab_size=tok.get_vocab_size(), hidden_size=args.hidden, intermediate_size=args.mlp,
        num_hidden_layers=args.layers, num_attention_heads=args.hidden // 32, num_key_value_heads=args.hidden // 64,
        max_position_embeddings=512, attn_implementation="float32", tie_word_embeddings=True, rms_norm_eps=1e-6, use_sliding_window=False,
        bos_token_id=None, eos_token_id=tok.token_to_id("<|im_end|>"), pad_token_id=tok.token_to_id("<|endoftext|>"),
        initializer_range=0.02)


def optimizers(model, lr):
    """Muon for the matrices inside the layers, AdamW for embedding, norms and biases."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    return [torch.optim.Muon(inner, lr=lr, momentum=0.95, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.97), weight_decay=0.0)]


def write_model(model, average, work, out):
    """The Hugging Face directory, in place of an older one."""
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    copy = Qwen2ForCausalLM(model.config)
    copy.load_state_dict(average)
    copy.to(torch.bfloat16).save_pretrained(new)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(work / "tokenizer" / name, new / name)
    (new / "model.safetensors").chmod(0o644)
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--steps", type=int, default=20000, help="length of the whole schedule")
    args.add_argument("--stop-at", type=int, default=0, help="leave after this step; --resume goes on")
    args.add_argument("--stories", type=int, default=20, help="stories per step (about 115 tokens each)")
    args.add_argument("--questions", type=int, default=40, help="questions per step (about 35 tokens each)")
    args.add_argument("--lr", type=float, default=3e-3)
    args.add_argument("--hidden", type=int, default=256)
    args.add_argument("--mlp", type=int, default=512)
    args.add_argument("--layers", type=int, default=6)
    args.add_argument("--seed", type=int, default=5)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--every", type=float, default=3.0, help="minutes between checkpoints")
    args.add_argument("--average", type=float, default=0.995, help="decay of the mean of the weights")
    args.add_argument("--bf16", action="store_true", help="compute in BF16 where autocast thinks it safe")
    args.add_argument("--resume", action="store_true")
    args.add_argument("--work", type=pathlib.Path, default=WORK)
    args.add_argument("-o", "--output", type=pathlib.Path, default=WORK / "model")
    args = args.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    data = Data(args.work, args.seed)
    probes = data.probes(args.work)
    model = Qwen2ForCausalLM(config(data.tok, args))
    opts = optimizers(model, args.lr)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    path = args.output.with_name(args.output.name + ".ckpt")
    first = 0
    if args.resume and path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        average, first = saved["average"], saved["step"]
        for opt, state in zip(opts, saved["opts"]):
            opt.load_state_dict(state)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, step {first} of {args.steps}, "
          f"{len(data.grammar)} grammar and {len(data.distilled)} distilled stories", flush=True)

    def save(step):
        torch.save({"model": model.state_dict(), "average": average, "step": step,
                    "opts": [o.state_dict() for o in opts]}, str(path) + ".new")
        os.replace(str(path) + ".new", path)
        write_model(model, average, args.work, args.output)

    last = min(args.steps, args.stop_at or args.steps)
    warm = min(200, args.steps // 20 + 1)
    began = saved_at = time.time()
    seen, shown = 0, {"story": 0.0, "question": 0.0, "n": 0}
    for step in range(first, last):
        rate = min(1, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        for opt in opts:
            for group in opt.param_groups:
                group["lr"] = args.lr * rate
        batches = data.step(step, args.stories, args.questions)
        total = sum(b[2].sum() for b in batches)
        model.zero_grad(set_to_none=True)
        for name, b in zip(("story", "question"), batches):
            each = losses(model, b, args.bf16)
            ((each * b[2]).sum() / total).backward()
            answer = b[2] == 1
            shown[name] += each.detach()[answer].mean().item()
            seen += int((b[2] > 0).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
        decay = min(args.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - decay)
        shown["n"] += 1
        if (step + 1) % 50 == 0 or step + 1 == last:
            with torch.no_grad():
                probe = {k: ((losses(model, b, False) * b[2]).sum() / b[2].sum()).item() for k, b in probes.items()}
            print(f"step {step + 1:6d}  story {shown['story'] / shown['n']:.3f}  question "
                  f"{shown['question'] / shown['n']:.3f}  held-out copy {probe['copy']:.3f} answer {probe['answer']:.3f}"
                  f"  {seen / (time.time() - began):.0f} tokens/s", flush=True)
            shown = {"story": 0.0, "question": 0.0, "n": 0}
        if time.time() - saved_at > 60 * args.every:
            save(step + 1)
            saved_at = time.time()
    save(last)


if __name__ == "__main__":
    main()
