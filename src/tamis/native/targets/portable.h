/* Any processor, in the vector extensions of gcc and clang. */
TAMIS_INLINE V all(float x) { return x - (V){0}; }
/* a b + c, rounded once, as processors with such an instruction compute it. The product is exact in double precision. Where the sum is
   not, the neighbour with an odd last bit is taken: it is on the same side of every float, so that its rounding is that of the exact
   sum (S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Trans. Computers 57, 2008). */
TAMIS_INLINE V fma_(V a, V b, V c) {
    D p = __builtin_convertvector(a, D) * __builtin_convertvector(b, D), d = __builtin_convertvector(c, D);
    D s = p + d, t = s - p;
    D e = (p - (s - t)) + (d - t);
    L bits = (L)s, inexact = (e > (D){0}) | (e < (D){0}), even = (bits & 1) - 1;
    L away = (e > (D){0}) == (s > (D){0}); /* -1 where the exact sum is further from 0 */
    bits += inexact & even & ((away & 1) | (~away & -1));
    return __builtin_convertvector((D)bits, V);
}
TAMIS_INLINE V max_(V a, V b) { return pick(a > b, a, b); }
TAMIS_INLINE V min_(V a, V b) { return pick(a < b, a, b); }
TAMIS_EACH(sqrt_, sqrtf)
TAMIS_EACH(round_, rintf)
TAMIS_EACH(floor_, floorf)
TAMIS_EACH(ceil_, ceilf)
TAMIS_EACH(trunc_, truncf)
TAMIS_INLINE V ld_n(const float *p, int n) { V v = {0}; for (int i = 0; i < n; i++) v[i] = p[i]; return v; }
TAMIS_INLINE void st_n(float *p, V v, int n) { for (int i = 0; i < n; i++) p[i] = v[i]; }
