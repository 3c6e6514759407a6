"""The commands against HF transformers, on the real SmolLM2-135M-Instruct (float32, dequantised weights)."""
import json
import math
import pathlib

import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PROSE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "prose.txt"
TOKENS = 64
PROMPTS = [
    "What is the capital of France?",
    "Generally, which is bigger, a car or a bus?",
    "Give me a short story that begins with: The tram bell rang twice.",
    "List three uses of a bicycle.",
    "Explain photosynthesis to a child.",
    "Translate 'good morning' into Spanish, French and German.",
    "Write a haiku about rain on a train window.",
    "What is 17 + 25?",
    "Who wrote Hamlet, and when?",
    "Write a Python function that reverses a string.",
    "Why is the sky blue?",
    "Describe a motorcycle without using the word 'engine'.",
    "Name the planets of the solar system in order.",
    "What should I pack for a week by the sea?",
    "Summarise: The bus was late, so Ana walked; on the way she found a lost dog and took it home.",
    "How do I boil an egg?",
    "Write two sentences about ships.",
    "Is a tomato a fruit or a vegetable?",
    "Give me a riddle about a scooter.",
    "What does 'carpe diem' mean?",
]


@pytest.fixture(scope="module")
def oracle(smollm2):
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), AutoTokenizer.from_pretrained(smollm2)


def chat_ids(tokenizer, prompt):
    text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False,
                                         add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def test_greedy_answers_token_for_token(build, run, smollm2, oracle, tmp_path):
    model, tokenizer = oracle
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS))
    run([build / "qwen", "generate", "-m", smollm2, "--jsonl", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl",
         "-n", TOKENS])
    stories = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [s["prompt"] for s in stories] == PROMPTS
    for story in stories:
        ids = torch.tensor([chat_ids(tokenizer, story["prompt"])])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS)
        expected = out[0, ids.shape[1] :].tolist()
        stopped = expected[-1] == tokenizer.eos_token_id
        assert story["tokens"] == expected[: len(expected) - stopped], story["prompt"]
        assert story["finish"] == ("stop" if stopped else "length"), story["prompt"]
        assert story["text"] == tokenizer.decode(expected, skip_special_tokens=True,
                                                 clean_up_tokenization_spaces=False)


def test_trace_of_a_chat_prompt(build, run, smollm2, oracle, tmp_path):
    model, tokenizer = oracle
    ids = chat_ids(tokenizer, PROMPTS[1])
    run([build / "qwen", "trace", "-m", smollm2, "-p", PROMPTS[1], "-o", tmp_path / "t.safetensors"])
    got = load_file(tmp_path / "t.safetensors")
    assert got["tokens"].tolist() == ids
    layers, outputs = model.model.layers, []
    handles = [layer.register_forward_hook(
        lambda _, __, y: outputs.append((y[0] if isinstance(y, tuple) else y)[0])) for layer in layers]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    for h in handles:
        h.remove()
    assert len(got) == len(layers) + 2
    for name, want in [("logits", logits)] + [(f"blocks.{i}.hook_resid_post", x) for i, x in enumerate(outputs)]:
        error = torch.linalg.norm(torch.from_numpy(got[name]).double() - want.double())
        assert error <= 1e-5 * torch.linalg.norm(want.double()), name


def test_perplexity_of_prose(build, run, smollm2, oracle):
    model, tokenizer = oracle
    got = json.loads(run([build / "qwen", "perplexity", "-m", smollm2, PROSE, "--json"]).stdout)
    ids = tokenizer(PROSE.read_text(encoding="utf-8"), add_special_tokens=False).input_ids
    nll = []
    for at in range(0, len(ids), 512):
        window = torch.tensor(ids[at : at + 512])
        if len(window) < 2:
            continue
        with torch.no_grad():
            logits = model(window[None]).logits[0, :-1]
        nll.append(torch.nn.functional.cross_entropy(logits.double(), window[1:], reduction="none"))
    nll = torch.cat(nll)
    mean, error = nll.mean().item(), nll.std().item() / math.sqrt(len(nll))
    assert (got["tokens"], got["predicted_tokens"]) == (len(ids), len(nll))
    assert f"{got['perplexity']:.4g}" == f"{math.exp(mean):.4g}"
    assert abs(got["mean_nll"] - mean) < 1e-5
    assert abs(got["standard_error"] / (math.exp(mean) * error) - 1) < 1e-4
