// SPDX-License-Identifier: Apache-2.0
// Follows: Khronos, SPIR-V Specification 1.6, sections 2.3 (physical layout) and 3 (binary form).
#include "engine/compute/shader.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "engine/error.h"

namespace foveate::compute {

namespace {

enum Op : std::uint32_t {
    OP_NAME = 5, OP_ENTRY_POINT = 15, OP_EXECUTION_MODE = 16, OP_TYPE_INT = 21, OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23, OP_TYPE_SAMPLED_IMAGE = 27, OP_TYPE_ARRAY = 28, OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32, OP_CONSTANT = 43, OP_VARIABLE = 59, OP_DECORATE = 71, OP_MEMBER_DECORATE = 72,
};
enum : std::uint32_t { DECORATION_ARRAY_STRIDE = 6, DECORATION_BINDING = 33, DECORATION_SET = 34,
                       DECORATION_OFFSET = 35 };
enum : std::uint32_t { STORAGE_UNIFORM_CONSTANT = 0, STORAGE_UNIFORM = 2, STORAGE_PUSH_CONSTANT = 9,
                       STORAGE_STORAGE_BUFFER = 12 };
constexpr std::uint32_t MAGIC = 0x07230203, MODE_LOCAL_SIZE = 17, HEADER_WORDS = 5;

struct Type {
    std::uint32_t op = 0;
    std::vector<std::uint32_t> operands;
};

struct Variable {
    std::uint32_t id, type, storage;
};

struct Module {
    std::map<std::uint32_t, std::string> names;
    std::map<std::uint32_t, Type> types;
    std::map<std::uint32_t, std::uint32_t> constants, strides, sets, bindings;
    std::map<std::uint32_t, std::vector<std::uint32_t>> offsets;  // by struct, then by member
    std::vector<Variable> variables;
    Reflection result;
};

void need(bool condition, const char* name, const char* what)
{
    require(condition, std::string("Engine: shader ") + name, what, "a compute module of this build",
            "Build foveate again.", ErrorKind::device);
}

std::string text(std::span<const std::uint32_t> words)
{
    const char* first = reinterpret_cast<const char*>(words.data());
    return {first, strnlen(first, words.size_bytes())};
}

void read(Module& module, std::uint32_t op, std::span<const std::uint32_t> at)
{
    const std::size_t count = at.size();
    switch (op) {
    case OP_NAME:
        if (count >= 2) module.names[at[0]] = text(at.subspan(1));
        break;
    case OP_ENTRY_POINT:
        if (count >= 3) module.result.entry = text(at.subspan(2));
        break;
    case OP_EXECUTION_MODE:
        if (count >= 5 && at[1] == MODE_LOCAL_SIZE) module.result.local = {at[2], at[3], at[4]};
        break;
    case OP_TYPE_INT: case OP_TYPE_FLOAT: case OP_TYPE_VECTOR: case OP_TYPE_ARRAY: case OP_TYPE_STRUCT:
    case OP_TYPE_SAMPLED_IMAGE: case OP_TYPE_POINTER:
        if (count >= 1) module.types[at[0]] = {op, {at.begin() + 1, at.end()}};
        break;
    case OP_CONSTANT:
        if (count >= 3) module.constants[at[1]] = at[2];
        break;
    case OP_VARIABLE:
        if (count >= 3) module.variables.push_back({at[1], at[0], at[2]});
        break;
    case OP_DECORATE:
        if (count < 3) break;
        if (at[1] == DECORATION_ARRAY_STRIDE) module.strides[at[0]] = at[2];
        if (at[1] == DECORATION_BINDING) module.bindings[at[0]] = at[2];
        if (at[1] == DECORATION_SET) module.sets[at[0]] = at[2];
        break;
    case OP_MEMBER_DECORATE:
        if (count >= 4 && at[2] == DECORATION_OFFSET && at[1] < 256) {
            auto& offsets = module.offsets[at[0]];
            offsets.resize(std::max<std::size_t>(offsets.size(), at[1] + 1));
            offsets[at[1]] = at[3];
        }
        break;
    default: break;
    }
}

// Bytes that a value of this type takes in a block; 0 where it has no size.
std::uint32_t type_size(const Module& module, std::uint32_t id, std::uint32_t depth = 0)
{
    const auto found = module.types.find(id);
    if (found == module.types.end() || depth > 8 || found->second.operands.empty()) return 0;
    const auto& [op, operands] = found->second;
    switch (op) {
    case OP_TYPE_INT: case OP_TYPE_FLOAT: return operands[0] / 8;
    case OP_TYPE_VECTOR:
        return operands.size() < 2 ? 0 : type_size(module, operands[0], depth + 1) * operands[1];
    case OP_TYPE_ARRAY: {
        const auto stride = module.strides.find(id);
        const auto length = operands.size() < 2 ? module.constants.end() : module.constants.find(operands[1]);
        return stride == module.strides.end() || length == module.constants.end()
                   ? 0 : stride->second * length->second;
    }
    case OP_TYPE_STRUCT: {
        const auto offsets = module.offsets.find(id);
        std::uint32_t size = 0;
        for (std::size_t i = 0; i < operands.size(); ++i) {
            const std::uint32_t offset =
                offsets != module.offsets.end() && i < offsets->second.size() ? offsets->second[i] : 0;
            size = std::max(size, offset + type_size(module, operands[i], depth + 1));
        }
        return size;
    }
    default: return 0;
    }
}

void read_variable(Module& module, const Variable& variable, const char* name)
{
    const auto pointer = module.types.find(variable.type);
    need(pointer != module.types.end() && pointer->second.op == OP_TYPE_POINTER &&
             pointer->second.operands.size() >= 2, name, "a variable without a type");
    const std::uint32_t block = pointer->second.operands[1];
    switch (variable.storage) {
    case STORAGE_PUSH_CONSTANT:
        module.result.params_size = type_size(module, block);
        need(module.result.params_size > 0, name, "parameters without a size");
        break;
    case STORAGE_STORAGE_BUFFER:
        need(module.bindings.contains(variable.id) && !module.names[block].empty(), name,
             "a buffer without a binding or a name");
        module.result.slots.push_back(
            {module.names[block], module.sets[variable.id], module.bindings[variable.id]});
        break;
    case STORAGE_UNIFORM_CONSTANT:
        need(module.types.contains(block) && module.types[block].op == OP_TYPE_SAMPLED_IMAGE &&
                 module.bindings.contains(variable.id) && !module.names[variable.id].empty(), name,
             "a resource that is neither a storage buffer nor a texture with its sampler");
        module.result.slots.push_back(
            {module.names[variable.id], module.sets[variable.id], module.bindings[variable.id], true});
        break;
    case STORAGE_UNIFORM:
        need(false, name, "a resource that is neither a storage buffer nor a texture with its sampler");
        break;
    default: break;
    }
}

}  // namespace

Reflection reflect(std::span<const std::uint32_t> words, const char* name)
{
    need(words.size() > HEADER_WORDS && words[0] == MAGIC, name, "no SPIR-V");
    Module module;
    for (std::size_t at = HEADER_WORDS; at < words.size();) {
        const std::uint32_t count = words[at] >> 16;
        need(count > 0 && count <= words.size() - at, name, "a cut instruction");
        read(module, words[at] & 0xffffu, words.subspan(at + 1, count - 1));
        at += count;
    }
    need(!module.result.entry.empty(), name, "no entry point");
    for (const Variable& variable : module.variables) read_variable(module, variable, name);
    auto& slots = module.result.slots;
    std::sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return a.binding < b.binding; });
    for (std::size_t i = 0; i < slots.size(); ++i)
        need(slots[i].set == 0 && (i == 0 || slots[i - 1].binding != slots[i].binding), name,
             "a binding used twice, or a second set");
    return module.result;
}

}  // namespace foveate::compute
