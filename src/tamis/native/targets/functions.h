/* The functions that generated code calls, f_NAME, for every width. Sources of the approximations: Cephes is Stephen L. Moshier's
   Cephes Mathematical Library, single precision (netlib.org/cephes); tests/native/targets/test_functions.py holds each to its error bound. */

TAMIS_INLINE V boolean(I m) { return (V)((I)all(1.0f) & m); }
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
TAMIS_INLINE V f_relu(V a) { return max_((V){0}, a); } /* NaN propagates: max_ returns its second argument if one is NaN */
TAMIS_INLINE V f_reciprocal(V a) { return all(1.0f) / a; }
/* rounds to float16, ties to even: below 2^-14 to a multiple of 2^-24, which a sum with 1/2 does */
TAMIS_INLINE V f_half(V a) {
    I sign = (I)a & (I)all(-0.0f), m = (I)a ^ sign;
    I r = (m + 0xfff + ((m >> 13) & 1)) & ~0x1fff;
    V small = ((V)m + all(0.5f)) - all(0.5f);
    V rounded = pick((V)m < all(6.103515625e-5f), small, pick((V)r > all(65504.0f), all(INFINITY), (V)r));
    return pick(a != a, a, (V)((I)rounded | sign));
}
TAMIS_INLINE I tamis_bits(V a) { return __builtin_convertvector(a, I); } /* of integers, which are exact */
TAMIS_INLINE V f_bit_and(V a, V b) { return __builtin_convertvector(tamis_bits(a) & tamis_bits(b), V); }
TAMIS_INLINE V f_bit_or(V a, V b) { return __builtin_convertvector(tamis_bits(a) | tamis_bits(b), V); }
TAMIS_INLINE V f_bit_xor(V a, V b) { return __builtin_convertvector(tamis_bits(a) ^ tamis_bits(b), V); }
TAMIS_INLINE V f_greater(V a, V b) { return boolean(a > b); }
TAMIS_INLINE V f_less(V a, V b) { return boolean(a < b); }
TAMIS_INLINE V f_equal(V a, V b) { return boolean(a == b); }
TAMIS_INLINE V f_greater_equal(V a, V b) { return boolean(a >= b); }
TAMIS_INLINE V f_less_equal(V a, V b) { return boolean(a <= b); }
TAMIS_INLINE V f_not(V a) { return boolean(a == (V){0}); }
TAMIS_INLINE V f_isnan(V a) { return boolean(a != a); }
TAMIS_INLINE V f_sign(V a) { return pick(a != a, a, boolean(a > (V){0}) - boolean(a < (V){0})); }
TAMIS_INLINE V f_where(V m, V a, V b) { return pick(m != (V){0}, a, b); }

/* returns exp(r) - 1 for x = n log 2 + r with |r| <= log(2) / 2. Polynomial of Cephes' expf, evaluated in pairs for shorter chains.
   log 2 is split in two: the first part has 15 bits, so that its product with n is exact, the second is the remainder. */
