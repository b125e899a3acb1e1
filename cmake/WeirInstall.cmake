# cmake --install: the library with its soname, weir.h, weir.pc, a CMake package, the command.
include(CMakePackageConfigHelpers)
install(TARGETS weir EXPORT weir-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS weir_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/weir.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
