// rows_f32/sse41: the functions of rows.h on xmm registers.
#include "kernel.h"
#include "isa/x86/vec_sse41.h"
#include "rows.h"

extern "C" {
extern const sterna::RowsF32Kernels sterna_rows_f32_sse41;
const sterna::RowsF32Kernels sterna_rows_f32_sse41 = sterna::Rows<sterna::Vec128>::Kernels("rows_f32/sse41");
}
