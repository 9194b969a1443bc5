// SPDX-License-Identifier: Apache-2.0
// A profiler that listens to NVTX, as one that is named by NVTX_INJECTION64_PATH does: it fills the slots for ranges
// in domains and keeps what is pushed and popped, in order: "+name" and "-", each with its domain.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr std::uint32_t CALLBACKS = 1, VERSION = 3, CORE2 = 5;      // of NVTX 3
constexpr std::uint32_t PUSH = 4, POP = 5, CREATE = 12, CORE2_SIZE = 16;
constexpr std::uint32_t SIZES[] = {0, 16, 9, 15, 7, 16, 7};         // of every module's table

std::string said, domain = "none";
int depth = 0, wrong = 0;

struct Table {
    std::size_t size;
    int (*get)(std::uint32_t module, void**** table, std::uint32_t* size);
};

struct Version {
    std::size_t size;
    std::uint32_t version;
};

void* create(const char* name)
{
    domain = name;
    return &domain;
}

// nvtxEventAttributes_t: version and size in its first four bytes, an ASCII message's type at 32 and address at 40.
int push(void* from, const std::byte* event)
{
    std::uint16_t head[2];
    std::int32_t type = 0;
    const char* text = nullptr;
    std::memcpy(head, event, sizeof head);
    std::memcpy(&type, event + 32, sizeof type);
    std::memcpy(&text, event + 40, sizeof text);
    wrong += from != &domain || head[0] != 3 || head[1] != 48 || type != 1;
    said += std::string("+") + text + " ";
    return depth++;
}

int pop(void* from)
{
    wrong += from != &domain || depth == 0;
    said += "- ";
    return --depth;
}

}  // namespace

EXPORTED int InitializeInjectionNvtx2(const void* (*export_table)(std::uint32_t))
{
    if (std::getenv("LISTENER_REFUSES")) return 0;
    const auto* callbacks = static_cast<const Table*>(export_table(CALLBACKS));
    const auto* version = static_cast<const Version*>(export_table(VERSION));
    if (!callbacks || callbacks->size < sizeof *callbacks || !version || version->version != 3) return 0;
    void*** table = nullptr;
    std::uint32_t size = 0;
    for (std::uint32_t module = 1; module < 7; ++module) {
        wrong += !callbacks->get(module, &table, &size) || size != SIZES[module] || table[0] || table[size];
        for (std::uint32_t i = 1; i < size; ++i) wrong += !table[i];
    }
    wrong += callbacks->get(0, &table, &size) || callbacks->get(7, &table, &size);
    if (!callbacks->get(CORE2, &table, &size) || size < CORE2_SIZE) return 0;
    *table[CREATE] = reinterpret_cast<void*>(create);
    *table[PUSH] = reinterpret_cast<void*>(push);
    *table[POP] = reinterpret_cast<void*>(pop);
    return 1;
}

// Since the last call.
EXPORTED const char* heard()
{
    static std::string result;
    result = domain + ": " + said;
    said.clear();
    return result.c_str();
}

EXPORTED int mistakes() { return wrong + depth; }
