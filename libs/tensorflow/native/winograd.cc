#include "winograd.h"

#include <cstdlib>
#include <string>

namespace loom {

namespace {

const Kernels* Find() {
#if defined(__x86_64__)
  // As oneDNN reads it: instructions that it is not to use are not used here.
  const char* said = std::getenv("ONEDNN_MAX_CPU_ISA");
  const std::string most = said ? said : "ALL";
  if (most == "SSE41" || most == "AVX") return nullptr;
  const bool may = most.rfind("AVX2", 0) != 0;
  if (may && __builtin_cpu_supports("avx512f")) return &avx512::kernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &avx2::kernels;
#endif
  return nullptr;
}

}  // namespace

const Kernels* FilteringKernels() {
  static const Kernels* const kernels = Find();
  return kernels;
}

bool CanFilter(const Convolution& of) {
  constexpr int64_t CHANNELS = 16;
  return FilteringKernels() && of.in > 0 && of.out > 0 && of.in % CHANNELS == 0 && of.out % CHANNELS == 0;
}

bool IsWorthWhile(const Convolution& of) {
  constexpr int64_t TILE = 4, POINTS = 36, TAPS = 9;
  const int64_t tiles = of.images * ((of.height + TILE - 1) / TILE) * ((of.width + TILE - 1) / TILE);
  // A tile's points may be more than its places take directly, where few of these are in an image; and what is done
  // beside products takes a third of the time.
  const bool saves = 3 * POINTS * tiles < 2 * TAPS * of.images * of.height * of.width;
  // Of 16 channels to 16 the transforms are more than the products. Points of filters take four times the memory of
  // filters.
  return saves && tiles >= 4 && of.in * of.out > 16 * 16 && of.in * of.out <= 1 << 20;
}

}  // namespace loom
