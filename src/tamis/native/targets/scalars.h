/* Scalar functions of floats, computed in double precision by +, -, *, / and sqrt alone, which round in the same way on every processor. */

#define TAMIS_SCALAR static __attribute__((noinline, unused))

/* exp(x) = 2^n exp(r) with |r| <= log(2) / 2; Taylor's series up to r^13 is exact to double precision */
TAMIS_SCALAR double tamis_exp_d(double x) {
    if (x != x) return x;
    if (x > 800.0) return INFINITY;
    if (x < -800.0) return 0.0;
    const double n = rint(x * 1.4426950408889634), r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    static const double inverse[] = {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0,
                                     1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0};
    for (int i = 0; i < 13; i++) p = p * r + inverse[i];
    const int64_t whole = (int64_t)n, half = whole / 2;
    const int64_t first = (half + 1023) << 52, second = (whole - half + 1023) << 52;
    double a, b;
    memcpy(&a, &first, 8);
    memcpy(&b, &second, 8);
    return p * a * b;
}
/* log(x) of a positive double that is normal: x = 2^e m, log(m) = 2 (f + f^3 / 3 + ...) with f = (m - 1) / (m + 1) */
TAMIS_SCALAR double tamis_log_d(double x) {
    int64_t bits;
    memcpy(&bits, &x, 8);
    int64_t e = (bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffff) | 0x3ff0000000000000;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) m *= 0.5, e++;
    const double f = (m - 1.0) / (m + 1.0), s = f * f;
    double p = 0.0;
    for (int k = 23; k > 0; k -= 2) p = p * s + 1.0 / k;
    return (double)e * 0.6931471805599453 + 2.0 * f * p;
}
/* the arc tangent: of at most tan(pi / 8) by Taylor's series, of others by addition theorems */
TAMIS_SCALAR double tamis_atan_d(double x) {
    const double a = fabs(x);
    double begin = 0.0, t = a;
    if (a > 2.414213562373095) begin = 1.5707963267948966, t = -1.0 / a;
    else if (a > 0.4142135623730951) begin = 0.7853981633974483, t = (a - 1.0) / (a + 1.0);
    const double s = t * t;
    double p = 0.0;
    for (int k = 41; k > 0; k -= 2) p = (k % 4 == 1 ? 1.0 : -1.0) / k + s * p;
    const double found = begin + t * p;
    return x < 0.0 ? -found : x != x ? x : found;
}
/* x less a multiple n of pi / 2, at most pi / 4 from 0. Beyond 2^28 / pi by 96 bits of 4 / pi, as ARM's optimized routines do it. */
TAMIS_SCALAR double tamis_reduced(float x, int *n) {
    static const uint32_t bits_of_4_over_pi[24] = {
        0xa2, 0xa2f9, 0xa2f983, 0xa2f9836e, 0xf9836e4e, 0x836e4e44, 0x6e4e4415, 0x4e441529, 0x441529fc, 0x1529fc27, 0x29fc2757, 0xfc2757d1,
        0x2757d1f5, 0x57d1f534, 0xd1f534dd, 0xf534ddc0, 0x34ddc0db, 0xddc0db62, 0xc0db6295, 0xdb629599, 0x6295993c, 0x95993c43, 0x993c4390, 0x3c439041};
    if (fabsf(x) < 1.0e5f) {
        const double k = rint((double)x * 0.6366197723675814);
        *n = (int)k;
        return ((double)x - k * 1.57079632673412561417e+00) - k * 6.07710050650619224932e-11;
    }
    uint32_t own;
    memcpy(&own, &x, 4);
    const uint32_t *four = &bits_of_4_over_pi[(own >> 26) & 15];
    const uint32_t mantissa = ((own & 0xffffff) | 0x800000) << ((own >> 23) & 7);
    uint64_t high = (uint64_t)(uint32_t)(mantissa * four[0]), middle = (uint64_t)mantissa * four[4], low = (uint64_t)mantissa * four[8];
    high = (low >> 32) | (high << 32);
    high += middle;
    const uint64_t turns = (high + (1ULL << 61)) >> 62;
    high -= turns << 62;
    const double r = (double)(int64_t)high * 3.4061215800304898e-19;
    *n = own >> 31 ? -(int)turns : (int)turns;
    return own >> 31 ? -r : r;
}
TAMIS_SCALAR double tamis_sine_d(double r) {
    const double s = r * r;
    double p = 0.0;
    for (int k = 16; k > 0; k -= 2) p = 1.0 - s * p / (double)(k * (k + 1));
    return r * p;
}
TAMIS_SCALAR double tamis_cosine_d(double r) {
    const double s = r * r;
    double p = 0.0;
    for (int k = 18; k > 0; k -= 2) p = 1.0 - s * p / (double)(k * (k - 1));
    return p;
}
TAMIS_SCALAR float tamis_sin(float x) {
    if (!(fabsf(x) < INFINITY)) return NAN;
    int n;
    const double r = tamis_reduced(x, &n), y = n & 1 ? tamis_cosine_d(r) : tamis_sine_d(r);
    return (float)(n & 2 ? -y : y);
}
TAMIS_SCALAR float tamis_cos(float x) {
    if (!(fabsf(x) < INFINITY)) return NAN;
    int n;
    const double r = tamis_reduced(x, &n), y = n & 1 ? tamis_sine_d(r) : tamis_cosine_d(r);
    return (float)((n + 1) & 2 ? -y : y);
}
TAMIS_SCALAR float tamis_tan(float x) {
    if (!(fabsf(x) < INFINITY)) return NAN;
    int n;
    const double r = tamis_reduced(x, &n), s = tamis_sine_d(r), c = tamis_cosine_d(r);
    return (float)(n & 1 ? -c / s : s / c);
}
TAMIS_SCALAR float tamis_atan(float x) { return x == 0.0f ? x : (float)tamis_atan_d(x); }
TAMIS_SCALAR float tamis_asin(float x) {
    if (x == 0.0f || x != x) return x;
    return (float)tamis_atan_d((double)x / sqrt((1.0 - (double)x) * (1.0 + (double)x)));
}
TAMIS_SCALAR float tamis_acos(float x) {
    if (x != x) return x;
    return (float)(2.0 * tamis_atan_d(sqrt((1.0 - (double)x) / (1.0 + (double)x))));
}
/* near 0 the differences below would cancel: Taylor's series */
TAMIS_SCALAR float tamis_sinh(float x) {
    const double a = x, s = a * a;
    if (fabs(a) < 0.25) return x == 0.0f ? x : (float)(a * (1.0 + s / 6.0 * (1.0 + s / 20.0 * (1.0 + s / 42.0 * (1.0 + s / 72.0)))));
    return (float)((tamis_exp_d(a) - tamis_exp_d(-a)) * 0.5);
}
TAMIS_SCALAR float tamis_cosh(float x) { return (float)((tamis_exp_d(x) + tamis_exp_d(-(double)x)) * 0.5); }
TAMIS_SCALAR float tamis_asinh(float x) {
    const double a = fabs((double)x), s = a * a;
    if (!(a < INFINITY) || x == 0.0f) return x;
    const double y = a < 0.01 ? a * (1.0 - s / 6.0 * (1.0 - s * 9.0 / 20.0)) : tamis_log_d(a + sqrt(s + 1.0));
    return (float)(x < 0.0f ? -y : y);
}
TAMIS_SCALAR float tamis_acosh(float x) {
    const double a = x;
    if (!(a >= 1.0)) return NAN;
    return a < INFINITY ? (float)tamis_log_d(a + sqrt((a - 1.0) * (a + 1.0))) : x;
}
TAMIS_SCALAR float tamis_atanh(float x) {
    const double a = fabs((double)x), s = a * a;
    if (!(a <= 1.0)) return NAN;
    if (a == 1.0) return x * INFINITY;
    if (x == 0.0f) return x;
    const double y = a < 0.01 ? a * (1.0 + s / 3.0 + s * s / 5.0) : 0.5 * tamis_log_d((1.0 + a) / (1.0 - a));
    return (float)(x < 0.0f ? -y : y);
}
TAMIS_SCALAR float tamis_pow(float x, float y) {
    if (y == 0.0f || x == 1.0f) return 1.0f;
    if (x != x || y != y) return NAN;
    const int whole = truncf(y) == y, odd = whole && fabsf(y) < 16777216.0f && fmodf(y, 2.0f) != 0.0f;
    const float sign = odd && (x < 0.0f || 1.0f / x < 0.0f) ? -1.0f : 1.0f;
    const float a = fabsf(x);
    if (a == 0.0f) return sign * (y > 0.0f ? 0.0f : INFINITY);
    if (a == INFINITY) return sign * (y > 0.0f ? INFINITY : 0.0f);
    if (fabsf(y) == INFINITY) return a == 1.0f ? 1.0f : (a > 1.0f) == (y > 0.0f) ? INFINITY : 0.0f;
    if (x < 0.0f && !whole) return NAN;
    return sign * (float)tamis_exp_d((double)y * tamis_log_d(a));
}
