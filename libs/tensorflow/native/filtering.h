// The kernels of winograd.h, for the instructions that vectors.h is told of.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

#include "threads.h"
#include "transforms.h"
#include "winograd.h"

namespace loom {
namespace INSTRUCTIONS {

namespace {

// Rows of matrices are so much longer than their channels: of a power of two all would fall on a few lines of a cache.
constexpr int64_t PAD = LANES;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<float, Free>;
Memory Allocate(int64_t floats) {
  return Memory(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((floats / 16 + 1) * 64))));
}
Memory Zeros(int64_t floats) {
  Memory zeros = Allocate(floats);
  if (zeros) std::fill_n(zeros.get(), floats, 0.0f);
  return zeros;
}

// Of a thread, kept from call to call. Null where there is no memory.
float* Scratch(int64_t floats) {
  thread_local Memory memory;
  thread_local int64_t size = 0;
  if (size < floats) {
    memory.reset();
    memory = Allocate(floats);
    size = memory ? floats : 0;
  }
  return memory.get();
}

// As InParallel, with so much scratch for each task; false where there was no memory for it.
template <typename Do>
bool WithScratch(int64_t count, int64_t floats, Do&& task) {
  std::atomic<bool> failed{false};
  InParallel(count, [&](int64_t i) {
    float* scratch = Scratch(floats);
    if (scratch) {
      task(i, scratch);
    } else {
      failed = true;
    }
  });
  return !failed;
}

struct Range {
  int64_t from, to;
  int64_t size() const { return to - from; }
};
// One of `count` parts, as equal as can be, of a whole.
Range PartOf(int64_t whole, int64_t part, int64_t count) {
  return {part * whole / count, (part + 1) * whole / count};
}
int64_t Ceiling(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// Tiles of images of some channels.
struct Tiles {
  int64_t height, width, channels, rows, columns, count;

  Tiles(const Convolution& of, int64_t channels)
      : height(of.height),
        width(of.width),
        channels(channels),
        rows(Ceiling(of.height, TILE)),
        columns(Ceiling(of.width, TILE)),
        count(of.images * rows * columns) {}

  // Where the places of a tile are, `side` x `side` from `before` rows and columns before its own on; `outside` for
  // those that no image has.
  template <int side, int before, typename Float>
  void Find(int64_t tile, Float* images, Float* outside, Float* (&places)[side * side]) const {
    const int64_t top = tile / columns % rows * TILE - before, left = tile % columns * TILE - before;
    Float* image = images + tile / (rows * columns) * height * width * channels;
    for (int64_t i = 0; i < side; i++)
      for (int64_t j = 0; j < side; j++) {
        const int64_t y = top + i, x = left + j;
        const bool inside = y >= 0 && y < height && x >= 0 && x < width;
        places[i * side + j] = inside ? image + (y * width + x) * channels : outside;
      }
  }
};

// Matrices of points, one after the other: each by `point` after the one before, its rows by `row`.
template <typename Float>
struct Points {
  Float* first;
  int64_t point, row;

  Points From(int64_t rows) const { return {first + rows * row, point, row}; }
};

// B' d B of these tiles → [36, tiles, C]
VECTORS void TakeInputs(const Tiles& tiles, const float* x, const float* zeros, Range range, Points<float> points) {
  for (int64_t tile = range.from; tile < range.to; tile++) {
    const float* places[POINTS];
    tiles.Find<SIDE, 1>(tile, x, zeros, places);
    float* to = points.first + (tile - range.from) * points.row;
    for (int64_t c = 0; c < tiles.channels; c += LANES) {
      Vector t[POINTS];
      for (int column = 0; column < SIDE; column++) {
        Vector d[SIDE];
        for (int row = 0; row < SIDE; row++) d[row] = Load(places[row * SIDE + column] + c);
        InputPoints(d, t + column, SIDE);
      }
      for (int row = 0; row < SIDE; row++) {
        Vector v[SIDE];
        InputPoints(t + row * SIDE, v, 1);
        for (int column = 0; column < SIDE; column++)
          Store(to + (row * SIDE + column) * points.point + c, v[column]);
      }
    }
  }
}

// A' M A of [36, tiles, channels k] → these tiles and channels. What no image has is written to `sink`.
VECTORS void GiveOutputs(const Tiles& tiles, Points<const float> points, Range range, Range k, float* y, float* sink) {
  for (int64_t tile = range.from; tile < range.to; tile++) {
    float* places[TILE * TILE];
    tiles.Find<TILE, 0>(tile, y, sink, places);
    for (int64_t channel = k.from; channel < k.to; channel += LANES) {
      const float* from = points.first + (tile - range.from) * points.row + channel - k.from;
      Vector t[TILE * SIDE];
      for (int column = 0; column < SIDE; column++) {
        Vector m[SIDE];
        for (int row = 0; row < SIDE; row++) m[row] = Load(from + (row * SIDE + column) * points.point);
        Outputs(m, t + column, SIDE);
      }
      for (int row = 0; row < TILE; row++) {
        Vector out[TILE];
        Outputs(t + row * SIDE, out, 1);
        for (int column = 0; column < TILE; column++)
          Store(places[row * TILE + column] + channel, out[column]);
      }
    }
  }
}

// A dy A' of these tiles and channels → [36, panels, tiles, PANEL]: `length` tiles a panel, these from `start` on.
VECTORS void TakeOutputGradients(const Tiles& tiles, const float* dy, const float* zeros, Range range, Range k,
                                float* points, int64_t point, int64_t start, int64_t length) {
  for (int64_t tile = range.from; tile < range.to; tile++) {
    const float* places[TILE * TILE];
    tiles.Find<TILE, 0>(tile, dy, zeros, places);
    for (int64_t channel = k.from; channel < k.to; channel += LANES) {
      const int64_t panel = (channel - k.from) / PANEL * PANEL, width = std::min(PANEL, k.size() - panel);
      float* to = points + panel * length + (start + tile - range.from) * width + channel - k.from - panel;
      Vector t[SIDE * TILE];
      for (int column = 0; column < TILE; column++) {
        Vector y[TILE];
        for (int row = 0; row < TILE; row++) y[row] = Load(places[row * TILE + column] + channel);
        OutputPoints(y, t + column, TILE);
      }
      for (int row = 0; row < SIDE; row++) {
        Vector z[SIDE];
        OutputPoints(t + row * TILE, z, 1);
        for (int column = 0; column < SIDE; column++)
          Store(to + (row * SIDE + column) * point, z[column]);
      }
    }
  }
}

// G g G' of a panel of filters → [36, rows, LANES·vectors]: rows are what is summed over, columns what comes out, from k
// on. `turned`: of the filters that an input's gradient is the convolution with, rows and columns exchanged and the
// taps reversed.
VECTORS void TakePanel(const Convolution& of, const float* filter, bool turned, int64_t k, int64_t vectors,
                      float* points, int64_t point) {
  const int64_t rows = turned ? of.out : of.in, tap_size = of.in * of.out;
  for (int64_t row = 0; row < rows; row++)
    for (int64_t v = 0; v < vectors; v++) {
      const int64_t column = k + v * LANES;
      float* to = points + (row * vectors + v) * LANES;
      Vector t[SIDE * TAPS];
      for (int j = 0; j < TAPS; j++) {
        Vector g[TAPS];
        for (int i = 0; i < TAPS; i++) {
          const int tap = i * TAPS + j;
          g[i] = turned ? Gather(filter + (8 - tap) * tap_size + column * of.out + row, of.out)
                        : Load(filter + tap * tap_size + row * of.out + column);
        }
        FilterPoints(g, t + j, TAPS);
      }
      for (int i = 0; i < SIDE; i++) {
        Vector u[SIDE];
        FilterPoints(t + i * TAPS, u, 1);
        for (int j = 0; j < SIDE; j++) Store(to + (i * SIDE + j) * point, u[j]);
      }
    }
}

// G' W G of the sums of `parts` times [36, rows, columns] → the filters of these rows and columns, each from its first
// on.
VECTORS void GiveFilters(const Convolution& of, Points<const float> points, int64_t parts, Range c, Range k, float* df) {
  for (int64_t row = c.from; row < c.to; row++)
    for (int64_t column = k.from; column < k.to; column += LANES) {
      const float* from = points.first + (row - c.from) * points.row + column - k.from;
      Vector t[TAPS * SIDE];
      for (int j = 0; j < SIDE; j++) {
        Vector w[SIDE];
        for (int i = 0; i < SIDE; i++) {
          const float* each = from + (i * SIDE + j) * points.point;
          w[i] = Load(each);
          for (int64_t part = 1; part < parts; part++) w[i] += Load(each + part * POINTS * points.point);
        }
        FilterTaps(w, t + j, SIDE);
      }
      for (int i = 0; i < TAPS; i++) {
        Vector g[TAPS];
        FilterTaps(t + i * SIDE, g, 1);
        for (int j = 0; j < TAPS; j++)
          Store(df + ((i * TAPS + j) * of.in + row) * of.out + column, g[j]);
      }
    }
}

// Columns of a matrix, panel by panel.
template <typename Do>
void ForPanels(Range columns, Do&& panel) {
  for (int64_t k = columns.from; k < columns.to; k += PANEL) panel(k, std::min(PANEL, columns.to - k) / LANES);
}

// x [N, H, W, C] → y [N, H, W, K] by a filter, or by the one turned round, where C is the convolution's `out`.
struct Pass {
  const Convolution& of;
  const float *x, *filter;
  bool turned;
  float* y;
  Tiles inputs, outputs;

  int64_t in() const { return inputs.channels; }
  int64_t out() const { return outputs.channels; }
};

// A block of tiles of many channels; of few channels twice as many fit into a core's cache.
constexpr int64_t TILES = LANES == 16 ? ROWS : 2 * ROWS;

// For many tiles: the points of all filters are kept, and tiles come by as many as a core's own cache holds.
bool ByTiles(const Pass& pass) {
  const int64_t in = pass.in(), out = pass.out(), count = pass.inputs.count, filters = in * out;
  const Memory kept = Allocate(POINTS * filters), zeros = Zeros(in);
  if (!kept || !zeros) return false;
  InParallel(Ceiling(out, PANEL), [&](int64_t panel) {
    const int64_t k = panel * PANEL;
    TakePanel(pass.of, pass.filter, pass.turned, k, std::min(PANEL, out - k) / LANES, kept.get() + k * in, filters);
  });
  const int64_t most = in + out <= 128 ? 2 * TILES : TILES, threads = Threads();
  const int64_t blocks = Ceiling(Ceiling(count, most), threads) * threads;
  const int64_t taken = most * (in + PAD), given = most * (out + PAD);
  return WithScratch(blocks, POINTS * (taken + given) + out, [&](int64_t block, float* scratch) {
    const Points<float> inputs{scratch, taken, in + PAD}, outputs{scratch + POINTS * taken, given, out + PAD};
    const Range range = PartOf(count, block, blocks);
    TakeInputs(pass.inputs, pass.x, zeros.get(), range, inputs);
    for (int64_t i = 0; i < POINTS; i++)
      ForPanels({0, out}, [&](int64_t k, int64_t vectors) {
        Multiply(inputs.first + i * taken, inputs.row, 1, kept.get() + i * filters + k * in, vectors, in,
                 outputs.first + i * given + k, outputs.row, range.size(), false);
      });
    GiveOutputs(pass.outputs, {outputs.first, given, outputs.row}, range, {0, out}, pass.y,
                outputs.first + POINTS * given);
  });
}

// For few tiles: the points of all of these are kept, and filters come by panels.
bool ByFilters(const Pass& pass) {
  const int64_t in = pass.in(), out = pass.out(), count = pass.inputs.count;
  const int64_t row = in + PAD, taken = count * row, filters = in * PANEL, given = count * PANEL;
  const Memory kept = Allocate(POINTS * taken), zeros = Zeros(in);
  if (!kept || !zeros) return false;
  const Points<float> inputs{kept.get(), taken, row};
  const int64_t groups = Ceiling(count, ROWS);
  InParallel(groups, [&](int64_t group) {
    const Range range = PartOf(count, group, groups);
    TakeInputs(pass.inputs, pass.x, zeros.get(), range, inputs.From(range.from));
  });
  return WithScratch(Ceiling(out, PANEL), POINTS * (filters + given) + out, [&](int64_t panel, float* scratch) {
    float *outputs = scratch + POINTS * filters, *sink = outputs + POINTS * given;
    const int64_t k = panel * PANEL, vectors = std::min(PANEL, out - k) / LANES;
    TakePanel(pass.of, pass.filter, pass.turned, k, vectors, scratch, filters);
    for (int64_t i = 0; i < POINTS; i++)
      Multiply(kept.get() + i * taken, row, 1, scratch + i * filters, vectors, in, outputs + i * given, PANEL, count,
               false);
    GiveOutputs(pass.outputs, {outputs, given, PANEL}, {0, count}, {k, k + vectors * LANES}, pass.y, sink);
  });
}

bool Convolve(const Pass& pass) { return pass.out() > pass.inputs.count ? ByFilters(pass) : ByTiles(pass); }

// For few tiles: the points of all of these are kept, and each filter's are summed at once.
bool SumAtOnce(const Convolution& of, const float* x, const float* dy, const float* zeros, float* df) {
  constexpr int64_t CHANNELS = 4 * ROWS;
  const Tiles tiles(of, of.in), gradients(of, of.out);
  const int64_t count = tiles.count, row = of.in + PAD, taken = count * row, given = count * of.out;
  const Memory inputs = Allocate(POINTS * taken), outputs = Allocate(POINTS * given);
  if (!inputs || !outputs) return false;
  const int64_t groups = Ceiling(count, ROWS);
  InParallel(groups, [&](int64_t group) {
    const Range range = PartOf(count, group, groups);
    TakeInputs(tiles, x, zeros, range, Points<float>{inputs.get(), taken, row}.From(range.from));
    TakeOutputGradients(gradients, dy, zeros, range, {0, of.out}, outputs.get(), given, range.from, count);
  });
  const int64_t panels = Ceiling(of.out, PANEL), parts = Ceiling(of.in, CHANNELS);
  return WithScratch(panels * parts, POINTS * CHANNELS * PANEL, [&](int64_t task, float* sums) {
    const int64_t k = task / parts * PANEL, vectors = std::min(PANEL, of.out - k) / LANES;
    const Range c = PartOf(of.in, task % parts, parts);
    for (int64_t i = 0; i < POINTS; i++)
      Multiply(inputs.get() + i * taken + c.from, 1, row, outputs.get() + i * given + k * count, vectors, count,
               sums + i * CHANNELS * PANEL, PANEL, c.size(), false);
    GiveFilters(of, {sums, CHANNELS * PANEL, PANEL}, 1, c, {k, k + vectors * LANES}, df);
  });
}

// For many tiles: these come by, and add to the sums of all filters. Of a fixed number of parts, so that the sums are
// the same whatever the number of threads. Where there are many filters a task has channels of its own, and all of x.
bool SumInParts(const Convolution& of, const float* x, const float* dy, const float* zeros, float* df) {
  constexpr int64_t TASKS = 8, CHANNELS = 64;
  const Tiles tiles(of, of.in), gradients(of, of.out);
  const int64_t count = tiles.count, filters = of.in * of.out, block = of.in <= 64 ? 64 : 128;
  const int64_t ranges = std::min(TASKS, Ceiling(of.out, CHANNELS)), parts = std::min(TASKS / ranges, count);
  const int64_t most = Ceiling(of.out / LANES, ranges) * LANES, row = of.in + PAD, taken = block * row;
  const Memory sums = Allocate(parts * POINTS * filters);
  if (!sums) return false;
  const bool done = WithScratch(parts * ranges, POINTS * block * (row + most), [&](int64_t task, float* scratch) {
    const Range vectors = PartOf(of.out / LANES, task % ranges, ranges), part = PartOf(count, task / ranges, parts);
    const Range k{vectors.from * LANES, vectors.to * LANES};
    float *outputs = scratch + POINTS * taken, *to = sums.get() + task / ranges * POINTS * filters;
    for (int64_t from = part.from; from < part.to; from += block) {
      const Range range{from, std::min(from + block, part.to)};
      const int64_t given = range.size() * k.size();
      TakeInputs(tiles, x, zeros, range, {scratch, taken, row});
      TakeOutputGradients(gradients, dy, zeros, range, k, outputs, given, 0, range.size());
      for (int64_t i = 0; i < POINTS; i++)
        ForPanels(k, [&](int64_t column, int64_t width) {
          Multiply(scratch + i * taken, 1, row, outputs + i * given + (column - k.from) * range.size(), width,
                   range.size(), to + i * filters + column, of.out, of.in, from > part.from);
        });
    }
  });
  if (!done) return false;
  InParallel(of.in, [&](int64_t c) {
    GiveFilters(of, {sums.get() + c * of.out, filters, of.out}, parts, {c, c + 1}, {0, of.out}, df);
  });
  return true;
}

}  // namespace

const Kernels kernels = {
    [](const Convolution& of, const float* x, const float* filter, float* y) {
      return Convolve({of, x, filter, false, y, Tiles(of, of.in), Tiles(of, of.out)});
    },
    [](const Convolution& of, const float* dy, const float* filter, float* dx) {
      return Convolve({of, dy, filter, true, dx, Tiles(of, of.out), Tiles(of, of.in)});
    },
    [](const Convolution& of, const float* x, const float* dy, float* df) {
      const Memory zeros = Zeros(std::max(of.in, of.out));
      if (!zeros) return false;
      const int64_t count = Tiles(of, of.in).count;
      const bool few = count * (of.in + of.out) <= 2 * of.in * of.out;
      return few ? SumAtOnce(of, x, dy, zeros.get(), df) : SumInParts(of, x, dy, zeros.get(), df);
    },
};

}  // namespace INSTRUCTIONS
}  // namespace loom
