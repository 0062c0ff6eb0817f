# Installs tasklib as a relocatable C++ SDK, and its source folder for the classic form.
include(CMakePackageConfigHelpers)
set(tasklib_package lib/cmake/tasklib)

install(TARGETS tasklib EXPORT tasklibTargets ARCHIVE DESTINATION lib)
install(DIRECTORY include/tasklib DESTINATION include)
install(EXPORT tasklibTargets NAMESPACE tasklib:: DESTINATION ${tasklib_package})

configure_package_config_file(cmake/tasklibConfig.cmake.in tasklibConfig.cmake
  INSTALL_DESTINATION ${tasklib_package})
write_basic_package_version_file(tasklibConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/tasklibConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/tasklibConfigVersion.cmake DESTINATION ${tasklib_package})

if(TASKLIB_CBOR_FILE)
  install(FILES ${TASKLIB_CBOR_FILE} DESTINATION lib RENAME ${TASKLIB_CBOR_SONAME})
endif()
install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/ DESTINATION share/tasklib)
