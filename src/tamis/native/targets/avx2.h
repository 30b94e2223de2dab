/* AVX2 and FMA: 8 floats, masked loads and stores. */
#include <immintrin.h>

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

/* rows of 4 floats, `pitch` floats apart, as one vector */
#define ld_rows4 ld_rows4
TAMIS_INLINE V ld_rows4(const float *p, ptrdiff_t pitch) {
    return (V)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + pitch), 1);
}
TAMIS_INLINE void st_rows4(float *p, V v, ptrdiff_t pitch) {
    _mm_storeu_ps(p, _mm256_castps256_ps128((__m256)v));
    _mm_storeu_ps(p + pitch, _mm256_extractf128_ps((__m256)v, 1));
}
