/* Put before every file of llama.cpp by run.sh: GCC 12's _tile_loadconfig tells the compiler that it reads 8
 * bytes of the 64, which then leaves the rest unwritten, and llama.cpp with AMX dies of it in its first
 * multiplication. */
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(const char(*)[64])(config)))
#endif
