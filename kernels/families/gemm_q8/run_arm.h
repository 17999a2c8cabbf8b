// The loops of the gemm_q8 units for Arm around their tiles: blocks of rows that stay in the L1 while every panel passes by.
#pragma once
#include "kernel.h"
#include "isa/arm/tile_neon.h"
#include "pack_arm.h"

namespace sterna {
namespace {

using Panel = PanelNeon<int8_t>;

struct BlocksArm {
  size_t rows, depth;       // of a block; of a panel's channel, bytes
  size_t most;              // channels of the widest panel
  const int32_t* bias;      // as the tiles want it
  size_t biases = 1;        // of a channel
};

// Calls run(requant, panel, width, row, end) for each block of rows [row, end) and each panel of `width` channels.
template <typename Run>
inline __attribute__((always_inline)) void RunBlocksArm(const GemmQ8Args* args, const BlocksArm& blocks, Run run) {
  const RequantNeon requant = MakeRequantNeon(args->requant, args->wide);
  const bool wide = args->wide.offset != nullptr;
  const float* reach = static_cast<const float*>(args->packed) + BiasBytesArm(args->n) / sizeof(float);
  const int8_t* panels = static_cast<const int8_t*>(args->packed) + PanelsOffsetArm(args->n);
  for (size_t row = 0; row < args->m; row += blocks.rows) {
    const size_t end = row + blocks.rows < args->m ? row + blocks.rows : args->m;
    for (size_t o = 0, width = 0; o < args->n; o += width) {
      width = PanelWidthArm(args->n, o, blocks.most);
      const size_t exist = args->n - o < width ? args->n - o : width;
      const FinishNeon finish = wide ? FinishNeon::kWide : FinishOf(args->requant, o, exist, width, reach + o);
      const Panel panel{panels + o * blocks.depth, blocks.bias + blocks.biases * o, wide ? nullptr : args->requant.scale + o, o, exist, finish};
      run(requant, panel, width, row, end);
    }
  }
}

}  // namespace
}  // namespace sterna
