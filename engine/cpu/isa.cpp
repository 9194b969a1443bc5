// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "engine/error.h"
#include "engine/cpu/rows.h"

namespace foveate::cpu {

std::vector<const RowKernels*> rows_available()
{
    std::vector<const RowKernels*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    // The AVX-512 build shuffles bytes across a whole register, which is VBMI, and sums products of bytes, which is
    // VNNI (Ice Lake, Zen 4 and later).
    if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        found.push_back(&avx512::rows());
    if (__builtin_cpu_supports("avx2")) found.push_back(&avx2::rows());
    require(__builtin_cpu_supports("sse4.2"), "Engine: processor", "one without SSE4.2", "x86-64-v2 or later", "",
            ErrorKind::unsupported);
#endif
    found.push_back(&baseline::rows());
    return found;
}

const RowKernels& rows_named(const std::string& name)
{
    const char* environment = std::getenv("FOVEATE_ISA");
    const std::string wanted = !name.empty() ? name : environment ? environment : "";
    const auto available = rows_available();
    if (wanted.empty()) return *available.front();
    std::string names;
    for (const RowKernels* rows : available) {
        if (wanted == rows->name) return *rows;
        names += (names.empty() ? "" : ", ") + std::string(rows->name);
    }
    fail(ErrorKind::input, "Engine: isa", wanted, names, "Leave it out for the best.");
}

}  // namespace foveate::cpu
