/* Marks of bytes in plain C, eight bytes at a time, and the choice of a quicker function. */
#include "tensor/byte_marks.h"

#include "tensor/cpu.h"
#include "tensor/swar.h"

/* Marks the bytes of x, all below 0x80, that are `from` or above. */
static uint64_t at_least(uint64_t x, unsigned char from) {
    return x + (0x80u - from) * TN_EACH_BYTE;
}

static uint64_t between(uint64_t x, unsigned char first, unsigned char last) {
    return at_least(x, first) & ~at_least(x, (unsigned char)(last + 1));
}

/* Eight marks as eight bits. The product has every mark's bit, moved by its own distance, in the top byte. */
static uint64_t gather(uint64_t marks) {
    return ((marks & TN_MARKS) >> 7) * 0x0102040810204080u >> 56;
}

void tn_byte_marks_scalar(const char *text, tn_byte_marks *m) {
    *m = (tn_byte_marks){0};
    for (unsigned i = 0; i < TN_BYTE_BLOCK; i += 8) {
        const uint64_t x = tn_load8(text + i), ascii = ~x, low = x & ~TN_MARKS;
        const uint64_t newline = between(low, '\n', '\n') | between(low, '\r', '\r');
        m->letter |= gather(ascii & between(low | 0x20 * TN_EACH_BYTE, 'a', 'z')) << i;
        m->digit |= gather(ascii & between(low, '0', '9')) << i;
        m->blank |= gather(ascii & between(low, '\t', '\r') & ~newline) << i;
        m->space |= gather(ascii & between(low, ' ', ' ')) << i;
        m->newline |= gather(ascii & newline) << i;
        m->beyond |= gather(x) << i;
        m->quote |= gather(ascii & between(low, '\'', '\'')) << i;
    }
}

tn_byte_marks_fn *tn_byte_marks_at(int i) {
    const tn_cpu cpu = tn_cpu_detect();
    tn_byte_marks_fn *const all[] = {
        cpu.avx512 ? tn_byte_marks_avx512() : NULL,
        cpu.avx2 ? tn_byte_marks_avx2() : NULL,
        tn_byte_marks_scalar,
    };
    for (size_t k = 0; i >= 0 && k < sizeof all / sizeof *all; k++)
        if (all[k] && i-- == 0) return all[k];
    return NULL;
}