TAMIS_INLINE V tamis_exponent(V x, V *n) {
    *n = round_(x * all(1.44269504088896341f));
    V r = fma_(*n, all(-0.693145751953125f), x);
    r = fma_(*n, all(-1.428606820309417e-6f), r);
    V s = r * r;
    V high = fma_(all(1.9875691500e-4f), r, all(1.3981999507e-3f));
    V middle = fma_(all(8.3334519073e-3f), r, all(4.1665795894e-2f));
    V low = fma_(all(1.6666665459e-1f), r, all(5.0000001201e-1f));
    return fma_(fma_(fma_(high, s, middle), s, low), s, r);
}
TAMIS_INLINE V f_exp(V x) {
    V n, p = tamis_exponent(min_(all(89.0f), max_(all(-104.0f), x)), &n) + all(1.0f); /* NaN propagates: it is the second argument */
    return scaled(p, n);
}
TAMIS_INLINE V f_sigmoid(V x) { return f_reciprocal(all(1.0f) + f_exp(min_(all(88.0f), -x))); }
/* tanh(x) = (exp(2x) - 1) / (exp(2x) + 1), without cancellation since exp(r) - 1 is computed directly; returns the numerator */
TAMIS_INLINE V tamis_tanh(V x, V *denominator) {
    V n, q = tamis_exponent(min_(all(18.1f), max_(all(-18.1f), x + x)), &n);
    V e = power2(n);
    V t = fma_(e, q, e - all(1.0f));
    *denominator = t + all(2.0f);
    return t;
}
TAMIS_INLINE V f_tanh(V x) {
    V denominator, numerator = tamis_tanh(x, &denominator);
    return numerator * f_reciprocal(denominator);
}
/* sigmoid(a) tanh(b) with one division; a is clipped at -50, where the sigmoid (2e-22) is negligible in any sum of floats */
TAMIS_INLINE V f_gate(V a, V b) {
    V denominator, numerator = tamis_tanh(b, &denominator);
    return numerator * f_reciprocal(denominator * (all(1.0f) + f_exp(min_(all(50.0f), -a))));
}
/* Norbert Juffa, "Efficient faithfully rounded implementation of error function erff()" (stackoverflow.com/q/35148198): minimax
   polynomials for |x| below and above 475/512 */
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
/* Cephes' logf: x = 2^e m with m in [sqrt(1/2), sqrt(2)); denormals are scaled by 2^25 first */
TAMIS_INLINE V f_log(V x) {
    I small = x < all(1.17549435e-38f);
    V y = pick(small, x * all(33554432.0f), x);
    I bits = (I)y;
    V e = __builtin_convertvector(((bits >> 23) & 255) - 126, V) - (V)((I)all(25.0f) & small);
    V m = (V)((bits & 0x007fffff) | 0x3f000000);
    I low = m < all(0.707106781186547524f);
    e = e - boolean(low);
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
/* max(x, 0) + log(1 + u) with u = exp(-|x|); the last term corrects the rounding of w = 1 + u, as in fdlibm's log1p */
TAMIS_INLINE V f_softplus(V x) {
    V u = f_exp(-f_abs(x)), w = all(1.0f) + u;
    return max_(x, (V){0}) + (f_log(w) - ((w - all(1.0f)) - u) / w);
}
/* exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1); reduction and polynomial are those of tamis_exponent */
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
/* lane by lane in double precision, so that a float is right but for rare ties: libraries differ in their last bits. fmodf is exact. */
TAMIS_EACH(f_tan, tamis_tan)
TAMIS_EACH(f_asin, tamis_asin)
TAMIS_EACH(f_acos, tamis_acos)
TAMIS_EACH(f_atan, tamis_atan)
TAMIS_EACH(f_sinh, tamis_sinh)
TAMIS_EACH(f_cosh, tamis_cosh)
TAMIS_EACH(f_asinh, tamis_asinh)
TAMIS_EACH(f_acosh, tamis_acosh)
TAMIS_EACH(f_atanh, tamis_atanh)
TAMIS_INLINE V f_pow(V x, V y) {
    for (int i = 0; i < TAMIS_LANES; i++) x[i] = tamis_pow(x[i], y[i]);
    return x;
}
TAMIS_INLINE V f_fmod(V x, V y) {
    for (int i = 0; i < TAMIS_LANES; i++) x[i] = fmodf(x[i], y[i]);
    return x;
}
/* remainder with the sign of the divisor */
TAMIS_INLINE V f_mod(V x, V y) {
    V r = f_fmod(x, y);
    return pick((r != (V){0}) & ((r < (V){0}) != (y < (V){0})), r + y, r);
}
/* sine (shift 0) or cosine (shift 1): polynomials of Cephes' sinf and cosf on [-pi/4, pi/4], after Cody and Waite's reduction by
   multiples of pi/2 in three parts (twice Cephes' DP1 to DP3) */
TAMIS_INLINE V tamis_sine(V x, int32_t shift) {
    V n = round_(x * all(0.636619772367581343f));
    V r = fma_(n, all(-1.5703125f), x);
    r = fma_(n, all(-4.837512969970703125e-4f), r);
    r = fma_(n, all(-7.54978995489188216e-8f), r);
    I q = __builtin_convertvector(n, I) + shift;
    V z = r * r;
    V s = fma_(fma_(fma_(all(-1.9515295891e-4f), z, all(8.3321608736e-3f)), z, all(-1.6666654611e-1f)) * z, r, r);
    V c = fma_(fma_(all(2.443315711809948e-5f), z, all(-1.388731625493765e-3f)), z, all(4.166664568298827e-2f));
    c = fma_(c, z * z, fma_(all(-0.5f), z, all(1.0f)));
    V result = pick((q & 1) != 0, c, s);
    return (V)((I)result ^ ((q & 2) << 30));
}
/* beyond 256, where the reduction loses digits, each lane is computed in double precision */
#define TAMIS_SINE(name, shift, far) \
    TAMIS_INLINE V name(V x) { \
        V result = tamis_sine(pick(f_abs(x) < all(256.0f), x, (V){0}), shift); \
        for (int i = 0; i < TAMIS_LANES; i++) if (!(x[i] < 256.0f && x[i] > -256.0f)) result[i] = far(x[i]); \
        return result; \
    }
TAMIS_SINE(f_sin, 0, tamis_sin)
TAMIS_SINE(f_cos, 1, tamis_cos)
