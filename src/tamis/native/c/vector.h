/* Vectors of TAMIS_LANES floats, the same names whatever the processor has. Every operation that rounds is spelled out, so that
   two ways of computing the same thing agree to the bit; the translation unit is compiled without contraction. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#ifndef TAMIS_LANES
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TAMIS_LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define TAMIS_LANES 8
#else
#define TAMIS_LANES 4
#endif
#endif

typedef float V __attribute__((vector_size(4 * TAMIS_LANES), may_alias));
typedef int32_t I __attribute__((vector_size(4 * TAMIS_LANES), may_alias));
typedef float U __attribute__((vector_size(4 * TAMIS_LANES), aligned(4), may_alias));
#define TAMIS_INLINE static inline __attribute__((always_inline, unused))
#if defined(__x86_64__)
#define TAMIS_KEEP(x) __asm__("" : "+v"(x)) /* stay in a register: loads are not to be repeated for every multiply-add */
#else
#define TAMIS_KEEP(x)
#endif

/* lane by lane, by the C library: right to an ulp, and slow */
#define TAMIS_EACH(name, f) \
    TAMIS_INLINE V name(V a) { for (int i = 0; i < TAMIS_LANES; i++) a[i] = f(a[i]); return a; }

TAMIS_INLINE V ld(const float *p) { return *(const U *)p; }
TAMIS_INLINE void st(float *p, V v) { *(U *)p = v; }

