"""Makes tests/golden/embedded.jsonl: what transformers answers with the embedded model, for tests without Python.

    python tools/make_embedded_golden.py

One object a line: {"prompt", "ids" of the prompt in the chat template, "tokens" of the greedy answer without its end}.
The questions of the experiment, and the first story prompt of every category.
"""
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOP = pathlib.Path(__file__).resolve().parents[1]
MODEL = TOP / "models" / "vehicles-4m"
DATA = TOP / "experiments" / "transportation"
LONGEST = 80


def main():
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    prompts = [json.loads(line)["prompt"] for name, every in (("questions", 1), ("prompts", 10))
               for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[::every]]
    with (TOP / "tests/golden/embedded.jsonl").open("w", encoding="utf-8") as out:
        for prompt in prompts:
            ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                                return_dict=True, return_tensors="pt")["input_ids"]
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LONGEST)
            tokens = [t for t in answer[0, ids.shape[1]:].tolist() if t not in model.generation_config.eos_token_id]
            out.write(json.dumps({"prompt": prompt, "ids": ids[0].tolist(), "tokens": tokens}) + "\n")


if __name__ == "__main__":
    main()
