// The transforms of minimal filtering, F(4x4, 3x3), in one dimension: between a tile of y (4 places), the tile of x that
// it is computed from (6), a filter (3), and their points (6). These are the matrices B', A', A, G and G' of Lavin and
// Gray's section 4, by Cook and Toom's construction from the points 0, ±P, ±Q and infinity. P and Q are exact in
// float32, and results by them are two to five times as near to sums of products as by the usual 1 and 2.
//
// `apart`: distance of the vectors that are written; those that are read lie together.

#pragma once

#include "vectors.h"

namespace loom {
namespace INSTRUCTIONS {

// Sides of a filter, of a tile of y, and of its tile of x; in how many points both have their products.
constexpr int TAPS = 3, TILE = 4, SIDE = TILE + TAPS - 1;
constexpr int64_t POINTS = SIDE * SIDE;

constexpr float P = 0.625f, Q = 1.5f, P2 = P * P, Q2 = Q * Q, P3 = P * P2, Q3 = Q * Q2;
constexpr float N0 = 1 / (P2 * Q2), NP = 1 / (2 * P2 * (P2 - Q2)), NQ = 1 / (2 * Q2 * (Q2 - P2));

VECTORS inline void InputPoints(const Vector* d, Vector* v, int apart) {
  const Vector even_p = Fused(-Q2, d[2], d[4]), odd_p = Fused(-Q2, d[1], d[3]);
  const Vector even_q = Fused(-P2, d[2], d[4]), odd_q = Fused(-P2, d[1], d[3]);
  v[0] = Fused(P2 * Q2, d[0], Fused(-(P2 + Q2), d[2], d[4]));
  v[apart] = Fused(P, odd_p, even_p);
  v[2 * apart] = Fused(-P, odd_p, even_p);
  v[3 * apart] = Fused(Q, odd_q, even_q);
  v[4 * apart] = Fused(-Q, odd_q, even_q);
  v[5 * apart] = Fused(P2 * Q2, d[1], Fused(-(P2 + Q2), d[3], d[5]));
}
VECTORS inline void Outputs(const Vector* m, Vector* y, int apart) {
  const Vector even_p = m[1] + m[2], odd_p = m[1] - m[2];
  const Vector even_q = m[3] + m[4], odd_q = m[3] - m[4];
  y[0] = m[0] + even_p + even_q;
  y[apart] = Fused(P, odd_p, All(Q) * odd_q);
  y[2 * apart] = Fused(P2, even_p, All(Q2) * even_q);
  y[3 * apart] = Fused(P3, odd_p, Fused(Q3, odd_q, m[5]));
}
VECTORS inline void OutputPoints(const Vector* y, Vector* z, int apart) {
  const Vector even_p = Fused(P2, y[2], y[0]), odd_p = Fused(P2, y[3], y[1]);
  const Vector even_q = Fused(Q2, y[2], y[0]), odd_q = Fused(Q2, y[3], y[1]);
  z[0] = y[0];
  z[apart] = Fused(P, odd_p, even_p);
  z[2 * apart] = Fused(-P, odd_p, even_p);
  z[3 * apart] = Fused(Q, odd_q, even_q);
  z[4 * apart] = Fused(-Q, odd_q, even_q);
  z[5 * apart] = y[3];
}
VECTORS inline void FilterPoints(const Vector* g, Vector* u, int apart) {
  const Vector even_p = All(NP) * Fused(P2, g[2], g[0]), even_q = All(NQ) * Fused(Q2, g[2], g[0]);
  u[0] = All(N0) * g[0];
  u[apart] = Fused(NP * P, g[1], even_p);
  u[2 * apart] = Fused(-NP * P, g[1], even_p);
  u[3 * apart] = Fused(NQ * Q, g[1], even_q);
  u[4 * apart] = Fused(-NQ * Q, g[1], even_q);
  u[5 * apart] = g[2];
}
VECTORS inline void FilterTaps(const Vector* w, Vector* g, int apart) {
  const Vector even_p = All(NP) * (w[1] + w[2]), even_q = All(NQ) * (w[3] + w[4]);
  g[0] = Fused(N0, w[0], even_p + even_q);
  g[apart] = Fused(NP * P, w[1] - w[2], All(NQ * Q) * (w[3] - w[4]));
  g[2 * apart] = Fused(P2, even_p, Fused(Q2, even_q, w[5]));
}

}  // namespace INSTRUCTIONS
}  // namespace loom
