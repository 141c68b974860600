// 3x3 convolutions of stride 1 with zeros around, and their gradients, by minimal filtering (Winograd 1980; Lavin and
// Gray 2015, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3)): 36 products for 16 places in place of
// 144. In float32, for CPUs with AVX-512.
//
// Images are [N, H, W, C], filters [3, 3, C, K]. A result does not depend on the number of threads. It differs from a
// sum of products by some 1e-6 of the largest number in it.

#pragma once

#include <cstdint>

namespace loom {

struct Convolution {
  int64_t images, height, width;
  // Channels of what goes in, and of what comes out.
  int64_t in, out;
};

// Whether this CPU and these channels, which have to be by sixteens, can.
bool CanFilter(const Convolution& convolution);

// Whether there are places and channels enough, and not too many channels, for it to take less time than a sum of
// products.
bool IsWorthWhile(const Convolution& convolution);

// x [N, H, W, C], filter [3, 3, C, K] → y [N, H, W, K]. This and all below: false where there was no memory.
bool Filter(const Convolution& convolution, const float* x, const float* filter, float* y);

// dy [N, H, W, K], filter [3, 3, C, K] → dx [N, H, W, C]
bool InputGradient(const Convolution& convolution, const float* dy, const float* filter, float* dx);

// x [N, H, W, C], dy [N, H, W, K] → df [3, 3, C, K]
bool FilterGradient(const Convolution& convolution, const float* x, const float* dy, float* df);

}  // namespace loom
