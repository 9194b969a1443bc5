// SPDX-License-Identifier: Apache-2.0
// After the specification of DLPack 1.1 (dmlc, "DLPack: Open In Memory Tensor Structure").
#include "interop/dlpack.h"

#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "engine/error.h"

namespace foveate::dlpack {

namespace {

constexpr std::int32_t AXES = 8;                      // more than any image batch has
constexpr std::int64_t SPAN = std::int64_t(1) << 47;  // bytes of user address space: nothing real is larger

// Memory of a copy that was asked for: it belongs to no backend and to no budget.
class CopyBlock final : public Block {
public:
    explicit CopyBlock(std::uint64_t size) : bytes_(std::make_unique<Line[]>((size + 63) / 64))
    {
        size_ = size;
    }
    std::byte* host() override { return bytes_[0].bytes; }

private:
    struct alignas(64) Line {
        std::byte bytes[64];
    };
    std::unique_ptr<Line[]> bytes_;
};

void copy_axis(const Array& from, std::size_t axis, const std::byte* source, std::byte*& target)
{
    const std::size_t size = from.type.bits / 8;
    if (axis == from.shape.size()) {
        std::memcpy(target, source, size);
        target += size;
        return;
    }
    const std::int64_t step = from.strides[axis] * std::int64_t(size);
    if (axis + 1 == from.shape.size() && from.strides[axis] == 1) {
        std::memcpy(target, source, size * std::size_t(from.shape[axis]));
        target += size * std::size_t(from.shape[axis]);
        return;
    }
    for (std::int64_t i = 0; i < from.shape[axis]; ++i)
        copy_axis(from, axis + 1, source + i * step, target);
}

Array compact_copy(const Array& from)
{
    Array to;
    to.type = from.type;
    to.shape = from.shape;
    to.strides = compact_strides(from.shape);
    const std::uint64_t elements = from.elements();
    if (elements == 0) return to;
    to.block = Ref<Block>(new CopyBlock(elements * (from.type.bits / 8)));
    std::byte* target = to.block->host();
    copy_axis(from, 0, from.data(), target);
    return to;
}

// A managed tensor together with everything it points to.
template <class M>
struct Context {
    M managed;
    Array array;
};

template <class M>
M* make(const Array& array, bool copy)
{
    auto context = std::make_unique<Context<M>>();
    context->array = copy ? compact_copy(array) : array;
    Array& own = context->array;
    Tensor& tensor = context->managed.tensor;
    tensor.data = own.elements() == 0 ? nullptr : own.data();
    tensor.device = own.device;
    tensor.ndim = std::int32_t(own.shape.size());
    tensor.dtype = own.type;
    tensor.shape = own.shape.data();
    tensor.strides = own.strides.data();
    if constexpr (std::is_same_v<M, ManagedVersioned>)
        context->managed.flags = own.read_only * READ_ONLY + (copy || own.copied) * IS_COPIED;
    context->managed.context = context.get();
    context->managed.deleter = [](M* managed) {
        std::unique_ptr<Context<M>> owner(static_cast<Context<M>*>(managed->context));
    };
    return &context.release()->managed;
}

// The struct as it came -> an array whose every address can be computed without overflow.
Borrowed borrow(const Tensor& tensor, bool read_only, DeviceType device)
{
    const auto refuse = [](bool good, const char* what, const auto& got, const auto& expected) {
        if (!good) require(false, std::string("image: DLPack ") + what, got, expected);
    };
    const DeviceType other = device == CUDA ? CUDA_MANAGED : CUDA_HOST;
    if (tensor.device.type != device && tensor.device.type != other)
        fail(ErrorKind::unsupported, "image: DLPack device", "type " + std::to_string(tensor.device.type),
             device == CUDA ? "CUDA (type 2)" : "the cpu (type 1)", "Copy the array to the host first.");
    refuse(tensor.ndim >= 1 && tensor.ndim <= AXES, "axes", tensor.ndim, "1..8");
    refuse(tensor.shape != nullptr, "shape", "null", "a shape");
    refuse(tensor.dtype.lanes == 1, "lanes", tensor.dtype.lanes, "1");
    const int bits = tensor.dtype.bits;
    refuse(bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128, "bits", bits,
           "8, 16, 32, 64 or 128");

    Borrowed array;
    array.type = tensor.dtype;
    array.read_only = read_only;
    array.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
    const std::int64_t size = bits / 8;
    std::int64_t bytes = size;
    bool empty = false;
    for (std::int64_t length : array.shape) {
        refuse(length >= 0 && length < SPAN, "shape", length, "sizes that fit into memory");
        if (length == 0) empty = true;
        else refuse(!__builtin_mul_overflow(bytes, length, &bytes) && bytes < SPAN, "shape", length,
                    "sizes whose product fits into memory");
    }
    if (empty) bytes = 0;

    // `low` and `high` are the distances from the first element to the ends of the memory the array reaches.
    array.strides.assign(std::size_t(tensor.ndim), 0);
    std::int64_t low = 0, high = size, step = size;
    for (std::size_t axis = array.shape.size(); axis-- > 0;) {
        const std::int64_t length = array.shape[axis];
        std::int64_t& stride = array.strides[axis] = step;
        // The stride of an axis that is never stepped along may be anything.
        if (length <= 1 || empty) continue;
        step *= length;
        if (tensor.strides) stride = tensor.strides[axis];
        std::int64_t reach = 0;
        bool fits = !tensor.strides || !__builtin_mul_overflow(stride, size, &stride);
        fits = fits && !__builtin_mul_overflow(stride, length - 1, &reach);
        fits = fits && !__builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high);
        refuse(fits && low > -SPAN && high < SPAN, "strides", tensor.strides ? tensor.strides[axis] : stride,
               "strides that fit into memory");
    }
    if (empty) return array;

