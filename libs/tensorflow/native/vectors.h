// Vectors, and products of matrices that stay in a core's caches. Whoever includes this says of how many numbers by
// LOOM_LANES: 16 (AVX-512), or 8 (AVX2). All of it is in a namespace of that set of instructions.

#pragma once

#include <immintrin.h>

#include <array>
#include <cstdint>
#include <utility>

// Instructions are named function by function, not by the compiler's options: what looks whether the CPU has them runs
// on all.
#if LOOM_LANES == 16
#define INSTRUCTIONS avx512
#define VECTORS __attribute__((target("avx512f")))
#else
#define INSTRUCTIONS avx2
#define VECTORS __attribute__((target("avx2,fma")))
#endif

namespace loom {
namespace INSTRUCTIONS {

constexpr int64_t LANES = LOOM_LANES;
// Columns of a product's panel, but for the last one of an odd number of vectors.
constexpr int64_t PANEL = 2 * LANES;

#if LOOM_LANES == 16
using Vector = __m512;
// Rows whose sums stay in registers: 28 of 32.
constexpr int64_t ROWS = 14;

VECTORS inline Vector All(float value) { return _mm512_set1_ps(value); }
VECTORS inline Vector Load(const float* from) { return _mm512_loadu_ps(from); }
VECTORS inline void Store(float* to, Vector value) { _mm512_storeu_ps(to, value); }
VECTORS inline Vector Fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// Numbers that are `apart` from each other.
VECTORS inline Vector Gather(const float* from, int64_t apart) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_i32gather_ps(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(apart))), from, 4);
}
#else
using Vector = __m256;
// Rows whose sums stay in registers: 12 of 16.
constexpr int64_t ROWS = 6;

VECTORS inline Vector All(float value) { return _mm256_set1_ps(value); }
VECTORS inline Vector Load(const float* from) { return _mm256_loadu_ps(from); }
VECTORS inline void Store(float* to, Vector value) { _mm256_storeu_ps(to, value); }
VECTORS inline Vector Fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
VECTORS inline Vector Gather(const float* from, int64_t apart) {
  const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
  return _mm256_i32gather_ps(from, _mm256_mullo_epi32(lanes, _mm256_set1_epi32(static_cast<int>(apart))), 4);
}
#endif
// a · b + c
VECTORS inline Vector Fused(float a, Vector b, Vector c) { return Fused(All(a), b, c); }

// With L lanes: sums [R, L·V] (+)= a [R, depth] · b [depth, L·V]: rows of `a` and of `sums` apart by `row` and `apart`,
// columns of `a` by `step`; `b` is one panel.
template <int R, int V>
VECTORS void Product(const float* a, int64_t row, int64_t step, const float* b, int64_t depth, float* sums,
                    int64_t apart, bool adds) {
  Vector sum[R][V];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++)
      sum[r][v] = adds ? Load(sums + r * apart + v * LANES) : All(0);
  for (int64_t i = 0; i < depth; i++, a += step, b += V * LANES) {
    Vector columns[V];
    for (int v = 0; v < V; v++) columns[v] = Load(b + v * LANES);
    for (int r = 0; r < R; r++) {
      const Vector one = All(a[r * row]);
      for (int v = 0; v < V; v++) sum[r][v] = Fused(one, columns[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) Store(sums + r * apart + v * LANES, sum[r][v]);
}
using Kernel = decltype(&Product<1, 1>);
template <int V, int... R>
constexpr std::array<Kernel, sizeof...(R)> KernelsOf(std::integer_sequence<int, R...>) {
  return {&Product<R + 1, V>...};
}
constexpr std::array<std::array<Kernel, ROWS>, 2> KERNELS = {KernelsOf<1>(std::make_integer_sequence<int, ROWS>()),
                                                             KernelsOf<2>(std::make_integer_sequence<int, ROWS>())};

// As above, of any number of rows, in parts as equal as can be.
inline void Multiply(const float* a, int64_t row, int64_t step, const float* b, int64_t vectors, int64_t depth,
                     float* sums, int64_t apart, int64_t rows, bool adds) {
  const int64_t parts = (rows + ROWS - 1) / ROWS;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t from = part * rows / parts, to = (part + 1) * rows / parts;
    KERNELS[vectors - 1][to - from - 1](a + from * row, row, step, b, depth, sums + from * apart, apart, adds);
  }
}

}  // namespace INSTRUCTIONS
}  // namespace loom
