/* Vectors of TAMIS_LANES floats. A target's header comes next and defines the operations of its instruction set under the names that
   are the same everywhere; moves.h and functions.h build on them. Every operation that rounds is explicit, so that two orders of
   evaluation agree bit for bit; the translation unit is compiled without contraction. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float V __attribute__((vector_size(4 * TAMIS_LANES), may_alias));
typedef int32_t I __attribute__((vector_size(4 * TAMIS_LANES), may_alias));
typedef double D __attribute__((vector_size(8 * TAMIS_LANES), may_alias));
typedef int64_t L __attribute__((vector_size(8 * TAMIS_LANES), may_alias));
typedef float U __attribute__((vector_size(4 * TAMIS_LANES), aligned(4), may_alias));
#define TAMIS_INLINE static inline __attribute__((always_inline, unused))
/* keeps a vector in a register: without it, a load is repeated for every multiply-add */
#if defined(__x86_64__)
#define TAMIS_KEEP(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define TAMIS_KEEP(x) __asm__("" : "+w"(x))
#else
#define TAMIS_KEEP(x)
#endif

/* applies a scalar function to each lane: slow */
#define TAMIS_EACH(name, f) \
    TAMIS_INLINE V name(V a) { for (int i = 0; i < TAMIS_LANES; i++) a[i] = f(a[i]); return a; }

TAMIS_INLINE V ld(const float *p) { return *(const U *)p; }
TAMIS_INLINE void st(float *p, V v) { *(U *)p = v; }
/* a where the mask m is set, b elsewhere */
TAMIS_INLINE V pick(I m, V a, V b) { return (V)(((I)a & m) | ((I)b & ~m)); }
