/* Loads, stores and rearrangements for every width. A target's header replaces what it does better: it defines the function, and a
   macro of the same name. */

/* bfloat16 and int8 to float */
#ifndef ld_short
TAMIS_INLINE V ld_short(const uint16_t *p) {
    I v;
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = (int32_t)((uint32_t)p[i] << 16);
    return (V)v;
}
#endif
#ifndef ld_byte
TAMIS_INLINE V ld_byte(const int8_t *p) {
    V v;
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = (float)p[i];
    return v;
}
#endif

/* rows of 8 and 4 floats, `pitch` floats apart, as one vector */
#if TAMIS_LANES > 8 && !defined(ld_rows8)
TAMIS_INLINE V ld_rows8(const float *p, ptrdiff_t pitch) {
    V v;
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = p[i / 8 * pitch + i % 8];
    return v;
}
TAMIS_INLINE void st_rows8(float *p, V v, ptrdiff_t pitch) {
    for (int i = 0; i < TAMIS_LANES; i++) p[i / 8 * pitch + i % 8] = v[i];
}
#endif
#if TAMIS_LANES > 4 && !defined(ld_rows4)
TAMIS_INLINE V ld_rows4(const float *p, ptrdiff_t pitch) {
    V v;
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = p[i / 4 * pitch + i % 4];
    return v;
}
TAMIS_INLINE void st_rows4(float *p, V v, ptrdiff_t pitch) {
    for (int i = 0; i < TAMIS_LANES; i++) p[i / 4 * pitch + i % 4] = v[i];
}
#endif

/* the first `n` lanes, and `fill` in the others */
TAMIS_INLINE V first_(V v, float fill, int n) {
    for (int i = 0; i < TAMIS_LANES; i++) v[i] = i < n ? v[i] : fill;
    return v;
}

/* minimum and maximum over the lanes */
#ifndef least
TAMIS_INLINE float least(V v) {
    float result = v[0];
    for (int i = 1; i < TAMIS_LANES; i++) result = v[i] < result ? v[i] : result;
    return result;
}
#endif
#ifndef largest
TAMIS_INLINE float largest(V v) {
    float result = v[0];
    for (int i = 1; i < TAMIS_LANES; i++) result = v[i] > result ? v[i] : result;
    return result;
}
#endif

/* a 2^n for integral n from -252 to 254: in two factors, since 2^n alone may not be a float */
#ifndef scaled
TAMIS_INLINE V scaled(V a, V n) {
    I whole = __builtin_convertvector(n, I), half = whole >> 1;
    return a * (V)((half + 127) << 23) * (V)((whole - half + 127) << 23);
}
#endif
/* 2^n for integral n from -126 to 127 */
#ifndef power2
TAMIS_INLINE V power2(V n) { return (V)((__builtin_convertvector(n, I) + 127) << 23); }
#endif

/* n floats, `step` apart, as the first lanes of a vector */
TAMIS_INLINE V gather(const float *p, ptrdiff_t step, int n) {
    V v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i * step];
    return v;
}
TAMIS_INLINE void scatter(float *p, V v, ptrdiff_t step, int n) { for (int i = 0; i < n; i++) p[i * step] = v[i]; }

/* the index that a float of a tensor of indices means: a negative one counts from the end, and all are clipped to the axis */
TAMIS_INLINE long tamis_index(float x, long size) {
    long index = x > -1e9f && x < 1e9f ? (long)x : 0;
    index += index < 0 ? size : 0;
    return index < 0 ? 0 : index < size ? index : size - 1;
}

/* The macros TAMIS_EVENS to TAMIS_MORE_PAIRS are lists of lane numbers for this width; they are generated with the code. */

/* every second float; reads one beyond the last one used */
TAMIS_INLINE V evens(const float *p) { return __builtin_shufflevector(ld(p), ld(p + TAMIS_LANES), TAMIS_EVENS); }
/* every second of 2 n - 1 floats; reads nothing beyond them */
TAMIS_INLINE V evens_n(const float *p, int n) {
    const int all = 2 * n - 1, more = all - TAMIS_LANES;
    const V low = more < 0 ? ld_n(p, all) : ld(p), high = more > 0 ? ld_n(p + TAMIS_LANES, more) : (V){0};
    return __builtin_shufflevector(low, high, TAMIS_EVENS);
}

/* vector k of n floats, 0 beyond them */
#define TAMIS_PART(p, k, n) ((n) >= ((k) + 1) * TAMIS_LANES ? ld((p) + (k) * TAMIS_LANES) : (n) > (k) * TAMIS_LANES ? ld_n((p) + (k) * TAMIS_LANES, (n) - (k) * TAMIS_LANES) : (V){0})
/* every third and every fourth of n floats; reads nothing beyond them */
TAMIS_INLINE V every3(const float *p, int n) {
    const V low = __builtin_shufflevector(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), TAMIS_THIRDS);
    return __builtin_shufflevector(low, TAMIS_PART(p, 2, n), TAMIS_MORE_THIRDS);
}
TAMIS_INLINE V every4(const float *p, int n) {
    const V low = __builtin_shufflevector(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), TAMIS_FIRST_TWO);
    const V high = __builtin_shufflevector(TAMIS_PART(p, 2, n), TAMIS_PART(p, 3, n), TAMIS_FIRST_TWO);
    return __builtin_shufflevector(low, high, TAMIS_LOWER);
}
/* vector k of consecutive rows of `width` floats, a power of two, `pitch` floats apart */
TAMIS_INLINE V tamis_load_row(const float *p, int width, ptrdiff_t pitch, int k) {
    const int at = k * TAMIS_LANES;
#if TAMIS_LANES > 8
    if (width == 8) return ld_rows8(p + at / 8 * pitch, pitch);
#endif
#if TAMIS_LANES > 4
    if (width == 4) return ld_rows4(p + at / 4 * pitch, pitch);
#endif
    return ld(p + at / width * pitch + at % width);
}
TAMIS_INLINE void tamis_store_row(float *p, int width, ptrdiff_t pitch, int k, V v) {
    const int at = k * TAMIS_LANES;
#if TAMIS_LANES > 8
    if (width == 8) { st_rows8(p + at / 8 * pitch, v, pitch); return; }
#endif
#if TAMIS_LANES > 4
    if (width == 4) { st_rows4(p + at / 4 * pitch, v, pitch); return; }
#endif
    st(p + at / width * pitch + at % width, v);
}

