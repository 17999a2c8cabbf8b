# sterna_kernel_tests runs every test/kernels/*_test.cpp; every test/kernels/*_bench.cpp is an executable of its own.
# CMAKE_CROSSCOMPILING_EMULATOR (preset aarch64) makes ctest run them under qemu.
set(STERNA_TEST_DIR ${CMAKE_CURRENT_SOURCE_DIR}/../test/kernels)

file(GLOB STERNA_TEST_SOURCES CONFIGURE_DEPENDS ${STERNA_TEST_DIR}/*_test.cpp)
add_library(sterna_kernel_test_cases OBJECT ${STERNA_TEST_SOURCES})
target_include_directories(sterna_kernel_test_cases PRIVATE ${STERNA_TEST_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(sterna_kernel_test_cases PRIVATE sterna_flags)
add_executable(sterna_kernel_tests ${STERNA_TEST_DIR}/harness.cpp $<TARGET_OBJECTS:sterna_kernel_test_cases>)
target_include_directories(sterna_kernel_tests PRIVATE ${STERNA_TEST_DIR})
target_link_libraries(sterna_kernel_tests PRIVATE sterna_core)
add_test(NAME sterna_kernel_tests COMMAND sterna_kernel_tests)

file(GLOB STERNA_BENCH_SOURCES CONFIGURE_DEPENDS ${STERNA_TEST_DIR}/*_bench.cpp)
foreach(source ${STERNA_BENCH_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${STERNA_TEST_DIR})
  target_link_libraries(${name} PRIVATE sterna_core)
endforeach()

# Runs a serialized program without Node: tools/run_program.cpp.
add_executable(sterna_run_program tools/run_program.cpp)
target_link_libraries(sterna_run_program PRIVATE sterna_core)

# Under sanitizers the units themselves are watched where the CPU runs them.
if(STERNA_ARCH STREQUAL x86_64 AND STERNA_UNITS STREQUAL ON AND NOT STERNA_SANITIZE)
  include(cmake/emulation.cmake)
endif()

# Each ISA object exports exactly its declared symbols (rule K4).
foreach(isa ${STERNA_BUILT_ISAS})
  add_test(NAME isa_symbols_${isa}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tools/check-isa-symbols.sh ${CMAKE_NM} ${isa} $<TARGET_OBJECTS:sterna_isa_${isa}>
    COMMAND_EXPAND_LISTS)
endforeach()

# What any x86-64 CPU runs, and what one with SSE4.1 does, holds no AVX instruction. Both checks must refuse an object that is bad.
if(STERNA_ARCH STREQUAL x86_64 AND STERNA_UNITS STREQUAL ON)
  set(STERNA_TOOLS ${CMAKE_CURRENT_SOURCE_DIR}/tools)
  add_test(NAME isa_baseline
    COMMAND ${STERNA_TOOLS}/check-no-avx.sh ${CMAKE_OBJDUMP} $<TARGET_OBJECTS:sterna_portable> $<TARGET_OBJECTS:sterna_core> $<TARGET_OBJECTS:sterna_isa_sse41>
    COMMAND_EXPAND_LISTS)
  add_library(sterna_avx_leak OBJECT ${STERNA_TEST_DIR}/fixtures/avx_leak.cpp)
  target_compile_options(sterna_avx_leak PRIVATE -mavx2)
  add_test(NAME isa_baseline_refuses_avx
    COMMAND ${STERNA_TOOLS}/check-no-avx.sh ${CMAKE_OBJDUMP} $<TARGET_OBJECTS:sterna_avx_leak>)
  add_test(NAME isa_symbols_refuse_weak_ones
    COMMAND ${STERNA_TOOLS}/check-isa-symbols.sh ${CMAKE_NM} avx2 $<TARGET_OBJECTS:sterna_avx_leak>)
  set_tests_properties(isa_baseline_refuses_avx PROPERTIES PASS_REGULAR_EXPRESSION "expected no AVX instruction but it has:.*v[a-z]")
  set_tests_properties(isa_symbols_refuse_weak_ones PROPERTIES PASS_REGULAR_EXPRESSION "expected exactly the symbol.*_Z8ScaleAll[^ ]* W")
endif()
