#!/bin/sh
# The house rules that a compiler does not check. Prints every breach as FILE:LINE: what; exit 1 if there is one.
# Usage: tests/check_layers.sh [DIRECTORY]   (default: the current one, the top of the repository)
#
# 1. Includes run one way: tensor <- tokenizer, tensor <- qwen, tensor <- sae, and convert above the first three.
#    Only qwen/text.* joins the tokenizer with the model, only sae/attach.* and sae/effect.* (which sees attach)
#    the model with the SAE, and only commands see any of them. Commands (cmd_*.c, *_main.c, commands.h) see their
#    own folder and all below it.
# 2. Our headers are included with their folder.
# 3. The library neither prints nor ends the process.
# 4. Feature macros of an operating system stand in tensor/os_*.c only.
# 5. Intrinsics stand in tensor/kernels_*.c only.
cd "${1:-.}" || exit 2
ls tensor/*.[ch] >/dev/null || exit 2
awk '
function breach(what) { print FILENAME ":" FNR ": " what; bad = 1 }

# May FILENAME include the header `to`, which lies in `folder`?
function allowed(folder, to) {
    if (is_command) return index(below_command[dir], folder) > 0
    if (to == "tensor/cli.h" || to ~ /commands\.h$/) return 0
    if (base == "sae/effect" && to == "sae/attach.h") return 1
    if (to == "qwen/text.h" || to == "sae/attach.h" || to == "sae/effect.h") return base ".h" == to
    if (base == "qwen/text" && folder == "tokenizer") return 1
    if ((base == "sae/attach" || base == "sae/effect") && folder == "qwen") return 1
    return index(below[dir], folder) > 0
}

BEGIN {
    below["tensor"] = "tensor"
    below["tokenizer"] = "tensor tokenizer"
    below["qwen"] = "tensor qwen"
    below["sae"] = "tensor sae"
    below["convert"] = "tensor tokenizer qwen convert"
    below_command["tensor"] = "tensor"
    below_command["qwen"] = "tensor tokenizer qwen"
    below_command["sae"] = "tensor tokenizer qwen sae"
    below_command["convert"] = "tensor tokenizer qwen sae convert"
}

FNR == 1 {
    split(FILENAME, part, "/")
    dir = part[1]
    base = FILENAME
    sub(/\.[ch]$/, "", base)
    is_command = part[2] ~ /^cmd_|_main\.c$|^commands\.h$/ || base == "tensor/cli"
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    to = $0
    gsub(/^[^"]*"|".*$/, "", to)
    if (split(to, part, "/") != 2) breach("include with its folder: " to)
    else if (!allowed(part[1], to)) breach("may not include " to)
}

/^[ \t]*#[ \t]*include[ \t]*<[a-z0-9]*(intrin|arm_neon|arm_sve|arm_acle)\.h>/ && FILENAME !~ /^tensor\/kernels_/ {
    breach("intrinsics belong into tensor/kernels_*.c")
}

/^[ \t]*#[ \t]*define[ \t]+_(GNU|POSIX|POSIX_C|XOPEN|DEFAULT|BSD|DARWIN_C|NETBSD|LARGEFILE64)_SOURCE/ &&
        FILENAME !~ /^tensor\/os_[a-z]*\.c$/ {
    breach("feature macros belong into tensor/os_*.c")
}

{   # calls, outside of comments and strings
    gsub(/\\"|\047"\047/, "")
    gsub(/"[^"]*"/, "")
    gsub(/\/\*[^*]*\*\//, "")
    if (/^[ \t]*\*/ || /^[ \t]*\/\*/) next
    if (!is_command && match($0, /(^|[^A-Za-z0-9_])(v?f?printf|f?puts|f?putc|putchar|perror|_?exit|_Exit|abort)[ \t]*\(/)) {
        call = substr($0, RSTART, RLENGTH)
        gsub(/[^A-Za-z_]/, "", call)
        breach("a library file may not call " call)
    }
}

END { exit bad }
' tensor/*.[ch] tokenizer/*.[ch] qwen/*.[ch] sae/*.[ch] convert/*.[ch]
