#!/bin/sh
# What the core asks of its surroundings is what docs/PORTING.md says: prints every function that the library's
# objects call and the document does not list; exit 1 if there is one.
# Usage: tests/check_port.sh LIBRARY   LIBRARY: libscalpel.a of this processor, on a system with GNU binutils
#
# The objects are those that a linker takes for the functions named below, without os_*.o, which a port replaces.
# The lists stand in the document as ```calls-run and ```calls-open.
document=$(dirname "$0")/../docs/PORTING.md
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cp "$1" "$work/core.a" && ar d "$work/core.a" os_posix.o os_threads.o || exit 2

# check LIST ROOT…: the calls of all that the roots need are in the list
check() {
    list=$1
    shift
    roots=
    for root in "$@"; do roots="$roots -u $root"; done
    ld -r -o "$work/core.o" $roots "$work/core.a" || exit 2
    # Sanitizers and stack guards put in calls of their own.
    nm -u "$work/core.o" | awk '{ print $2 }' | grep -Ev '^(__(asan|ubsan|tsan|sanitizer|stack_chk)_|_GLOBAL_OFFSET)' |
        sort -u >"$work/calls"
    [ -s "$work/calls" ] || exit 2
    awk -v list="$list" '/^```/ { on = $0 == "```" list; next } on' "$document" | tr -s ' ' '\n' | sort -u >"$work/listed"
    comm -23 "$work/calls" "$work/listed" | sed "s/\$/ is called, but docs\/PORTING.md does not list it in $list/"
}

{
    check calls-run qwen_forward_batch qwen_sampler_next tn_tier_scalar
    check calls-open tn_st_open_mem qwen_open_mem qwen_state_init qwen_forward_batch qwen_sampler_next tn_exec_make
} >"$work/breaches" || exit 2
cat "$work/breaches"
[ ! -s "$work/breaches" ]
