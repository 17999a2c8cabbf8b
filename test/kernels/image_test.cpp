// The pixel kernels between guard pages: nothing outside the pictures is read or written, and the bytes are the same on every CPU.
// What they compute is tested against its definition in image.test.ts.
#include "image/image.h"

#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::Border;
using sterna::CanvasRef;
using sterna::ImageRef;
using sterna::RegionF;

// FNV-1a, over everything a test draws.
class Checksum {
 public:
  void Add(const uint8_t* bytes, size_t n) {
    for (size_t i = 0; i < n; ++i) value_ = (value_ ^ bytes[i]) * 16777619u;
  }
  uint32_t value() const { return value_; }

 private:
  uint32_t value_ = 2166136261u;
};

// A picture that ends at a faulting page.
struct Picture {
  Guarded memory;
  ImageRef ref;

  Picture(size_t width, size_t height, size_t padding, Random& random)
      : memory((height - 1) * (width * 3 + padding) + width * 3), ref{memory.data(), width, height, width * 3 + padding} {
    for (size_t i = 0; i < memory.size(); ++i) memory.data()[i] = static_cast<uint8_t>(random.Next());
  }
};

template <typename Draw>
void OnCanvas(size_t width, size_t height, size_t channels, Checksum* sum, Draw draw) {
  const Guarded memory(width * height * channels);
  draw(CanvasRef{memory.data(), width, height, width * channels, channels});
  sum->Add(memory.data(), memory.size());
}

constexpr size_t kSizes[][2] = {{1, 1}, {1, 7}, {7, 1}, {2, 2}, {16, 5}, {33, 17}, {64, 48}};

void ExpectChecksum(const Checksum& sum, uint32_t expected) {
  EXPECT_MSG(sum.value() == expected, Format("the bytes differ from other CPUs': checksum %08x instead of %08x", sum.value(), expected));
}

}  // namespace

STERNA_TEST(resized_pictures_stay_within_their_memory) {
  Random random(8);
  Checksum sum;
  for (const auto& from : kSizes) {
    const Picture picture(from[0], from[1], from[0] % 2 == 0 ? 0 : 5, random);
    const double w = static_cast<double>(from[0]), h = static_cast<double>(from[1]);
    const RegionF regions[] = {{0, 0, w, h}, {-3.5, -2, w + 7, h + 9}, {w / 3, h / 3, w / 2, h / 2}, {w, h, 5, 5}, {-1e6, 0, 100, 100}, {0, 0, 262144, 262144}};
    for (const auto& to : kSizes) {
      for (const RegionF& region : regions) {
        for (const Border border : {Border::kBlack, Border::kEdge}) {
          for (const size_t channels : {1, 3}) {
            OnCanvas(to[0], to[1], channels, &sum, [&](const CanvasRef& canvas) { ResizeImage(picture.ref, region, border, canvas); });
          }
        }
      }
    }
  }
  ExpectChecksum(sum, 0xf60aad3a);
}

STERNA_TEST(warped_pictures_stay_within_their_memory) {
  Random random(9);
  Checksum sum;
  const double matrices[][6] = {{1, 0, 0, 0, 1, 0}, {0.8, -0.6, 3.3, 0.6, 0.8, -2.7}, {-1, 0, 10, 0, -1, 10}, {1e6, 1e6, -1e6, -1e6, 1e6, 1e6}, {0.01, 0, 0.5, 0, 0.01, 0.5}};
  for (const auto& from : kSizes) {
    const Picture picture(from[0], from[1], from[0] % 2 == 0 ? 0 : 5, random);
    for (const auto& to : kSizes) {
      for (const auto& matrix : matrices) {
        for (const size_t channels : {1, 3}) {
          OnCanvas(to[0], to[1], channels, &sum, [&](const CanvasRef& canvas) { WarpAffine(picture.ref, matrix, canvas); });
        }
      }
    }
  }
  ExpectChecksum(sum, 0x5c6379f8);
}

STERNA_TEST(grey_cells_stay_within_their_memory) {
  Random random(10);
  Checksum sum;
  for (const auto& from : kSizes) {
    const Picture picture(from[0], from[1], 3, random);
    for (const size_t factor : {1, 2, 5, 8, 16}) {
      const Guarded cells((from[0] / factor) * (from[1] / factor));
      sterna::GreyCells(picture.ref, factor, 1, cells.data());
      sum.Add(cells.data(), cells.size());
      sterna::GreyCells(picture.ref, factor, factor, cells.data());  // the first row of each cell
      if (factor > 2) sterna::GreyCells(picture.ref, factor, 3, cells.data());
    }
  }
  ExpectChecksum(sum, 0x23e964a8);
}

}  // namespace sterna_test
