"""bench/results.json: what has been measured last of every work, wherever that was; bench/RESULTS.md is made of it.

    {"settings": [[[name, value], …], …],          machines with the versions on them
     "works": {"prefill-q8": {"begun": seconds since 1970, "scalpel": commit, "setting": index,
                              "runs": [{"ours": [value of each round, null where it failed], …}, …],
                              "details": [{"decode_share": [of each round], …}, …],     of ours, for its limits
                              "ways": {"llama.cpp": "flash attention on"}, "others": [share of the machine, …]},
               "perplexity": {…, "rows": […]}, …}}

A work of the rows in BENCH_DIR takes the place of what is here unless that is newer; all other works stay.
"""
import hashlib
import json

import machine
import places
from alternate import read_rows

PERPLEXITY = "perplexity"


def rounded(value):
    return float(f"{value:.5g}")


def read():
    if not places.STORE.exists():
        return {"settings": [], "works": {}}
    return json.loads(places.STORE.read_text(encoding="utf-8"))


def write(held):
    """One line for each setting and each work, so that a difference shows what was measured."""
    used = sorted({entry["setting"] for entry in held["works"].values()})
    settings = [json.dumps(held["settings"][i], ensure_ascii=False) for i in used]
    works = [f"{json.dumps(name)}: " + json.dumps({**entry, "setting": used.index(entry["setting"])}, ensure_ascii=False)
             for name, entry in sorted(held["works"].items())]
    text = '{"settings": [\n%s\n],\n"works": {\n%s\n}}\n' % (",\n".join(settings), ",\n".join(works))
    places.STORE.write_text(text, encoding="utf-8")


def newest(rows):
    """Of every work, its runs with the programs of the newest one: {work: [rows of a run, …]}."""
    begun, marks = {}, {}
    for row in sorted(rows, key=lambda row: row["begun"]):
        begun[row["work"], row["run"]] = row["begun"]
        marks[row["work"], row["side"]] = row["mark"]
    out = {}
    for row in rows:
        if row["begun"] == begun[row["work"], row["run"]] and row["mark"] == marks[row["work"], row["side"]]:
            out.setdefault(row["work"], {}).setdefault(row["run"], []).append(row)
    return {work: [runs[number] for number in sorted(runs)] for work, runs in out.items()}


def by_turn(rows, value):
    """{side: [its value in each round]}"""
    turns = range(1 + max(row["turn"] for row in rows))
    of = {(row["side"], row["turn"]): rounded(value(row)) for row in rows}
    return {side: [of.get((side, turn)) for turn in turns] for side in dict.fromkeys(row["side"] for row in rows)}


def entry_of(runs, keys):
    """What is held of a work; keys: values of our JSON object that its limits are about."""
    rows = [row for run in runs for row in run]
    last = max(rows, key=lambda row: row["begun"])
    ours = [[row for row in run if row["side"] == "ours"] for run in runs]
    return {
        "begun": int(last["begun"]),
        "scalpel": last["scalpel"],
        "runs": [by_turn(run, lambda row: row["value"]) for run in runs],
        "details": [{key: [rounded(row["detail"][key]) for row in run if key in row["detail"]] for key in keys} for run in ours],
        "ways": {row["side"]: row["way"] for row in rows if row["way"]},
        "others": [round(row["others"], 3) for row in rows if row["others"] is not None],
    }


def about_corpus(rows):
    """The tokenizers' text, and whose ids are not Hugging Face's (some leave Unicode normalisation out)."""
    data = places.CORPUS.read_bytes()
    ids = {row["side"]: (row["detail"]["tokens"], row["detail"]["ids"]) for row in rows}
    truth = ids.get("Hugging Face tokenizers")
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
            "other_ids": [side for side in ids if truth and ids[side] != truth]}


def perplexity():
    rows = read_rows(places.QUALITY)
    if not rows:
        return {}
    last = max(rows, key=lambda row: row["begun"])
    kept = [{key: row[key] for key in ("model", "kind", "side", "value")} for row in rows]
    return {PERPLEXITY: {"begun": int(last["begun"]), "scalpel": last["scalpel"], "rows": kept,
                         "predicted": rows[0]["detail"]["predicted_tokens"]}}


def update(works):
    """Takes in what lies in BENCH_DIR (works: all of them by name) and gives everything that is held."""
    held, fresh = read(), perplexity()
    for name, runs in newest(read_rows()).items():
        if name not in works:
            continue
        keys = {key for limit in works[name].limits for key in (limit.key, limit.per) if key}
        fresh[name] = entry_of(runs, sorted(keys))
        if name == "tokenizer" and places.CORPUS.exists():
            fresh[name]["text"] = about_corpus(runs[-1])
    fresh = {name: entry for name, entry in fresh.items() if entry["begun"] >= held["works"].get(name, entry)["begun"]}
    if fresh:
        here = [list(pair) for pair in [*machine.describe(), *machine.peers()]]
        if here not in held["settings"]:
            held["settings"].append(here)
        for name, entry in fresh.items():
            held["works"][name] = {**entry, "setting": held["settings"].index(here)}
        write(held)
        held = read()
    return held
