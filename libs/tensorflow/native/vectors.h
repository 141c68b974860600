// Vectors of AVX-512, and products of matrices that stay in a core's caches.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

// Not by the compiler's options: the rest of the binding, which looks whether the CPU can, runs on all.
#define AVX512 __attribute__((target("avx512f")))

namespace loom {

using Vector = __m512;
constexpr int64_t LANES = 16;
// Columns of a product's panel, but for the last one of an odd number of vectors.
constexpr int64_t PANEL = 2 * LANES;
// Rows whose sums stay in registers: 28 of 32.
constexpr int64_t ROWS = 14;

AVX512 inline Vector All(float value) { return _mm512_set1_ps(value); }
// a · b + c
AVX512 inline Vector Fused(float a, Vector b, Vector c) { return _mm512_fmadd_ps(All(a), b, c); }

// sums [R, 16·V] (+)= a [R, depth] · b [depth, 16·V]: rows of `a` and of `sums` apart by `row` and `apart`,
// columns of `a` by `step`; `b` is one panel.
template <int R, int V>
AVX512 void Product(const float* a, int64_t row, int64_t step, const float* b, int64_t depth, float* sums,
                    int64_t apart, bool adds) {
  Vector sum[R][V];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++)
      sum[r][v] = adds ? _mm512_loadu_ps(sums + r * apart + v * LANES) : _mm512_setzero_ps();
  for (int64_t i = 0; i < depth; i++, a += step, b += V * LANES) {
    Vector columns[V];
    for (int v = 0; v < V; v++) columns[v] = _mm512_loadu_ps(b + v * LANES);
    for (int r = 0; r < R; r++) {
      const Vector one = _mm512_set1_ps(a[r * row]);
      for (int v = 0; v < V; v++) sum[r][v] = _mm512_fmadd_ps(one, columns[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) _mm512_storeu_ps(sums + r * apart + v * LANES, sum[r][v]);
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

// Columns [from, to) of a matrix, panel by panel.
template <typename Do>
void ForPanels(int64_t from, int64_t to, Do&& panel) {
  for (int64_t k = from; k < to; k += PANEL) panel(k, std::min(PANEL, to - k) / LANES);
}

}  // namespace loom
