# cmake --install: the library with its soname, weir.h and weir_chaos.h, weir.pc, a CMake package, the command, its manual pages and its completion
# for bash. Pages and completion come from the command's own tables, so the command is run once to write them.
include(CMakePackageConfigHelpers)

set(WEIR_GENERATED ${CMAKE_BINARY_DIR}/generated)
add_custom_command(OUTPUT ${WEIR_GENERATED}/stamp
    COMMAND weir_command --generate ${WEIR_GENERATED}
    COMMAND ${CMAKE_COMMAND} -E touch ${WEIR_GENERATED}/stamp
    DEPENDS weir_command VERBATIM COMMENT "Manual pages and completion")
add_custom_target(weir_pages ALL DEPENDS ${WEIR_GENERATED}/stamp)
install(DIRECTORY ${WEIR_GENERATED}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(DIRECTORY ${WEIR_GENERATED}/completions DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion)

install(TARGETS weir EXPORT weir-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/weir.h include/weir_chaos.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# The command finds its library wherever the tree was installed to, without ldconfig.
file(RELATIVE_PATH WEIR_LIB_FROM_BIN /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
set_target_properties(weir_command PROPERTIES INSTALL_RPATH "$ORIGIN/${WEIR_LIB_FROM_BIN}")
install(TARGETS weir_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

file(RELATIVE_PATH WEIR_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_SOURCE_DIR}/cmake/weir.pc.in ${CMAKE_BINARY_DIR}/weir.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/weir.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(WEIR_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/weir)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/weir-config.cmake.in ${CMAKE_BINARY_DIR}/weir-config.cmake
    INSTALL_DESTINATION ${WEIR_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/weir-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/weir-config.cmake ${CMAKE_BINARY_DIR}/weir-config-version.cmake DESTINATION ${WEIR_PACKAGE_DIR})
install(EXPORT weir-targets NAMESPACE weir:: DESTINATION ${WEIR_PACKAGE_DIR})