#if TAMIS_LANES == 16
#define TAMIS_MASK(n) ((__mmask16)((1u << (n)) - 1u))
TAMIS_INLINE V all(float x) { return (V)_mm512_set1_ps(x); }
TAMIS_INLINE V fma_(V a, V b, V c) { return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
TAMIS_INLINE V max_(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
TAMIS_INLINE V min_(V a, V b) { return (V)_mm512_min_ps((__m512)a, (__m512)b); }
TAMIS_INLINE V sqrt_(V a) { return (V)_mm512_sqrt_ps((__m512)a); }
TAMIS_INLINE V round_(V a) { return (V)_mm512_roundscale_ps((__m512)a, 8); }
TAMIS_INLINE V floor_(V a) { return (V)_mm512_roundscale_ps((__m512)a, 9); }
TAMIS_INLINE V ceil_(V a) { return (V)_mm512_roundscale_ps((__m512)a, 10); }
TAMIS_INLINE V trunc_(V a) { return (V)_mm512_roundscale_ps((__m512)a, 11); }
TAMIS_INLINE V ld_n(const float *p, int n) { return (V)_mm512_maskz_loadu_ps(TAMIS_MASK(n), p); }
TAMIS_INLINE void st_n(float *p, V v, int n) { _mm512_mask_storeu_ps(p, TAMIS_MASK(n), (__m512)v); }
#elif TAMIS_LANES == 8
TAMIS_INLINE V all(float x) { return (V)_mm256_set1_ps(x); }
TAMIS_INLINE V fma_(V a, V b, V c) { return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
TAMIS_INLINE V max_(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
TAMIS_INLINE V min_(V a, V b) { return (V)_mm256_min_ps((__m256)a, (__m256)b); }
TAMIS_INLINE V sqrt_(V a) { return (V)_mm256_sqrt_ps((__m256)a); }
TAMIS_INLINE V round_(V a) { return (V)_mm256_round_ps((__m256)a, 8); }
TAMIS_INLINE V floor_(V a) { return (V)_mm256_round_ps((__m256)a, 9); }
TAMIS_INLINE V ceil_(V a) { return (V)_mm256_round_ps((__m256)a, 10); }
TAMIS_INLINE V trunc_(V a) { return (V)_mm256_round_ps((__m256)a, 11); }
TAMIS_INLINE __m256i tamis_first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TAMIS_INLINE V ld_n(const float *p, int n) { return (V)_mm256_maskload_ps(p, tamis_first(n)); }
TAMIS_INLINE void st_n(float *p, V v, int n) { _mm256_maskstore_ps(p, tamis_first(n), (__m256)v); }
#else
TAMIS_INLINE V all(float x) { return x - (V){0}; }
TAMIS_INLINE V fma_(V a, V b, V c) { return a * b + c; }
TAMIS_INLINE V pick_(I m, V a, V b) { return (V)(((I)a & m) | ((I)b & ~m)); }
TAMIS_INLINE V max_(V a, V b) { return pick_(a > b, a, b); }
TAMIS_INLINE V min_(V a, V b) { return pick_(a < b, a, b); }
TAMIS_EACH(sqrt_, sqrtf)
TAMIS_EACH(round_, rintf)
TAMIS_EACH(floor_, floorf)
TAMIS_EACH(ceil_, ceilf)
TAMIS_EACH(trunc_, truncf)
TAMIS_INLINE V ld_n(const float *p, int n) { V v = {0}; for (int i = 0; i < n; i++) v[i] = p[i]; return v; }
TAMIS_INLINE void st_n(float *p, V v, int n) { for (int i = 0; i < n; i++) p[i] = v[i]; }
#endif

/* bfloat16 and whole numbers of a byte, as floats */
TAMIS_INLINE V ld_short(const uint16_t *p) {
#if TAMIS_LANES == 16
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
#else
    I v;
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = (int32_t)((uint32_t)p[i] << 16);
    return (V)v;
#endif
}
TAMIS_INLINE V ld_byte(const int8_t *p) {
#if TAMIS_LANES == 16
    return (V)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#else
    V v;
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = (float)p[i];
    return v;
#endif
}
/* the first half of a vector, which takes half of the time */
#if TAMIS_LANES == 16
typedef float H __attribute__((vector_size(32), may_alias));
TAMIS_INLINE H half(V v) { return (H)_mm512_castps512_ps256((__m512)v); }
TAMIS_INLINE H all_half(float x) { return (H)_mm256_set1_ps(x); }
TAMIS_INLINE V whole(H v) { return (V)_mm512_castps256_ps512((__m256)v); }
TAMIS_INLINE H fma_half(H a, H b, H c) { return (H)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
#endif

/* rows of a half or a quarter of a vector, `pitch` floats apart */
#if TAMIS_LANES == 16
TAMIS_INLINE V ld_rows8(const float *p, ptrdiff_t pitch) {
    __m512d v = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(p)));
    return (V)_mm512_castpd_ps(_mm512_insertf64x4(v, _mm256_castps_pd(_mm256_loadu_ps(p + pitch)), 1));
}
TAMIS_INLINE void st_rows8(float *p, V v, ptrdiff_t pitch) {
    _mm256_storeu_ps(p, _mm512_castps512_ps256((__m512)v));
    _mm256_storeu_ps(p + pitch, _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)v), 1)));
}
TAMIS_INLINE V ld_rows4(const float *p, ptrdiff_t pitch) {
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + pitch), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 2 * pitch), 2);
    return (V)_mm512_insertf32x4(v, _mm_loadu_ps(p + 3 * pitch), 3);
}
TAMIS_INLINE void st_rows4(float *p, V v, ptrdiff_t pitch) {
    _mm_storeu_ps(p, _mm512_castps512_ps128((__m512)v));
    _mm_storeu_ps(p + pitch, _mm512_extractf32x4_ps((__m512)v, 1));
    _mm_storeu_ps(p + 2 * pitch, _mm512_extractf32x4_ps((__m512)v, 2));
    _mm_storeu_ps(p + 3 * pitch, _mm512_extractf32x4_ps((__m512)v, 3));
}
#elif TAMIS_LANES == 8
TAMIS_INLINE V ld_rows4(const float *p, ptrdiff_t pitch) {
    return (V)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + pitch), 1);
}
TAMIS_INLINE void st_rows4(float *p, V v, ptrdiff_t pitch) {
    _mm_storeu_ps(p, _mm256_castps256_ps128((__m256)v));
    _mm_storeu_ps(p + pitch, _mm256_extractf128_ps((__m256)v, 1));
}
#endif
/* the first `n` lanes, and `fill` in the others */
TAMIS_INLINE V first_(V v, float fill, int n) {
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = i < n ? v[i] : fill;
    return v;
}
/* the least and the largest of all lanes */
TAMIS_INLINE float least(V v) {
#if TAMIS_LANES == 16
    return _mm512_reduce_min_ps((__m512)v);
#else
    float found = v[0];
    for (int i = 1; i < TAMIS_LANES; i++) found = v[i] < found ? v[i] : found;
    return found;
#endif
}
TAMIS_INLINE float largest(V v) {
#if TAMIS_LANES == 16
    return _mm512_reduce_max_ps((__m512)v);
#else
    float found = v[0];
    for (int i = 1; i < TAMIS_LANES; i++) found = v[i] > found ? v[i] : found;
    return found;
#endif
}
/* every `step`-th of `n` floats */
TAMIS_INLINE V gather(const float *p, ptrdiff_t step, int n) {
    V v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i * step];
    return v;
}
TAMIS_INLINE void scatter(float *p, V v, ptrdiff_t step, int n) { for (int i = 0; i < n; i++) p[i * step] = v[i]; }
#if TAMIS_LANES == 16
#define TAMIS_EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#elif TAMIS_LANES == 8
#define TAMIS_EVENS 0, 2, 4, 6, 8, 10, 12, 14
#else
#define TAMIS_EVENS 0, 2, 4, 6
#endif
/* an index that an event holds: negative ones count from the end, none leads outside */
TAMIS_INLINE long tamis_place(float x, long size) {
    long place = x > -1e9f && x < 1e9f ? (long)x : 0;
    place += place < 0 ? size : 0;
    return place < 0 ? 0 : place < size ? place : size - 1;
}
/* every second float; one more is read than is used */
TAMIS_INLINE V evens(const float *p) { return __builtin_shufflevector(ld(p), ld(p + TAMIS_LANES), TAMIS_EVENS); }
/* every second of 2 n - 1 floats, and none beyond them */
TAMIS_INLINE V evens_n(const float *p, int n) {
    const int all = 2 * n - 1, more = all - TAMIS_LANES;
    const V low = more < 0 ? ld_n(p, all) : ld(p), high = more > 0 ? ld_n(p + TAMIS_LANES, more) : (V){0};
    return __builtin_shufflevector(low, high, TAMIS_EVENS);
}

