// rows_f32/avx2: the functions of rows.h on ymm registers.
#include "kernel.h"
#include "isa/x86/vec_avx2.h"
#include "rows.h"

extern "C" {
extern const sterna::RowsF32Kernels sterna_rows_f32_avx2;
const sterna::RowsF32Kernels sterna_rows_f32_avx2 = sterna::Rows<sterna::Vec256>::Kernels("rows_f32/avx2");
}
