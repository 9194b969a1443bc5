// SPDX-License-Identifier: Apache-2.0
// DLPack, version 1.1, both ways. The structs are its ABI: their order and sizes are fixed for ever.
//
// Out: a managed tensor holds a Ref<Block> and nothing of Python, so its deleter may run on any thread,
// without the GIL, and after the interpreter is gone.
// In: nothing in the struct is trusted except that `data` points to what it describes. Whatever is wrong,
// the deleter is called exactly once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/types.h"

namespace foveate::dlpack {

inline constexpr std::uint32_t MAJOR = 1, MINOR = 1;
inline constexpr const char* NAME = "dltensor";
inline constexpr const char* NAME_USED = "used_dltensor";
inline constexpr const char* NAME_VERSIONED = "dltensor_versioned";
inline constexpr const char* NAME_VERSIONED_USED = "used_dltensor_versioned";

enum DeviceType : std::int32_t { CPU = 1, CUDA = 2, CUDA_HOST = 3, CUDA_MANAGED = 13 };
enum TypeCode : std::uint8_t { INT = 0, UINT = 1, FLOAT = 2, OPAQUE = 3, BFLOAT = 4, COMPLEX = 5, BOOL = 6 };
enum Flags : std::uint64_t { READ_ONLY = 1, IS_COPIED = 2 };

struct Device {
    std::int32_t type = CPU;
    std::int32_t id = 0;
};

struct DataType {
    std::uint8_t code = OPAQUE;
    std::uint8_t bits = 8;
    std::uint16_t lanes = 1;
    bool operator==(const DataType&) const = default;
};

struct Tensor {
    void* data = nullptr;
    Device device;
    std::int32_t ndim = 0;
    DataType dtype;
    std::int64_t* shape = nullptr;
    std::int64_t* strides = nullptr;    // in elements; null: compact and row-major
    std::uint64_t byte_offset = 0;
};

struct Managed {
    Tensor tensor;
    void* context = nullptr;
    void (*deleter)(Managed*) = nullptr;
};

struct ManagedVersioned {
    struct {
        std::uint32_t major = MAJOR, minor = MINOR;
    } version;
    void* context = nullptr;
    void (*deleter)(ManagedVersioned*) = nullptr;
    std::uint64_t flags = 0;
    Tensor tensor;
};

static_assert(sizeof(DataType) == 4 && sizeof(Device) == 8 && sizeof(Tensor) == 48);
static_assert(sizeof(Managed) == 64 && sizeof(ManagedVersioned) == 80);

inline constexpr DataType U8{UINT, 8, 1}, U16{UINT, 16, 1}, U32{UINT, 32, 1}, F16{FLOAT, 16, 1}, BF16{BFLOAT, 16, 1},
    F32{FLOAT, 32, 1};

DataType type_of(Element element);
DataType type_of(Dtype dtype);
std::string name_of(DataType type);     // "uint8", "bfloat16", ...

// What we hand out: part of a block, seen as an array.
struct Array {
    Ref<Block> block;
    std::uint64_t offset = 0;                   // bytes
    DataType type;
    std::vector<std::int64_t> shape, strides;   // strides in elements
    bool read_only = false;
    bool copied = false;                        // the memory was made for the consumer alone
    Device device;
    std::byte* base = nullptr;                  // of the block, where that device sees it elsewhere than the host
    Ref<Counted> loan;                          // ends with the consumer's tensor, before the block does

    std::byte* data() const { return (base ? base : block->host()) + offset; }
    std::uint64_t elements() const;
};

// Row-major strides, in elements.
std::vector<std::int64_t> compact_strides(const std::vector<std::int64_t>& shape);

// The caller owns the result and ends it by its deleter. copy: a compact array of its own.
Managed* make_managed(const Array& array, bool copy);
ManagedVersioned* make_versioned(const Array& array, bool copy);

// An array that another library owns. Strides in bytes; any sign, and 0 where an axis is repeated.
struct Borrowed {
    const std::byte* data = nullptr;
    DataType type;
    std::vector<std::int64_t> shape, strides;
    bool read_only = false;
};

// Keeps another library's tensor alive.
class Lease {
public:
    Lease() = default;
    // Both take the tensor over at once; where they throw, its deleter has been called. `device`: where its memory
    // must be; memory of CUDA's is CUDA's alone or managed.
    explicit Lease(Managed* managed, DeviceType device = CPU);
    explicit Lease(ManagedVersioned* managed, DeviceType device = CPU);
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { reset(); }

    const Borrowed& array() const { return array_; }
    void reset();

private:
    Managed* managed_ = nullptr;
    ManagedVersioned* versioned_ = nullptr;
    Borrowed array_;
};

}  // namespace foveate::dlpack
