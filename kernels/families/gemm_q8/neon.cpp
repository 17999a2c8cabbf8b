// gemm_q8/neon: quantized GEMM for ARMv8.0 (Cortex-A53, A72, A73), bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// Tile 2 rows x 32 channels: 16 accumulators + 4 registers of A + 4 of B + 8 of products = 32. Two consecutive k of a channel are
// neighbours in B, and a pair of A is broadcast, by ld2r while it is loaded: smull and smlal sum two products in 16 bits, safe because
// |w| <= 127 (2 * 128 * 127 = 32512), and sadalp adds neighbours into 32 bits. Per 8 k: 64 smull and smlal, 32 sadalp, 4 ld2r, 4 ld1 and 10
// of loop control for 512 products = 0.223 instructions a MAC, of which 0.1875 multiply and add. An in-order core needs eight chains,
// loads ahead of their use, and no pointer moved between multiplications (tools/mca.sh); ld4r and ld1 that move their pointers
// would need 0.203.
// The alternative, k along the lanes of every accumulator, saves the broadcasts and pays for them with 12 addp in each tile of 16
// outputs: worse below K = 130, where MobileNets have most of their outputs.
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/tile_neon.h"
#include "pack_arm.h"
#include "run_arm.h"

namespace sterna {
namespace {

constexpr size_t kStep = 8;                // k of one pass through the loop
constexpr PanelLayoutArm kLayout{32, kStep, 4, 2};
constexpr size_t kBlockBytes = 16 * 1024;  // rows of A that stay in half an L1 while every panel passes by

// Two rows of 8 * V channels: GCC spills a tile that needs all registers, so this loop is assembly. v0, v1 and v2, v3: 4 k of row 0 and of
// row 1, broadcast in pairs; v4..v7: 4 k of 16 channels; v8..v15: sums of two products; v16..v23 and v24..v31: the accumulators of both
// rows. Every block of channels loads what the next one needs, as soon as it has multiplied.

// The first (mull, rows in v0 and v2) or second (mlal, v1 and v3) pair of k, of 8 channels: low and high half of row 0, then of row 1.
#define STERNA_PAIR(mull, a0, a1, w, s0, s1, s2, s3) \
  mull " " s0 ".8h, " w ".8b, " a0 ".8b\n\t"          \
  mull "2 " s1 ".8h, " w ".16b, " a0 ".16b\n\t"       \
  mull " " s2 ".8h, " w ".8b, " a1 ".8b\n\t"          \
  mull "2 " s3 ".8h, " w ".16b, " a1 ".16b\n\t"
#define STERNA_FIRST(w, s0, s1, s2, s3) STERNA_PAIR("smull", "v0", "v2", w, s0, s1, s2, s3)
#define STERNA_SECOND(w, s0, s1, s2, s3) STERNA_PAIR("smlal", "v1", "v3", w, s0, s1, s2, s3)
#define STERNA_ADD(low0, high0, low1, high1, s0, s1, s2, s3) \
  "sadalp " low0 ".4s, " s0 ".8h\n\t"                        \
  "sadalp " high0 ".4s, " s1 ".8h\n\t"                       \
  "sadalp " low1 ".4s, " s2 ".8h\n\t"                        \
  "sadalp " high1 ".4s, " s3 ".8h\n\t"

// 4 k of 8 and of 16 channels. Accumulators: channels 0..3 and 4..7 of row 0, then of row 1; then those of channels 8..15.
#define STERNA_EIGHT(loads, low0, high0, low1, high1)                          \
  STERNA_FIRST("v4", "v8", "v9", "v10", "v11")                                 \
  STERNA_SECOND("v5", "v8", "v9", "v10", "v11")                                \
  loads STERNA_ADD(low0, high0, low1, high1, "v8", "v9", "v10", "v11")
#define STERNA_SIXTEEN(loads, low0, high0, low1, high1, low2, high2, low3, high3)                                        \
  STERNA_FIRST("v4", "v8", "v9", "v10", "v11") STERNA_FIRST("v6", "v12", "v13", "v14", "v15")                            \
  STERNA_SECOND("v5", "v8", "v9", "v10", "v11") STERNA_SECOND("v7", "v12", "v13", "v14", "v15")                          \
  loads STERNA_ADD(low0, high0, low1, high1, "v8", "v9", "v10", "v11")                                                   \
      STERNA_ADD(low2, high2, low3, high3, "v12", "v13", "v14", "v15")

// Loads for the next block: weights of 8 or 16 channels; 4 k of A, those after the ones at hand or those of the next pass.
#define STERNA_LOAD_8(offset) "ldp q4, q5, [%[b], #" offset "]\n\t"
#define STERNA_LOAD_16(offset, second) STERNA_LOAD_8(offset) "ldp q6, q7, [%[b], #" second "]\n\t"
#define STERNA_LOAD_16_AT(pointer) "ld1 {v4.16b - v7.16b}, [" pointer "]\n\t"
#define STERNA_NEXT_16 STERNA_LOAD_16_AT("%[b]")
#define STERNA_HALF "ld2r {v0.8h, v1.8h}, [%[a]]\n\tld2r {v2.8h, v3.8h}, [%[next]]\n\t"
#define STERNA_NEXT "ld2r {v0.8h, v1.8h}, [x9]\n\tld2r {v2.8h, v3.8h}, [x10]\n\t"

// 8 k of 8 * V channels; b is already where the next pass begins. An in-order core would rather have ld1 than two ldp, which needs a pointer
// for each block.
#define STERNA_BLOCK_0(loads) STERNA_EIGHT(loads, "v16", "v17", "v24", "v25")
#define STERNA_BLOCK_2(loads) STERNA_EIGHT(loads, "v20", "v21", "v28", "v29")
#define STERNA_BLOCKS_0(loads) STERNA_SIXTEEN(loads, "v16", "v17", "v24", "v25", "v18", "v19", "v26", "v27")
#define STERNA_BLOCKS_2(loads) STERNA_SIXTEEN(loads, "v20", "v21", "v28", "v29", "v22", "v23", "v30", "v31")
#define STERNA_PASS_1 STERNA_BLOCK_0(STERNA_HALF STERNA_LOAD_8("-32")) STERNA_BLOCK_0(STERNA_NEXT STERNA_LOAD_8("0"))
#define STERNA_PASS_2 STERNA_BLOCKS_0(STERNA_HALF STERNA_LOAD_16("-64", "-32")) STERNA_BLOCKS_0(STERNA_NEXT STERNA_NEXT_16)
#define STERNA_PASS_3                                                                            \
  STERNA_BLOCKS_0(STERNA_LOAD_8("-128")) STERNA_BLOCK_2(STERNA_HALF STERNA_LOAD_16("-96", "-64")) \
  STERNA_BLOCKS_0(STERNA_LOAD_8("-32")) STERNA_BLOCK_2(STERNA_NEXT STERNA_NEXT_16)
#define STERNA_PASS_4                                                                                \
  STERNA_BLOCKS_0(STERNA_LOAD_16_AT("x11")) STERNA_BLOCKS_2(STERNA_HALF STERNA_LOAD_16_AT("x12"))    \
  STERNA_BLOCKS_0(STERNA_LOAD_16_AT("x13")) STERNA_BLOCKS_2(STERNA_NEXT STERNA_NEXT_16)              \
  "add x11, x11, #256\n\t"                                                                           \
  "add x12, x12, #256\n\t"                                                                           \
  "add x13, x13, #256\n\t"

// Where the other blocks of the widest panel are, while b is where the first one is.
#define STERNA_POINTERS_4      \
  "add x11, %[b], #64\n\t"     \
  "add x12, %[b], #128\n\t"    \
  "add x13, %[b], #192\n\t"

// The bias of 8 channels, for both rows.
#define STERNA_BIAS(low0, high0, low1, high1, offset)   \
  "ldp " low0 ", " high0 ", [%[bias], #" offset "]\n\t" \
  "ldp " low1 ", " high1 ", [%[bias], #" offset "]\n\t"
#define STERNA_BIASES_1 STERNA_BIAS("q16", "q17", "q24", "q25", "0")
#define STERNA_BIASES_2 STERNA_BIASES_1 STERNA_BIAS("q18", "q19", "q26", "q27", "32")
#define STERNA_BIASES_3 STERNA_BIASES_2 STERNA_BIAS("q20", "q21", "q28", "q29", "64")
#define STERNA_BIASES_4 STERNA_BIASES_3 STERNA_POINTERS_4 STERNA_BIAS("q22", "q23", "q30", "q31", "96")

// a and next are 4 k ahead of the loop's, x9 and x10 8.
#define STERNA_TILE(biases, pass, step)                                                                                        \
  __asm__("ld2r {v0.8h, v1.8h}, [%[a]], #4\n\t"                                                                                \
          "ld2r {v2.8h, v3.8h}, [%[next]], #4\n\t"                                                                             \
          STERNA_NEXT_16 biases                                                                                                \
          "add x9, %[a], #4\n\t"                                                                                               \
          "add x10, %[next], #4\n\t"                                                                                           \
          "add %[b], %[b], #" step "\n\t"                                                                                      \
          "1:\n\t" pass                                                                                                        \
          "add %[a], %[a], #8\n\t"                                                                                             \
          "add %[next], %[next], #8\n\t"                                                                                       \
          "add x9, x9, #8\n\t"                                                                                                 \
          "add x10, x10, #8\n\t"                                                                                               \
          "add %[b], %[b], #" step "\n\t"                                                                                      \
          "cmp %[a], %[end]\n\t"                                                                                               \
          "b.lo 1b"                                                                                                            \
          : [a] "+&r"(a), [next] "+&r"(next), [b] "+&r"(b), "=w"(c0), "=w"(c1), "=w"(c2), "=w"(c3), "=w"(c4), "=w"(c5), "=w"(c6), \
            "=w"(c7), "=w"(d0), "=w"(d1), "=w"(d2), "=w"(d3), "=w"(d4), "=w"(d5), "=w"(d6), "=w"(d7)                           \
          : [end] "r"(end), [bias] "r"(bias)                                                                                   \
          : "x9", "x10", "x11", "x12", "x13", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "cc", "memory")

template <int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[2][2 * V], const int32_t* bias, const int8_t* a, size_t a_stride, const int8_t* b,
                                                    size_t k) {
  register int32x4_t c0 __asm__("v16"), c1 __asm__("v17"), c2 __asm__("v18"), c3 __asm__("v19"), c4 __asm__("v20"), c5 __asm__("v21"),
      c6 __asm__("v22"), c7 __asm__("v23"), d0 __asm__("v24"), d1 __asm__("v25"), d2 __asm__("v26"), d3 __asm__("v27"), d4 __asm__("v28"),
      d5 __asm__("v29"), d6 __asm__("v30"), d7 __asm__("v31");
  const int8_t *const end = a + k + 4, *next = a + a_stride;
  if constexpr (V == 1) STERNA_TILE(STERNA_BIASES_1, STERNA_PASS_1, "64");
  if constexpr (V == 2) STERNA_TILE(STERNA_BIASES_2, STERNA_PASS_2, "128");
  if constexpr (V == 3) STERNA_TILE(STERNA_BIASES_3, STERNA_PASS_3, "192");
  if constexpr (V == 4) STERNA_TILE(STERNA_BIASES_4, STERNA_PASS_4, "256");
  acc[0][0] = c0, acc[0][1] = c1, acc[1][0] = d0, acc[1][1] = d1;
  if constexpr (V >= 2) acc[0][2] = c2, acc[0][3] = c3, acc[1][2] = d2, acc[1][3] = d3;
  if constexpr (V >= 3) acc[0][4] = c4, acc[0][5] = c5, acc[1][4] = d4, acc[1][5] = d5;
  if constexpr (V >= 4) acc[0][6] = c6, acc[0][7] = c7, acc[1][6] = d6, acc[1][7] = d7;
}

// One row.
template <int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[1][2 * V], const int32_t* bias, const int8_t* a, size_t, const int8_t* b,
                                                    size_t k) {
  for (int i = 0; i < 2 * V; ++i) acc[0][i] = vld1q_s32(bias + 4 * i);
  for (const int8_t* const end = a + k; a < end;) {
    int8x16x2_t pairs;
    __asm__("ld2r {%S0.8h, %T0.8h}, [%1], #4" : "=w"(pairs), "+r"(a) : "m"(*reinterpret_cast<const int8_t(*)[4]>(a)));
    for (int v = 0; v < V; ++v) {
      const int8x16x2_t w = LoadTwoNeon(b);
      const int16x8_t low = vmull_s8(vget_low_s8(w.val[0]), vget_low_s8(pairs.val[0])), high = vmull_high_s8(w.val[0], pairs.val[0]);
      acc[0][2 * v] = vpadalq_s16(acc[0][2 * v], vmlal_s8(low, vget_low_s8(w.val[1]), vget_low_s8(pairs.val[1])));
      acc[0][2 * v + 1] = vpadalq_s16(acc[0][2 * v + 1], vmlal_high_s8(high, w.val[1], pairs.val[1]));
    }
  }
}

