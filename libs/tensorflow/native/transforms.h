// The transforms of minimal filtering, F(4x4, 3x3), in one dimension: between a tile of y (4 places), the tile of x that
// it is computed from (6), a filter (3), and their points (6). These are the matrices B', A', A, G and G' of Lavin and
// Gray's section 4, by Cook and Toom's construction from the points 0, ±P, ±Q and infinity. P and Q are exact in
// float32, and results by them are two to five times as near to sums of products as by the usual 1 and 2.
//
// `by` and `apart`: distances of the vectors that are read, and of those that are written.

#pragma once

#include "vectors.h"

namespace loom {
namespace INSTRUCTIONS {

// Sides of a filter, of a tile of y, and of its tile of x; in how many points both have their products.
constexpr int TAPS = 3, TILE = 4, SIDE = TILE + TAPS - 1;
constexpr int64_t POINTS = SIDE * SIDE;

constexpr float P = 0.625f, Q = 1.5f, P2 = P * P, Q2 = Q * Q, P3 = P * P2, Q3 = Q * Q2;
constexpr float N0 = 1 / (P2 * Q2), NP = 1 / (2 * P2 * (P2 - Q2)), NQ = 1 / (2 * Q2 * (Q2 - P2));

VECTORS inline void InputPoints(const Vector* d, int by, Vector* v, int apart) {
  const Vector even_p = Fused(-Q2, d[2 * by], d[4 * by]), odd_p = Fused(-Q2, d[by], d[3 * by]);
  const Vector even_q = Fused(-P2, d[2 * by], d[4 * by]), odd_q = Fused(-P2, d[by], d[3 * by]);
  v[0] = Fused(P2 * Q2, d[0], Fused(-(P2 + Q2), d[2 * by], d[4 * by]));
  v[apart] = Fused(P, odd_p, even_p);
  v[2 * apart] = Fused(-P, odd_p, even_p);
  v[3 * apart] = Fused(Q, odd_q, even_q);
  v[4 * apart] = Fused(-Q, odd_q, even_q);
  v[5 * apart] = Fused(P2 * Q2, d[by], Fused(-(P2 + Q2), d[3 * by], d[5 * by]));
}
VECTORS inline void Outputs(const Vector* m, int by, Vector* y, int apart) {
  const Vector even_p = m[by] + m[2 * by], odd_p = m[by] - m[2 * by];
  const Vector even_q = m[3 * by] + m[4 * by], odd_q = m[3 * by] - m[4 * by];
  y[0] = m[0] + even_p + even_q;
  y[apart] = Fused(P, odd_p, All(Q) * odd_q);
  y[2 * apart] = Fused(P2, even_p, All(Q2) * even_q);
  y[3 * apart] = Fused(P3, odd_p, Fused(Q3, odd_q, m[5 * by]));
}
VECTORS inline void OutputPoints(const Vector* y, int by, Vector* z, int apart) {
  const Vector even_p = Fused(P2, y[2 * by], y[0]), odd_p = Fused(P2, y[3 * by], y[by]);
  const Vector even_q = Fused(Q2, y[2 * by], y[0]), odd_q = Fused(Q2, y[3 * by], y[by]);
  z[0] = y[0];
  z[apart] = Fused(P, odd_p, even_p);
  z[2 * apart] = Fused(-P, odd_p, even_p);
  z[3 * apart] = Fused(Q, odd_q, even_q);
  z[4 * apart] = Fused(-Q, odd_q, even_q);
  z[5 * apart] = y[3 * by];
}
VECTORS inline void FilterPoints(const Vector* g, int by, Vector* u, int apart) {
  const Vector even_p = All(NP) * Fused(P2, g[2 * by], g[0]), even_q = All(NQ) * Fused(Q2, g[2 * by], g[0]);
  u[0] = All(N0) * g[0];
  u[apart] = Fused(NP * P, g[by], even_p);
  u[2 * apart] = Fused(-NP * P, g[by], even_p);
  u[3 * apart] = Fused(NQ * Q, g[by], even_q);
  u[4 * apart] = Fused(-NQ * Q, g[by], even_q);
  u[5 * apart] = g[2 * by];
}
VECTORS inline void FilterTaps(const Vector* w, int by, Vector* g, int apart) {
  const Vector even_p = All(NP) * (w[by] + w[2 * by]), even_q = All(NQ) * (w[3 * by] + w[4 * by]);
  g[0] = Fused(N0, w[0], even_p + even_q);
  g[apart] = Fused(NP * P, w[by] - w[2 * by], All(NQ * Q) * (w[3 * by] - w[4 * by]));
  g[2 * apart] = Fused(P2, even_p, Fused(Q2, even_q, w[5 * by]));
}

}  // namespace INSTRUCTIONS
}  // namespace loom