/* deinterleaves n floats into 2 or 4 vectors: float i goes to vector i mod 2 or 4; 0 beyond them */
TAMIS_INLINE void tamis_deinterleave2(V a, V b, V *out) {
    out[0] = __builtin_shufflevector(a, b, TAMIS_EVENS);
    out[1] = __builtin_shufflevector(a, b, TAMIS_ODDS);
}
TAMIS_INLINE void tamis_deinterleave4(V a, V b, V c, V d, V *out) {
    const V e = __builtin_shufflevector(a, b, TAMIS_FIRST_TWO), f = __builtin_shufflevector(c, d, TAMIS_FIRST_TWO);
    const V g = __builtin_shufflevector(a, b, TAMIS_OTHER_TWO), h = __builtin_shufflevector(c, d, TAMIS_OTHER_TWO);
    out[0] = __builtin_shufflevector(e, f, TAMIS_LOWER);
    out[1] = __builtin_shufflevector(e, f, TAMIS_UPPER);
    out[2] = __builtin_shufflevector(g, h, TAMIS_LOWER);
    out[3] = __builtin_shufflevector(g, h, TAMIS_UPPER);
}
TAMIS_INLINE void deinterleave2(const float *p, int n, V *out) { tamis_deinterleave2(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), out); }
TAMIS_INLINE void deinterleave4(const float *p, int n, V *out) {
    tamis_deinterleave4(TAMIS_PART(p, 0, n), TAMIS_PART(p, 1, n), TAMIS_PART(p, 2, n), TAMIS_PART(p, 3, n), out);
}
/* the same from rows, `pitch` floats apart */
TAMIS_INLINE void deinterleave2_rows(const float *p, int width, ptrdiff_t pitch, V *out) {
    tamis_deinterleave2(tamis_load_row(p, width, pitch, 0), tamis_load_row(p, width, pitch, 1), out);
}
TAMIS_INLINE void deinterleave4_rows(const float *p, int width, ptrdiff_t pitch, V *out) {
    tamis_deinterleave4(tamis_load_row(p, width, pitch, 0), tamis_load_row(p, width, pitch, 1), tamis_load_row(p, width, pitch, 2), tamis_load_row(p, width, pitch, 3), out);
}
/* interleaves 2 or 4 vectors */
TAMIS_INLINE void tamis_interleave2(V *v) {
    const V a = v[0], b = v[1];
    v[0] = __builtin_shufflevector(a, b, TAMIS_PAIRS);
    v[1] = __builtin_shufflevector(a, b, TAMIS_MORE_PAIRS);
}
TAMIS_INLINE void tamis_interleave4(V *v) {
    const V a = v[0], b = v[1], c = v[2], d = v[3];
    const V e = __builtin_shufflevector(a, b, TAMIS_LOWER), f = __builtin_shufflevector(c, d, TAMIS_LOWER);
    const V g = __builtin_shufflevector(a, b, TAMIS_UPPER), h = __builtin_shufflevector(c, d, TAMIS_UPPER);
    v[0] = __builtin_shufflevector(e, f, TAMIS_FOURS);
    v[1] = __builtin_shufflevector(e, f, TAMIS_MORE_FOURS);
    v[2] = __builtin_shufflevector(g, h, TAMIS_FOURS);
    v[3] = __builtin_shufflevector(g, h, TAMIS_MORE_FOURS);
}
#define TAMIS_INTERLEAVE(count) \
    TAMIS_INLINE void interleave##count(float *p, int n, V *v) { /* n floats in all */ \
        tamis_interleave##count(v); \
        for (int k = 0; k < count; k++) \
            if (n >= (k + 1) * TAMIS_LANES) st(p + k * TAMIS_LANES, v[k]); \
            else if (n > k * TAMIS_LANES) st_n(p + k * TAMIS_LANES, v[k], n - k * TAMIS_LANES); \
    } \
    TAMIS_INLINE void interleave##count##_rows(float *p, int width, ptrdiff_t pitch, V *v) { \
        tamis_interleave##count(v); \
        for (int k = 0; k < count; k++) tamis_store_row(p, width, pitch, k, v[k]); \
    }
TAMIS_INTERLEAVE(2)
TAMIS_INTERLEAVE(4)

/* transposes: float k of row i (of `rows`, `step` floats apart) goes to out[k * pitch + i]; 0 for the rows beyond */
#ifndef tamis_columns
TAMIS_INLINE void tamis_columns(const float *p, ptrdiff_t step, int rows, int width, float *out, ptrdiff_t pitch) {
    for (int k = 0; k < width; k++) st(out + k * pitch, gather(p + k, step, rows));
}
#endif