// `count` tiles of M rows of one panel, from `row` on; returns the row after them.
template <int M, int V>
__attribute__((noinline)) size_t Tiles(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t count) {
  const size_t a_stride = args->a_stride, k = args->k;
  const int8_t *a = reinterpret_cast<const int8_t*>(args->a) + row * a_stride, *const b = panel.b;
  TargetNeon to{args->y + row * args->y_stride + panel.o, panel.scale, args->y_stride, row, panel.o, panel.width};
  for (const size_t end = row + count * M; to.row < end; to.row += M, to.y += M * to.y_stride, a += M * a_stride) {
    int32x4_t acc[M][2 * V];
    Multiply<V>(acc, panel.bias, a, a_stride, b, k);
    FinishRowsNeon<M>(requant, acc, to, panel.finish);
  }
  return to.row;
}

template <int V>
void Rows(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t end) {
  row = Tiles<2, V>(args, requant, panel, row, (end - row) / 2);
  Tiles<1, V>(args, requant, panel, row, end - row);
}

// The last pass loads 64 bytes of a next one.
size_t PackedBytes(size_t n, size_t k) { return PackedBytesArm(n, k, kStep) + 64; }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  PackBiasArm(n, w, k, 1, k, bias, a_zp, packed);
  PackPanelsArm(n, k, kLayout, w, static_cast<int8_t*>(packed) + PanelsOffsetArm(n));
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

void Run(const GemmQ8Args* args) {
  const size_t block = RoundUpArm(kBlockBytes / args->k + 1, 2), depth = RoundUpArm(args->k, kStep);
  RunBlocksArm(args, {block, depth, kLayout.most, static_cast<const int32_t*>(args->packed)},
               [args](const RequantNeon& requant, const Panel& panel, size_t width, size_t row, size_t end) {
                 switch (width) {
                   case 8: return Rows<1>(args, requant, panel, row, end);
                   case 16: return Rows<2>(args, requant, panel, row, end);
                   case 24: return Rows<3>(args, requant, panel, row, end);
                   default: return Rows<4>(args, requant, panel, row, end);
                 }
               });
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_neon;
const sterna::GemmQ8Kernel sterna_gemm_q8_neon = {"gemm_q8/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
