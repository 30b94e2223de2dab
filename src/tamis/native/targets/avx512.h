/* AVX-512 (F, DQ, VL, BW, CD): 16 floats, masked loads and stores, half vectors. */
#include <immintrin.h>

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

/* bfloat16 and int8 to float */
#define ld_short ld_short
TAMIS_INLINE V ld_short(const uint16_t *p) {
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
}
#define ld_byte ld_byte
TAMIS_INLINE V ld_byte(const int8_t *p) {
    return (V)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* the lower half of a vector: half of the multiply-add's time */
typedef float H __attribute__((vector_size(32), may_alias));
TAMIS_INLINE H half(V v) { return (H)_mm512_castps512_ps256((__m512)v); }
TAMIS_INLINE H all_half(float x) { return (H)_mm256_set1_ps(x); }
TAMIS_INLINE V whole(H v) { return (V)_mm512_castps256_ps512((__m256)v); }
TAMIS_INLINE H fma_half(H a, H b, H c) { return (H)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }

/* rows of 8 and 4 floats, `pitch` floats apart, as one vector */
#define ld_rows8 ld_rows8
TAMIS_INLINE V ld_rows8(const float *p, ptrdiff_t pitch) {
    __m512d v = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(p)));
    return (V)_mm512_castpd_ps(_mm512_insertf64x4(v, _mm256_castps_pd(_mm256_loadu_ps(p + pitch)), 1));
}
TAMIS_INLINE void st_rows8(float *p, V v, ptrdiff_t pitch) {
    _mm256_storeu_ps(p, _mm512_castps512_ps256((__m512)v));
    _mm256_storeu_ps(p + pitch, _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)v), 1)));
}
#define ld_rows4 ld_rows4
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

/* minimum and maximum over the lanes */
#define least least
TAMIS_INLINE float least(V v) { return _mm512_reduce_min_ps((__m512)v); }
#define largest largest
TAMIS_INLINE float largest(V v) { return _mm512_reduce_max_ps((__m512)v); }

/* a 2^n for integral n */
#define scaled scaled
TAMIS_INLINE V scaled(V a, V n) { return (V)_mm512_scalef_ps((__m512)a, (__m512)n); }
#define power2 power2
TAMIS_INLINE V power2(V n) { return (V)_mm512_scalef_ps(_mm512_set1_ps(1.0f), (__m512)n); }

/* transposes 16 rows; stores `columns` of the result, `pitch` floats apart */
TAMIS_INLINE void tamis_transpose(__m512 *r, float *out, ptrdiff_t pitch, int columns) {
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
#define tamis_columns tamis_columns
TAMIS_INLINE void tamis_columns(const float *p, ptrdiff_t step, int rows, int width, float *out, ptrdiff_t pitch) {
    __m512 r[16];
    int k = 0;
    for (; k + 16 <= width; k += 16) {
        for (int i = 0; i < 16; i++) r[i] = i < rows ? _mm512_loadu_ps(p + i * step + k) : _mm512_setzero_ps();
        tamis_transpose(r, out + k * pitch, pitch, 16);
    }
    if (k < width) {
        for (int i = 0; i < 16; i++) r[i] = i < rows ? _mm512_maskz_loadu_ps(TAMIS_MASK(width - k), p + i * step + k) : _mm512_setzero_ps();
        tamis_transpose(r, out + k * pitch, pitch, width - k);
    }
}