/* number i of `n` goes to hand i mod 2 or 4, in order; what is beyond them is zero */
#define TAMIS_PART(p, k, n) ((n) >= ((k) + 1) * TAMIS_LANES ? ld((p) + (k) * TAMIS_LANES) : (n) > (k) * TAMIS_LANES ? ld_n((p) + (k) * TAMIS_LANES, (n) - (k) * TAMIS_LANES) : (V){0})
#if TAMIS_LANES == 16
#define TAMIS_ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define TAMIS_THIRDS 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0
#define TAMIS_MORE_THIRDS 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29
#define TAMIS_FIRST_TWO 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29
#define TAMIS_OTHER_TWO 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31
#define TAMIS_LOWER 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define TAMIS_UPPER 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define TAMIS_FOURS 0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27
#define TAMIS_MORE_FOURS 4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31
#define TAMIS_PAIRS 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TAMIS_MORE_PAIRS 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif TAMIS_LANES == 8
#define TAMIS_ODDS 1, 3, 5, 7, 9, 11, 13, 15
#define TAMIS_THIRDS 0, 3, 6, 9, 12, 15, 0, 0
#define TAMIS_MORE_THIRDS 0, 1, 2, 3, 4, 5, 10, 13
#define TAMIS_FIRST_TWO 0, 4, 8, 12, 1, 5, 9, 13
#define TAMIS_OTHER_TWO 2, 6, 10, 14, 3, 7, 11, 15
#define TAMIS_LOWER 0, 1, 2, 3, 8, 9, 10, 11
#define TAMIS_UPPER 4, 5, 6, 7, 12, 13, 14, 15
#define TAMIS_FOURS 0, 4, 8, 12, 1, 5, 9, 13
#define TAMIS_MORE_FOURS 2, 6, 10, 14, 3, 7, 11, 15
#define TAMIS_PAIRS 0, 8, 1, 9, 2, 10, 3, 11
#define TAMIS_MORE_PAIRS 4, 12, 5, 13, 6, 14, 7, 15
#else
#define TAMIS_ODDS 1, 3, 5, 7
#define TAMIS_THIRDS 0, 3, 6, 0
#define TAMIS_MORE_THIRDS 0, 1, 2, 5
#define TAMIS_FIRST_TWO 0, 4, 1, 5
#define TAMIS_OTHER_TWO 2, 6, 3, 7
#define TAMIS_LOWER 0, 1, 4, 5
#define TAMIS_UPPER 2, 3, 6, 7
#define TAMIS_FOURS 0, 2, 4, 6
#define TAMIS_MORE_FOURS 1, 3, 5, 7
#define TAMIS_PAIRS 0, 4, 1, 5
#define TAMIS_MORE_PAIRS 2, 6, 3, 7
#endif
/* every third and every fourth of `n` floats, and none beyond them */
TAMIS_INLINE V every3(const float *p, int n) {
    const V low = __builtin_shufflevector(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), TAMIS_THIRDS);
    return __builtin_shufflevector(low, TAMIS_PART(p, 2, n), TAMIS_MORE_THIRDS);
}
TAMIS_INLINE V every4(const float *p, int n) {
    const V low = __builtin_shufflevector(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), TAMIS_FIRST_TWO);
    const V high = __builtin_shufflevector(TAMIS_PART(p, 2, n), TAMIS_PART(p, 3, n), TAMIS_FIRST_TWO);
    return __builtin_shufflevector(low, high, TAMIS_LOWER);
}
/* vector k of rows of `width` floats, a power of two, `pitch` floats apart */
TAMIS_INLINE V tamis_piece(const float *p, int width, ptrdiff_t pitch, int k) {
    const int at = k * TAMIS_LANES;
#if TAMIS_LANES == 16
    if (width == 8) return ld_rows8(p + at / 8 * pitch, pitch);
#endif
#if TAMIS_LANES >= 8
    if (width == 4) return ld_rows4(p + at / 4 * pitch, pitch);
#endif
    return ld(p + at / width * pitch + at % width);
}
TAMIS_INLINE void tamis_put_piece(float *p, int width, ptrdiff_t pitch, int k, V v) {
    const int at = k * TAMIS_LANES;
#if TAMIS_LANES == 16
    if (width == 8) { st_rows8(p + at / 8 * pitch, v, pitch); return; }
#endif
#if TAMIS_LANES >= 8
    if (width == 4) { st_rows4(p + at / 4 * pitch, v, pitch); return; }
#endif
    st(p + at / width * pitch + at % width, v);
}
TAMIS_INLINE void tamis_deal2(V a, V b, V *out) {
    out[0] = __builtin_shufflevector(a, b, TAMIS_EVENS);
    out[1] = __builtin_shufflevector(a, b, TAMIS_ODDS);
}
TAMIS_INLINE void tamis_deal4(V a, V b, V c, V d, V *out) {
    const V e = __builtin_shufflevector(a, b, TAMIS_FIRST_TWO), f = __builtin_shufflevector(c, d, TAMIS_FIRST_TWO);
    const V g = __builtin_shufflevector(a, b, TAMIS_OTHER_TWO), h = __builtin_shufflevector(c, d, TAMIS_OTHER_TWO);
    out[0] = __builtin_shufflevector(e, f, TAMIS_LOWER);
    out[1] = __builtin_shufflevector(e, f, TAMIS_UPPER);
    out[2] = __builtin_shufflevector(g, h, TAMIS_LOWER);
    out[3] = __builtin_shufflevector(g, h, TAMIS_UPPER);
}
TAMIS_INLINE void deal2(const float *p, int n, V *out) { tamis_deal2(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), out); }
TAMIS_INLINE void deal4(const float *p, int n, V *out) {
    tamis_deal4(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), TAMIS_PART(p, 2, n), TAMIS_PART(p, 3, n), out);
}
/* the same from rows that make a vector of each hand together */
TAMIS_INLINE void deal2_rows(const float *p, int width, ptrdiff_t pitch, V *out) {
    tamis_deal2(tamis_piece(p, width, pitch, 0), tamis_piece(p, width, pitch, 1), out);
}
TAMIS_INLINE void deal4_rows(const float *p, int width, ptrdiff_t pitch, V *out) {
    tamis_deal4(tamis_piece(p, width, pitch, 0), tamis_piece(p, width, pitch, 1), tamis_piece(p, width, pitch, 2), tamis_piece(p, width, pitch, 3), out);
}
/* back again: the first number of each hand, the second of each, and so on */
TAMIS_INLINE void tamis_collect2(V *v) {
    const V a = v[0], b = v[1];
    v[0] = __builtin_shufflevector(a, b, TAMIS_PAIRS);
    v[1] = __builtin_shufflevector(a, b, TAMIS_MORE_PAIRS);
}
TAMIS_INLINE void tamis_collect4(V *v) {
    const V a = v[0], b = v[1], c = v[2], d = v[3];
    const V e = __builtin_shufflevector(a, b, TAMIS_LOWER), f = __builtin_shufflevector(c, d, TAMIS_LOWER);
    const V g = __builtin_shufflevector(a, b, TAMIS_UPPER), h = __builtin_shufflevector(c, d, TAMIS_UPPER);
    v[0] = __builtin_shufflevector(e, f, TAMIS_FOURS);
    v[1] = __builtin_shufflevector(e, f, TAMIS_MORE_FOURS);
    v[2] = __builtin_shufflevector(g, h, TAMIS_FOURS);
    v[3] = __builtin_shufflevector(g, h, TAMIS_MORE_FOURS);
}
#define TAMIS_COLLECT(hands) \
    TAMIS_INLINE void collect##hands(float *p, int n, V *v) { /* `n` of them in all */ \
        tamis_collect##hands(v); \
        for (int k = 0; k < hands; k++) \
            if (n >= (k + 1) * TAMIS_LANES) st(p + k * TAMIS_LANES, v[k]); \
            else if (n > k * TAMIS_LANES) st_n(p + k * TAMIS_LANES, v[k], n - k * TAMIS_LANES); \
    } \
    TAMIS_INLINE void collect##hands##_rows(float *p, int width, ptrdiff_t pitch, V *v) { \
        tamis_collect##hands(v); \
        for (int k = 0; k < hands; k++) tamis_put_piece(p, width, pitch, k, v[k]); \
    }