    refuse(tensor.data != nullptr, "data", "null", "a pointer");
    refuse(tensor.byte_offset < std::uint64_t(SPAN), "byte_offset", tensor.byte_offset, "a real offset");
    const std::uint64_t address = reinterpret_cast<std::uintptr_t>(tensor.data);
    std::uint64_t first = 0, end = 0;
    bool fits = !__builtin_add_overflow(address, tensor.byte_offset, &first);
    fits = fits && first >= std::uint64_t(-low) && !__builtin_add_overflow(first, std::uint64_t(high), &end);
    refuse(fits, "data", "a pointer near the end of memory", "room for the whole array");
    array.data = reinterpret_cast<const std::byte*>(first);
    return array;
}

}  // namespace

DataType type_of(Element element)
{
    constexpr std::array<DataType, 3> types = {U8, U16, F32};
    return types[std::size_t(element)];
}

DataType type_of(Dtype dtype)
{
    constexpr std::array<DataType, 3> types = {F32, F16, BF16};
    return types[std::size_t(dtype)];
}

std::string name_of(DataType type)
{
    constexpr const char* names[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
    if (type.code >= std::size(names)) return "type " + std::to_string(type.code);
    const std::string name = names[type.code];
    return type.code == BOOL || type.code == OPAQUE ? name : name + std::to_string(type.bits);
}

std::uint64_t Array::elements() const
{
    std::uint64_t count = 1;
    for (std::int64_t length : shape) count *= std::uint64_t(length);
    return count;
}

std::vector<std::int64_t> compact_strides(const std::vector<std::int64_t>& shape)
{
    std::vector<std::int64_t> strides(shape.size(), 1);
    for (std::size_t axis = shape.size(); axis-- > 1;)
        strides[axis - 1] = strides[axis] * std::max<std::int64_t>(shape[axis], 1);
    return strides;
}

Managed* make_managed(const Array& array, bool copy)
{
    return make<Managed>(array, copy);
}

ManagedVersioned* make_versioned(const Array& array, bool copy)
{
    return make<ManagedVersioned>(array, copy);
}

// A throw in a constructor skips its destructor, hence the guard.
Lease::Lease(Managed* managed, DeviceType device)
{
    Lease guard;
    guard.managed_ = managed;
    guard.array_ = borrow(managed->tensor, false, device);
    *this = std::move(guard);
}

Lease::Lease(ManagedVersioned* managed, DeviceType device)
{
    Lease guard;
    guard.versioned_ = managed;
    // Of another major version nothing but the deleter may be touched.
    require(managed->version.major == MAJOR, "image: DLPack version", managed->version.major, "1",
            "Export the array with max_version=(1, 1).");
    guard.array_ = borrow(managed->tensor, (managed->flags & READ_ONLY) != 0, device);
    *this = std::move(guard);
}

Lease::Lease(Lease&& other) noexcept { *this = std::move(other); }

Lease& Lease::operator=(Lease&& other) noexcept
{
    if (this != &other) {
        reset();
        managed_ = std::exchange(other.managed_, nullptr);
        versioned_ = std::exchange(other.versioned_, nullptr);
        array_ = std::exchange(other.array_, {});
    }
    return *this;
}

void Lease::reset()
{
    // The specification allows a null deleter.
    if (managed_ && managed_->deleter) managed_->deleter(managed_);
    if (versioned_ && versioned_->deleter) versioned_->deleter(versioned_);
    managed_ = nullptr;
    versioned_ = nullptr;
    array_ = {};
}

}  // namespace foveate::dlpack
