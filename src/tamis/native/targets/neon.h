/* NEON of AArch64: 4 floats. Minimum and maximum return their second argument if one is NaN, as on x86-64; vmaxq would not. */
#include <arm_neon.h>

TAMIS_INLINE V all(float x) { return (V)vdupq_n_f32(x); }
TAMIS_INLINE V fma_(V a, V b, V c) { return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
TAMIS_INLINE V max_(V a, V b) { return pick(a > b, a, b); }
TAMIS_INLINE V min_(V a, V b) { return pick(a < b, a, b); }
TAMIS_INLINE V sqrt_(V a) { return (V)vsqrtq_f32((float32x4_t)a); }
TAMIS_INLINE V round_(V a) { return (V)vrndnq_f32((float32x4_t)a); }
TAMIS_INLINE V floor_(V a) { return (V)vrndmq_f32((float32x4_t)a); }
TAMIS_INLINE V ceil_(V a) { return (V)vrndpq_f32((float32x4_t)a); }
TAMIS_INLINE V trunc_(V a) { return (V)vrndq_f32((float32x4_t)a); }
TAMIS_INLINE V ld_n(const float *p, int n) { V v = {0}; for (int i = 0; i < n; i++) v[i] = p[i]; return v; }
TAMIS_INLINE void st_n(float *p, V v, int n) { for (int i = 0; i < n; i++) p[i] = v[i]; }