TAMIS_COLLECT(2)
TAMIS_COLLECT(4)

TAMIS_INLINE V pick(I m, V a, V b) { return (V)(((I)a & m) | ((I)b & ~m)); }
TAMIS_INLINE V truth(I m) { return (V)((I)all(1.0f) & m); }
TAMIS_INLINE V f_abs(V a) { return (V)((I)a & 0x7fffffff); }
TAMIS_INLINE V f_neg(V a) { return -a; }
TAMIS_INLINE V f_add(V a, V b) { return a + b; }
TAMIS_INLINE V f_sub(V a, V b) { return a - b; }
TAMIS_INLINE V f_mul(V a, V b) { return a * b; }
TAMIS_INLINE V f_div(V a, V b) { return a / b; }
TAMIS_INLINE V f_fma(V a, V b, V c) { return fma_(a, b, c); }
TAMIS_INLINE V f_fms(V a, V b, V c) { return fma_(a, b, -c); }
TAMIS_INLINE V f_fnma(V a, V b, V c) { return fma_(-a, b, c); }
TAMIS_INLINE V f_max(V a, V b) { return max_(a, b); }
TAMIS_INLINE V f_min(V a, V b) { return min_(a, b); }
TAMIS_INLINE V f_sqrt(V a) { return sqrt_(a); }
TAMIS_INLINE V f_floor(V a) { return floor_(a); }
TAMIS_INLINE V f_ceil(V a) { return ceil_(a); }
TAMIS_INLINE V f_round(V a) { return round_(a); }
TAMIS_INLINE V f_trunc(V a) { return trunc_(a); }
TAMIS_INLINE V f_relu(V a) { return max_((V){0}, a); } /* in this order what is no number stays that */
TAMIS_INLINE V f_reciprocal(V a) { return all(1.0f) / a; }
TAMIS_INLINE V f_greater(V a, V b) { return truth(a > b); }
TAMIS_INLINE V f_less(V a, V b) { return truth(a < b); }
TAMIS_INLINE V f_equal(V a, V b) { return truth(a == b); }
TAMIS_INLINE V f_greater_equal(V a, V b) { return truth(a >= b); }
TAMIS_INLINE V f_less_equal(V a, V b) { return truth(a <= b); }
TAMIS_INLINE V f_not(V a) { return truth(a == (V){0}); }
TAMIS_INLINE V f_isnan(V a) { return truth(a != a); }
TAMIS_INLINE V f_sign(V a) { return pick(a != a, a, truth(a > (V){0}) - truth(a < (V){0})); }
TAMIS_INLINE V f_where(V m, V a, V b) { return pick(m != (V){0}, a, b); }

