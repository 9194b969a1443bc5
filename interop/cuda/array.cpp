// SPDX-License-Identifier: Apache-2.0
#include "interop/cuda/array.h"

#include "engine/error.h"
#include "engine/limits.h"

namespace foveate::cuda {

namespace {

// The block outlives it: the tensor's owner ends it first.
class Loan final : public Counted {
public:
    Loan(Mapping& mapping, Stream stream) : mapping_(mapping), stream_(stream) { mapping_.users.begin(stream); }
    ~Loan() override { mapping_.users.end(stream_); }

private:
    Mapping& mapping_;
    const Stream stream_;
};

// Memory of a copy that was asked for. It belongs to no engine and to no budget.
class CopyBlock final : public Block {
public:
    CopyBlock(Ref<Context> context, std::uint64_t size, Stream stream)
        : context_(std::move(context)), users_(context_), stream_(stream)
    {
        size_ = size;
        const Current current(*context_);
        check(context_->cu, context_->cu.MemAlloc(&address_, size), "allocate memory");
    }
    ~CopyBlock() override
    {
        users_.end(stream_);
        // Memory that a kernel still works with is lost rather than pulled away.
        if (!users_.idle(limits::WAIT_NS)) return;
        const Current current(*context_, std::nothrow);
        if (current.result() == SUCCESS) context_->cu.MemFree(address_);
    }
    std::byte* host() override { return nullptr; }
    Address address() const { return address_; }

private:
    Ref<Context> context_;
    Users users_;
    const Stream stream_;
    Address address_ = 0;
};

class HostBlock final : public Block {
public:
    explicit HostBlock(std::uint64_t size) : bytes_(size) { size_ = size; }
    std::byte* host() override { return bytes_.data(); }

private:
    std::vector<std::byte> bytes_;
};

std::byte* pointer(Address address) { return reinterpret_cast<std::byte*>(std::uintptr_t(address)); }
Address address_of(const dlpack::Array& array) { return Address(reinterpret_cast<std::uintptr_t>(array.data())); }

}  // namespace

Array make_array(const Ref<Link>& link, dlpack::Array array)
{
    array.base = pointer(link->map(array.block).address());
    array.device = {dlpack::CUDA, link->device().ordinal};
    return {std::move(array), link};
}

Stream stream_named(std::optional<std::int64_t> number, const char* what)
{
    const std::int64_t stream = number.value_or(1);
    require(stream > 0, what, stream,
            "None, 1 (the legacy default stream), 2 (the thread's default stream) or a stream's handle");
    return reinterpret_cast<Stream>(std::uintptr_t(stream));
}

std::uint64_t span_of(const dlpack::Array& array)
{
    if (array.elements() == 0) return 0;
    std::uint64_t last = 0;
    for (std::size_t axis = 0; axis < array.shape.size(); ++axis)
        last += std::uint64_t(array.shape[axis] - 1) * std::uint64_t(array.strides[axis]);
    return (last + 1) * (array.type.bits / 8);
}

dlpack::Array lent(const Array& array, Stream stream, bool ordered)
{
    if (ordered) array.link->order(stream);
    dlpack::Array result = array.array;
    result.loan = Ref<Counted>(new Loan(array.mapping(), stream));
    return result;
}

dlpack::Array copied(const Array& array, Stream stream, bool ordered)
{
    if (ordered) array.link->order(stream);
    const std::uint64_t size = span_of(array.array);
    Ref<CopyBlock> block(new CopyBlock(array.link->context(), size, stream));
    const Driver& cu = array.link->context()->cu;
    const Current current(*array.link->context());
    check(cu, cu.MemcpyDtoDAsync(block->address(), address_of(array.array), size, stream), "copy an array");
    array.mapping().users.end(stream);  // the copy is to be over before the memory is used again
    dlpack::Array result = array.array;
    result.offset = 0;
    result.base = pointer(block->address());
    result.block = block;
    result.copied = true;
    result.read_only = false;
    return result;
}

dlpack::Array on_host(const Array& array)
{
    dlpack::Array result = array.array;
    const std::uint64_t size = span_of(array.array);
    result.block = Ref<Block>(new HostBlock(size));
    array.link->order(array.link->stream());
    if (size) array.link->copy_to_host(result.block->host(), address_of(array.array), size);
    result.offset = 0;
    result.base = nullptr;
    result.device = {};
    result.copied = true;
    result.read_only = false;
    return result;
}

}  // namespace foveate::cuda
