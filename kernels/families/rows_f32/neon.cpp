// rows_f32/neon: the functions of rows.h on NEON registers.
#include "kernel.h"
#include "isa/arm/vec_neon.h"
#include "rows.h"

extern "C" {
extern const sterna::RowsF32Kernels sterna_rows_f32_neon;
const sterna::RowsF32Kernels sterna_rows_f32_neon = sterna::Rows<sterna::VecNeon>::Kernels("rows_f32/neon");
}
