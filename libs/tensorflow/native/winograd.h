// 3x3 convolutions of stride 1 with zeros around, and their gradients, by minimal filtering (Winograd 1980; Lavin and
// Gray 2015, "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3)): 36 products for 16 places in place of
// 144. In float32, for CPUs with AVX-512 or AVX2.
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

// Of one set of instructions. Each gives false where there was no memory.
struct Kernels {
  // x [N, H, W, C], filter [3, 3, C, K] → y [N, H, W, K]
  bool (*filter)(const Convolution& convolution, const float* x, const float* filter, float* y);
  // dy [N, H, W, K], filter [3, 3, C, K] → dx [N, H, W, C]
  bool (*input_gradient)(const Convolution& convolution, const float* dy, const float* filter, float* dx);
  // x [N, H, W, C], dy [N, H, W, K] → df [3, 3, C, K]
  bool (*filter_gradient)(const Convolution& convolution, const float* x, const float* dy, float* df);
};

namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}

// Those of the longest vectors that this CPU has; null where it has neither AVX-512 nor AVX2.
const Kernels* FilteringKernels();

}  // namespace loom