/* one over a: to the last bit or one beside it, where a division would take three times as long */
TAMIS_INLINE V inverse(V a) {
#if TAMIS_LANES == 16
    V r = (V)_mm512_rcp14_ps((__m512)a);
    V e = fma_(-a, r, all(1.0f));
    return fma_(r, fma_(e, e, e), r);
#else
    return all(1.0f) / a;
#endif
}
/* x = n log 2 + r: returns exp(r) - 1 */
TAMIS_INLINE V tamis_exponent(V x, V *n) {
    *n = round_(x * all(1.44269504088896341f));
    V r = fma_(*n, all(-0.693145751953125f), x);
    r = fma_(*n, all(-1.428606820309417e-6f), r);
    V s = r * r; /* in pairs: shorter chains than one after the other */
    V high = fma_(all(1.9875691500e-4f), r, all(1.3981999507e-3f));
    V middle = fma_(all(8.3334519073e-3f), r, all(4.1665795894e-2f));
    V low = fma_(all(1.6666665459e-1f), r, all(5.0000001201e-1f));
    return fma_(fma_(fma_(high, s, middle), s, low), s, r);
}
TAMIS_INLINE V f_exp(V x) {
    V n, p = tamis_exponent(min_(all(89.0f), max_(all(-104.0f), x)), &n) + all(1.0f); /* NaN stays: the second one is taken */
#if TAMIS_LANES == 16
    return (V)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    I whole = __builtin_convertvector(n, I), half = whole >> 1;
    return p * (V)((half + 127) << 23) * (V)((whole - half + 127) << 23);
#endif
}
TAMIS_INLINE V f_sigmoid(V x) { return inverse(all(1.0f) + f_exp(min_(all(88.0f), -x))); }
/* tanh(x) = (exp(2x) - 1) / (exp(2x) + 1), and nothing cancels: returns the first of both */
TAMIS_INLINE V tamis_tanh(V x, V *under) {
    V n, q = tamis_exponent(min_(all(18.1f), max_(all(-18.1f), x + x)), &n);
#if TAMIS_LANES == 16
    V e = (V)_mm512_scalef_ps(_mm512_set1_ps(1.0f), (__m512)n);
#else
    V e = (V)((__builtin_convertvector(n, I) + 127) << 23);
#endif
    V t = fma_(e, q, e - all(1.0f));
    *under = t + all(2.0f);
    return t;
}
TAMIS_INLINE V f_tanh(V x) {
    V under, over = tamis_tanh(x, &under);
    return over * inverse(under);
}
/* sigmoid(a) tanh(b); what a gate of exp(-50) would let through is nothing to a float that is added to it */
TAMIS_INLINE V f_gate(V a, V b) {
    V under, over = tamis_tanh(b, &under);
    return over * inverse(under * (all(1.0f) + f_exp(min_(all(50.0f), -a))));
}
TAMIS_INLINE V f_erf(V x) {
    V t = f_abs(x), s = x * x;
    V r = fma_(all(-1.72853470e-5f), t, all(3.83197126e-4f));
    V u = fma_(all(-3.88396438e-3f), t, all(2.42546219e-2f));
    r = fma_(r, s, u);
    r = fma_(r, t, all(-1.06777877e-1f));
    r = fma_(r, t, all(-6.34846687e-1f));
    r = fma_(r, t, all(-1.28717512e-1f));
    r = fma_(r, t, -t);
    r = all(1.0f) - f_exp(r);
    r = (V)((I)r | ((I)x & (int32_t)0x80000000));
    V p = all(-5.96761703e-4f);
    p = fma_(p, s, all(4.99119423e-3f));
    p = fma_(p, s, all(-2.67681349e-2f));
    p = fma_(p, s, all(1.12819925e-1f));
    p = fma_(p, s, all(-3.76125336e-1f));
    p = fma_(p, s, all(1.28379166e-1f));
    p = fma_(p, x, x);
    return pick(t > all(0.927734375f), r, p);
}
TAMIS_INLINE V f_log(V x) {
    I small = x < all(1.17549435e-38f);
    V y = pick(small, x * all(33554432.0f), x);
    I bits = (I)y;
    V e = __builtin_convertvector(((bits >> 23) & 255) - 126, V) - (V)((I)all(25.0f) & small);
    V m = (V)((bits & 0x007fffff) | 0x3f000000);
    I low = m < all(0.707106781186547524f);
    e = e - truth(low);
    m = m + (V)((I)m & low) - all(1.0f);
    V z = m * m, p = all(7.0376836292e-2f);
    p = fma_(p, m, all(-1.1514610310e-1f));
    p = fma_(p, m, all(1.1676998740e-1f));
    p = fma_(p, m, all(-1.2420140846e-1f));
    p = fma_(p, m, all(1.4249322787e-1f));
    p = fma_(p, m, all(-1.6668057665e-1f));
    p = fma_(p, m, all(2.0000714765e-1f));
    p = fma_(p, m, all(-2.4999993993e-1f));
    p = fma_(p, m, all(3.3333331174e-1f));
    p = p * m * z;
    p = fma_(e, all(-2.12194440e-4f), p);
    p = fma_(z, all(-0.5f), p);
    p = fma_(e, all(0.693359375f), m + p);
    p = pick(x == all(INFINITY), x, p);
    p = pick(x == (V){0}, all(-INFINITY), p);
    return pick((x < (V){0}) | (x != x), all(NAN), p);
}
TAMIS_INLINE V f_softplus(V x) {
    V u = f_exp(-f_abs(x)), w = all(1.0f) + u;
    return max_(x, (V){0}) + (f_log(w) - ((w - all(1.0f)) - u) / w);
}
/* exp(x) - 1 = 2^n (e^r - 1) + (2^n - 1), up to 88 */
TAMIS_INLINE V f_expm1(V x) {
    V n = round_(min_(x, all(88.0f)) * all(1.44269504088896341f));
    n = max_(n, all(-126.0f));
    V r = fma_(n, all(-0.693145751953125f), max_(all(-87.0f), x));
    r = fma_(n, all(-1.428606820309417e-6f), r);
    V p = all(1.9875691500e-4f);
    p = fma_(p, r, all(1.3981999507e-3f));
    p = fma_(p, r, all(8.3334519073e-3f));
    p = fma_(p, r, all(4.1665795894e-2f));
    p = fma_(p, r, all(1.6666665459e-1f));
    p = fma_(p, r, all(5.0000001201e-1f));
    p = fma_(p, r * r, r);
    V scale = (V)((__builtin_convertvector(n, I) + 127) << 23);
    p = fma_(scale, p, scale - all(1.0f));
    return pick(x > all(88.7228394f), all(INFINITY), pick(x != x, x, p));
}
TAMIS_EACH(f_tan, tanf)
TAMIS_EACH(f_asin, asinf)
TAMIS_EACH(f_acos, acosf)
TAMIS_EACH(f_atan, atanf)
TAMIS_EACH(f_sinh, sinhf)
TAMIS_EACH(f_cosh, coshf)
TAMIS_EACH(f_asinh, asinhf)
TAMIS_EACH(f_acosh, acoshf)
TAMIS_EACH(f_atanh, atanhf)
TAMIS_INLINE V f_pow(V x, V y) {
    for (int i = 0; i < TAMIS_LANES; i++) x[i] = powf(x[i], y[i]);
    return x;
}
TAMIS_INLINE V f_fmod(V x, V y) {
    for (int i = 0; i < TAMIS_LANES; i++) x[i] = fmodf(x[i], y[i]);
    return x;
}
/* the remainder with the sign of the divisor */
TAMIS_INLINE V f_mod(V x, V y) {
    V r = f_fmod(x, y);
    return pick((r != (V){0}) & ((r < (V){0}) != (y < (V){0})), r + y, r);
}
TAMIS_INLINE V tamis_wave(V x, int32_t shift) {
    V n = round_(x * all(0.636619772367581343f));
    V r = fma_(n, all(-1.5703125f), x);
    r = fma_(n, all(-4.837512969970703125e-4f), r);
    r = fma_(n, all(-7.54978995489188216e-8f), r);
    I q = __builtin_convertvector(n, I) + shift;
    V z = r * r;
    V s = fma_(fma_(fma_(all(-1.9515295891e-4f), z, all(8.3321608736e-3f)), z, all(-1.6666654611e-1f)) * z, r, r);
    V c = fma_(fma_(all(2.443315711809948e-5f), z, all(-1.388731625493765e-3f)), z, all(4.166664568298827e-2f));
    c = fma_(c, z * z, fma_(all(-0.5f), z, all(1.0f)));
    V found = pick((q & 1) != 0, c, s);
    return (V)((I)found ^ ((q & 2) << 30));
}
/* what is far from zero is left to the C library, lane by lane */
#define TAMIS_WAVE(name, shift, far) \
    TAMIS_INLINE V name(V x) { \
        V found = tamis_wave(pick(f_abs(x) < all(256.0f), x, (V){0}), shift); \
        for (int i = 0; i < TAMIS_LANES; i++) if (!(x[i] < 256.0f && x[i] > -256.0f)) found[i] = far(x[i]); \
        return found; \
    }
