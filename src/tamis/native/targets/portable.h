/* Any processor, in the vector extensions of gcc and clang. A multiply-add rounds twice. */
TAMIS_INLINE V all(float x) { return x - (V){0}; }
TAMIS_INLINE V fma_(V a, V b, V c) { return a * b + c; }
TAMIS_INLINE V max_(V a, V b) { return pick(a > b, a, b); }
TAMIS_INLINE V min_(V a, V b) { return pick(a < b, a, b); }
TAMIS_EACH(sqrt_, sqrtf)
TAMIS_EACH(round_, rintf)
TAMIS_EACH(floor_, floorf)
TAMIS_EACH(ceil_, ceilf)
TAMIS_EACH(trunc_, truncf)
TAMIS_INLINE V ld_n(const float *p, int n) { V v = {0}; for (int i = 0; i < n; i++) v[i] = p[i]; return v; }
TAMIS_INLINE void st_n(float *p, V v, int n) { for (int i = 0; i < n; i++) p[i] = v[i]; }
