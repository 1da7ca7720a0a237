# Finds LibTorch inside a PyTorch wheel (or an unpacked LibTorch) and makes imported targets:
#   TorchWheel::cpu   what a program links; CUDA, where the wheel has it, is loaded at run time.
#
# Looked for in this order: LIBTORCH and Torch_DIR (environment or -D), the project's .venv, the
# torch of the python3 on the PATH. The wheel's own CMake package is not used: from a CUDA wheel
# it demands a CUDA toolkit even where nothing needs one.
set(TorchWheel_MINIMUM 2.11)

function(torch_wheel_of_python python out)
  set(${out} "" PARENT_SCOPE)
  if(EXISTS "${python}")
    execute_process(
      COMMAND "${python}" -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    set(${out} "${found}" PARENT_SCOPE)
  endif()
endfunction()

if(NOT TorchWheel_ROOT)
  set(candidates "")
  foreach(variable LIBTORCH Torch_DIR)
    foreach(value "${${variable}}" "$ENV{${variable}}")
      # Torch_DIR may point into share/cmake/Torch; the root is the folder that has include/ and lib/
      foreach(up "" "/../../..")
        list(APPEND candidates "${value}${up}")
      endforeach()
    endforeach()
  endforeach()
  torch_wheel_of_python("${PROJECT_SOURCE_DIR}/.venv/bin/python" in_venv)
  find_program(TorchWheel_PYTHON NAMES python3)
  torch_wheel_of_python("${TorchWheel_PYTHON}" in_python)
  list(APPEND candidates "${in_venv}" "${in_python}")
  foreach(candidate IN LISTS candidates)
    set(header "${candidate}/include/torch/headeronly/version.h")
    if(NOT candidate OR NOT EXISTS "${header}")
      continue()
    endif()
    file(STRINGS "${header}" lines REGEX "^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
    list(JOIN numbers "." version)
    if(version VERSION_GREATER_EQUAL TorchWheel_MINIMUM)
      get_filename_component(candidate "${candidate}" ABSOLUTE)
      set(TorchWheel_ROOT "${candidate}" CACHE PATH "the folder of LibTorch that has include/ and lib/")
      set(TorchWheel_VERSION "${version}" CACHE INTERNAL "")
      break()
    endif()
  endforeach()
endif()

find_path(TorchWheel_INCLUDE_DIR ATen/ATen.h PATHS "${TorchWheel_ROOT}/include" NO_DEFAULT_PATH)
foreach(library c10 torch_cpu)
  find_library(TorchWheel_${library}_LIB ${library} PATHS "${TorchWheel_ROOT}/lib" NO_DEFAULT_PATH)
endforeach()
# at::parallel_for is a template over OpenMP: compiled without it, it is a plain loop. The pool must be
# LibTorch's own (a second libgomp would bring a second pool), so its own library is linked.
file(GLOB TorchWheel_OPENMP_LIB "${TorchWheel_ROOT}/lib/libgomp*.so*"
  "${TorchWheel_ROOT}/../torch.libs/libgomp*.so*" "${TorchWheel_ROOT}/lib/libiomp5*.so*")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TorchWheel
  REQUIRED_VARS TorchWheel_INCLUDE_DIR TorchWheel_torch_cpu_LIB TorchWheel_c10_LIB
    TorchWheel_OPENMP_LIB
  VERSION_VAR TorchWheel_VERSION
  REASON_FAILURE_MESSAGE "want torch >= ${TorchWheel_MINIMUM}: run `make setup`, or set LIBTORCH to its folder")

if(TorchWheel_FOUND AND NOT TARGET TorchWheel::cpu)
  foreach(library c10 torch_cpu)
    add_library(TorchWheel::${library} SHARED IMPORTED)
    set_target_properties(TorchWheel::${library} PROPERTIES
      IMPORTED_LOCATION "${TorchWheel_${library}_LIB}")
  endforeach()
  add_library(TorchWheel::cpu INTERFACE IMPORTED)
  list(GET TorchWheel_OPENMP_LIB 0 openmp)
  target_link_libraries(TorchWheel::cpu INTERFACE TorchWheel::torch_cpu TorchWheel::c10 "${openmp}")
  target_compile_options(TorchWheel::cpu INTERFACE -fopenmp)
  target_compile_features(TorchWheel::cpu INTERFACE cxx_std_20)
  target_compile_definitions(TorchWheel::cpu INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  # -idirafter: the wheel ships its own fmt, pybind11 and more; Debian's must win.
  target_compile_options(TorchWheel::cpu INTERFACE
    "SHELL:-idirafter ${TorchWheel_INCLUDE_DIR}"
    "SHELL:-idirafter ${TorchWheel_INCLUDE_DIR}/torch/csrc/api/include")
  target_link_options(TorchWheel::cpu INTERFACE -Wl,--allow-shlib-undefined)
endif()