TAMIS_WAVE(f_sin, 0, sinf)
TAMIS_WAVE(f_cos, 1, cosf)

/* TAMIS_LANES rows of `width` floats, every `step` floats, to columns of TAMIS_LANES: element k of row i goes to out[k * pitch + i] */
#if TAMIS_LANES == 16
TAMIS_INLINE void tamis_turn(__m512 *r, float *out, ptrdiff_t pitch, int columns) {
    __m512 t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
        __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        if (i < columns) _mm512_storeu_ps(out + i * pitch, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
        if (i + 8 < columns) _mm512_storeu_ps(out + (i + 8) * pitch, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
    }
}
#endif
TAMIS_INLINE void tamis_columns(const float *p, ptrdiff_t step, int rows, int width, float *out, ptrdiff_t pitch) {
#if TAMIS_LANES == 16
    __m512 r[16];
    int k = 0;
    for (; k + 16 <= width; k += 16) {
        for (int i = 0; i < 16; i++) r[i] = i < rows ? _mm512_loadu_ps(p + i * step + k) : _mm512_setzero_ps();
        tamis_turn(r, out + k * pitch, pitch, 16);
    }
    if (k < width) {
        for (int i = 0; i < 16; i++) r[i] = i < rows ? _mm512_maskz_loadu_ps(TAMIS_MASK(width - k), p + i * step + k) : _mm512_setzero_ps();
        tamis_turn(r, out + k * pitch, pitch, width - k);
    }
#else
    for (int k = 0; k < width; k++) st(out + k * pitch, gather(p + k, step, rows));
#endif
}
