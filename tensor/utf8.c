/* The UTF-8 coder of utf8.h. */
#include "tensor/utf8.h"

int tn_utf8_length(const char *s, size_t left) {
    const unsigned char *b = (const unsigned char *)s;
    if (left == 0) return 0;
    if (b[0] < 0x80) return 1;
    if (b[0] < 0xc2 || b[0] > 0xf4) return 0; /* a tail byte, an overlong form, or past U+10FFFF */
    int n = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    if (left < (size_t)n) return 0;
    /* The second byte's range is narrower after these four leads. */
    unsigned char low = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;
    if (b[1] < low || b[1] > high) return 0;
    for (int i = 2; i < n; i++)
        if (b[i] < 0x80 || b[i] > 0xbf) return 0;
    return n;
}

uint32_t tn_utf8_get(const char *s, int length) {
    const unsigned char *b = (const unsigned char *)s;
    if (length == 1) return b[0];
    uint32_t cp = b[0] & (0x7fu >> length);
    for (int i = 1; i < length; i++) cp = cp << 6 | (b[i] & 0x3fu);
    return cp;
}

int tn_utf8_put(char dst[4], uint32_t cp) {
    if (cp < 0x80) {
        dst[0] = (char)cp;
        return 1;
    }
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--) {
        dst[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    dst[0] = (char)(lead[n] | cp);
    return n;
}
