# sterna_kernel_tests_emulated: the kernel tests on the units of the ISAs that isa/isa.cmake marks EMULATED. The same sources are
# compiled a second time, for SSE4.1, with isa/emulate/immintrin.h in the place of the compiler's header: what they compute is proved on any
# x86-64 CPU. peak is left out: it times the instructions themselves, in inline assembly.
set(STERNA_EMULATED_ISAS "")
set(STERNA_DECLARATIONS "")
set(STERNA_ROWS "")
set(STERNA_EMULATED_OBJECTS "")
foreach(isa ${STERNA_ISAS})
  if(STERNA_ISA_${isa}_EMULATED)
    list(APPEND STERNA_EMULATED_ISAS ${isa})
    sterna_add_isa(${isa} EMULATED)
    list(APPEND STERNA_EMULATED_OBJECTS $<TARGET_OBJECTS:sterna_emulated_${isa}>)
  endif()
endforeach()
configure_file(cmake/isa_tables.cpp.in ${CMAKE_CURRENT_BINARY_DIR}/generated/isa_tables_emulated.cpp @ONLY)

add_executable(sterna_kernel_tests_emulated ${STERNA_TEST_DIR}/harness.cpp ${CMAKE_CURRENT_BINARY_DIR}/generated/isa_tables_emulated.cpp
  $<TARGET_OBJECTS:sterna_kernel_test_cases> $<TARGET_OBJECTS:sterna_portable> ${STERNA_EMULATED_OBJECTS})
target_compile_definitions(sterna_kernel_tests_emulated PRIVATE STERNA_HOW_IT_RUNS="emulated at source level")
target_include_directories(sterna_kernel_tests_emulated PRIVATE ${STERNA_TEST_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(sterna_kernel_tests_emulated PRIVATE sterna_flags Threads::Threads)
add_test(NAME sterna_kernel_tests_emulated COMMAND sterna_kernel_tests_emulated)
set_tests_properties(sterna_kernel_tests_emulated PROPERTIES ENVIRONMENT STERNA_ISA=)

# Emulated units hold no instruction newer than SSE4.1, and nothing that another unit could be linked with by mistake.
add_test(NAME isa_emulation_holds_no_avx
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tools/check-no-avx.sh ${CMAKE_OBJDUMP} ${STERNA_EMULATED_OBJECTS} COMMAND_EXPAND_LISTS)
foreach(isa ${STERNA_EMULATED_ISAS})
  add_test(NAME isa_symbols_emulated_${isa}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tools/check-isa-symbols.sh ${CMAKE_NM} ${isa} $<TARGET_OBJECTS:sterna_emulated_${isa}> COMMAND_EXPAND_LISTS)
endforeach()
