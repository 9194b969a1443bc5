// SPDX-License-Identifier: Apache-2.0
// The program's side of NVTX 3 (NVIDIA Tools Extension, nvtxTypes.h): no library of theirs is needed for it. The
// profiler's library is handed a table of slots for functions, by modules, and fills those that it implements.
#include "engine/range.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace foveate {

namespace {

using Function = void (*)();
using Initialize = int (*)(const void* (*)(std::uint32_t));

// Entries of each module's table as NVTX 3 has them; the first of a table is never used.
constexpr std::uint32_t MODULES = 7, CORE2 = 5, SIZES[MODULES] = {0, 16, 9, 15, 7, 16, 7}, LARGEST = 16;
constexpr std::uint32_t DOMAIN_PUSH = 4, DOMAIN_POP = 5, DOMAIN_CREATE = 12;  // of CORE2
constexpr std::uint32_t CALLBACKS = 1, VERSION_INFO = 3;                      // tables by number
constexpr std::uint16_t NVTX_VERSION = 3;
constexpr std::int32_t ASCII = 1;

struct Event {
    std::uint16_t version = NVTX_VERSION, size = sizeof(Event);
    std::uint32_t category = 0;
    std::int32_t color_type = 0;
    std::uint32_t color = 0;
    std::int32_t payload_type = 0, reserved = 0;
    std::uint64_t payload = 0;
    std::int32_t message_type = ASCII;
    const char* message = nullptr;
};
static_assert(sizeof(Event) == 48 && offsetof(Event, message) == 40);

Function slots[MODULES][LARGEST];
Function* tables[MODULES][LARGEST + 1];   // ends with a null

int module_table(std::uint32_t module, Function*** table, std::uint32_t* size)
{
    if (module == 0 || module >= MODULES) return 0;
    for (std::uint32_t i = 1; i < SIZES[module]; ++i) tables[module][i] = &slots[module][i];
    if (table) *table = tables[module];
    if (size) *size = SIZES[module];
    return 1;
}

void attached(std::uint32_t) {}

const void* export_table(std::uint32_t number)
{
    static const struct {
        std::size_t size;
        int (*get)(std::uint32_t, Function***, std::uint32_t*);
    } callbacks{sizeof callbacks, module_table};
    static const struct {
        std::size_t size;
        std::uint32_t version, reserved;
        void (*set)(std::uint32_t);
    } version{sizeof version, NVTX_VERSION, 0, attached};
    return number == CALLBACKS ? static_cast<const void*>(&callbacks) : number == VERSION_INFO ? &version : nullptr;
}

struct Listener {
    void* domain = nullptr;
    int (*push)(void*, const Event*) = nullptr;
    int (*pop)(void*) = nullptr;

    // A profiler that does not answer is none. Its library stays: it has threads and handlers of its own.
    Listener()
    {
        const char* path = std::getenv("NVTX_INJECTION64_PATH");
        void* library = path && *path ? dlopen(path, RTLD_LAZY) : nullptr;
        const auto initialize =
            library ? reinterpret_cast<Initialize>(dlsym(library, "InitializeInjectionNvtx2")) : nullptr;
        if (!initialize || !initialize(export_table)) return;
        const Function* core = slots[CORE2];
        if (!core[DOMAIN_PUSH] || !core[DOMAIN_POP]) return;
        pop = reinterpret_cast<int (*)(void*)>(core[DOMAIN_POP]);
        push = reinterpret_cast<int (*)(void*, const Event*)>(core[DOMAIN_PUSH]);
        if (core[DOMAIN_CREATE]) domain = reinterpret_cast<void* (*)(const char*)>(core[DOMAIN_CREATE])("foveate");
    }
};

const Listener& listener()
{
    static const Listener made;
    return made;
}

}  // namespace

Range::Range(const char* name) : pushed_(listener().push != nullptr)
{
    if (!pushed_) return;
    Event event;
    event.message = name;
    listener().push(listener().domain, &event);
}

Range::~Range()
{
    if (pushed_) listener().pop(listener().domain);
}

}  // namespace foveate
