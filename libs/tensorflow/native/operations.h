// Operations that TensorFlow has no kernels of: convolutions by minimal filtering (winograd.h), on CPUs.
//
//   LoomConvolution(images [N, H, W, C], filter [3, 3, C, K]) → [N, H, W, K]
//   LoomConvolutionInputGradient(gradient [N, H, W, K], filter [3, 3, C, K]) → [N, H, W, C]
//   LoomConvolutionFilterGradient(images [N, H, W, C], gradient [N, H, W, K]) → [3, 3, C, K]

#pragma once

namespace loom {

// Makes them known to TensorFlow, for this process and once.
void RegisterOperations();

}  // namespace loom
