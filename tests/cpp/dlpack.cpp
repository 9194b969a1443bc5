// SPDX-License-Identifier: Apache-2.0
// DLPack without Python: what leaves outlives everything, and nothing that comes in is trusted.
// Usage: dlpack [hostile structs, default 20000]
#include "interop/dlpack.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <thread>

#include "engine/error.h"
#include "interop/pixels.h"

namespace {

using namespace foveate;

int failures = 0;

void check_at(bool condition, const char* text, int line)
{
    if (condition) return;
    ++failures;
    std::fprintf(stderr, "line %d: %s\n", line, text);
}
#define CHECK(condition) check_at((condition), #condition, __LINE__)

bool throws(const std::function<void()>& call)
{
    try {
        call();
    } catch (const Error& error) {
        return std::strlen(error.what()) > 0;
    }
    return false;
}

int blocks = 0;

class TestBlock final : public Block {
public:
    explicit TestBlock(std::size_t size) : bytes_(size)
    {
        size_ = size;
        ++blocks;
        for (std::size_t i = 0; i < size; ++i) bytes_[i] = std::byte(i);
    }
    ~TestBlock() override { --blocks; }
    std::byte* host() override { return bytes_.data(); }

private:
    std::vector<std::byte> bytes_;
};

dlpack::Array array_of(std::vector<std::int64_t> shape, dlpack::DataType type = dlpack::U8)
{
    dlpack::Array array;
    array.block = Ref<Block>(new TestBlock(4096));
    array.type = type;
    array.strides = dlpack::compact_strides(shape);
    array.shape = std::move(shape);
    return array;
}

void test_abi()
{
    using dlpack::Tensor, dlpack::Managed, dlpack::ManagedVersioned;
    CHECK(offsetof(Tensor, device) == 8 && offsetof(Tensor, ndim) == 16 && offsetof(Tensor, dtype) == 20);
    CHECK(offsetof(Tensor, shape) == 24 && offsetof(Tensor, strides) == 32);
    CHECK(offsetof(Tensor, byte_offset) == 40);
    CHECK(offsetof(Managed, context) == 48 && offsetof(Managed, deleter) == 56);
    CHECK(offsetof(ManagedVersioned, context) == 8 && offsetof(ManagedVersioned, deleter) == 16);
    CHECK(offsetof(ManagedVersioned, flags) == 24 && offsetof(ManagedVersioned, tensor) == 32);
}

void test_export()
{
    dlpack::Array array = array_of({2, 3, 4}, dlpack::F32);
    array.offset = 64;
    dlpack::Managed* managed = dlpack::make_managed(array, false);
    CHECK(managed->tensor.data == array.block->host() + 64 && managed->tensor.byte_offset == 0);
    CHECK(managed->tensor.ndim == 3 && managed->tensor.shape[2] == 4 && managed->tensor.strides[0] == 12);
    CHECK(managed->tensor.device.type == dlpack::CPU && managed->tensor.dtype == dlpack::F32);
    array = {};
    CHECK(blocks == 1);  // the tensor holds it
    std::thread([&] { managed->deleter(managed); }).join();
    CHECK(blocks == 0);

    array = array_of({4, 5});
    array.read_only = true;
    dlpack::ManagedVersioned* shared = dlpack::make_versioned(array, false);
    CHECK(shared->version.major == 1 && shared->flags == dlpack::READ_ONLY);
    dlpack::ManagedVersioned* copied = dlpack::make_versioned(array, true);
    CHECK(copied->flags == dlpack::IS_COPIED && copied->tensor.data != shared->tensor.data);
    CHECK(std::memcmp(copied->tensor.data, shared->tensor.data, 20) == 0);
    shared->deleter(shared);
    array = {};
    CHECK(blocks == 0);
    copied->deleter(copied);

    array = array_of({3, 2});
    array.strides = {7, 2};  // a copy is compact
    copied = dlpack::make_versioned(array, true);
    const auto* bytes = static_cast<const unsigned char*>(copied->tensor.data);
    CHECK(bytes[0] == 0 && bytes[1] == 2 && bytes[2] == 7 && bytes[5] == 16);
    CHECK(copied->tensor.strides[0] == 2);
    copied->deleter(copied);

    array = array_of({0, 3});
    for (bool copy : {false, true}) {
        dlpack::Managed* empty = dlpack::make_managed(array, copy);
        CHECK(empty->tensor.data == nullptr && empty->tensor.strides != nullptr);
        empty->deleter(empty);
    }
}

// A tensor as another library would make it, that counts how often it is ended.
struct Foreign {
    dlpack::ManagedVersioned versioned;
    dlpack::Managed managed;
    std::vector<std::int64_t> shape, strides;
    std::vector<std::byte> bytes;
    int ended = 0;

    explicit Foreign(std::vector<std::int64_t> sizes) : shape(std::move(sizes)), bytes(8192)
    {
        strides = dlpack::compact_strides(shape);
        dlpack::Tensor& tensor = versioned.tensor;
        tensor.data = bytes.data();
        tensor.ndim = std::int32_t(shape.size());
        tensor.dtype = dlpack::U8;
        tensor.shape = shape.data();
        tensor.strides = strides.data();
        versioned.context = managed.context = this;
        versioned.deleter = [](auto* self) { ++static_cast<Foreign*>(self->context)->ended; };
        managed.deleter = [](auto* self) { ++static_cast<Foreign*>(self->context)->ended; };
    }

    // True when the import was refused; either way it must have been ended once, by then.
    bool refused(bool old = false)
    {
        ended = 0;
        managed.tensor = versioned.tensor;
        const bool thrown = throws([&] {
            if (old) dlpack::Lease lease(&managed);
            else dlpack::Lease lease(&versioned);
        });
        CHECK(ended == 1);
        return thrown;
    }
};

void test_import()
{
    Foreign foreign({4, 6, 3});
    {
        dlpack::Lease lease(&foreign.versioned);
        CHECK(lease.array().data == foreign.bytes.data() && lease.array().strides[0] == 18);
        dlpack::Lease other(std::move(lease));
        CHECK(foreign.ended == 0 && other.array().shape.size() == 3 && lease.array().data == nullptr);
        other.reset();
        CHECK(foreign.ended == 1);
        other.reset();
        CHECK(foreign.ended == 1);
    }
    CHECK(!foreign.refused(false) && !foreign.refused(true));

    foreign.versioned.tensor.strides = nullptr;
    foreign.versioned.tensor.byte_offset = 5;
    foreign.versioned.flags = dlpack::READ_ONLY;
    {
        dlpack::Lease lease(&foreign.versioned);
        CHECK(lease.array().data == foreign.bytes.data() + 5 && lease.array().read_only);
        CHECK((lease.array().strides == std::vector<std::int64_t>{18, 3, 1}));
    }

    Foreign no_deleter({2, 2});
    no_deleter.versioned.deleter = nullptr;
    CHECK(!throws([&] { dlpack::Lease lease(&no_deleter.versioned); }));

    Foreign empty({0, 6, 3});
    empty.versioned.tensor.data = nullptr;
    CHECK(!empty.refused());
    Foreign single({1, 1, 3});  // strides of axes of one may be anything
    single.strides = {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min(), 1};
    CHECK(!single.refused());
    Foreign reversed({4, 6, 3});
    reversed.strides = {-18, 3, 1};
    CHECK(!reversed.refused());
    Foreign repeated({4, 6, 3});
    repeated.strides = {0, 0, 0};
    CHECK(!repeated.refused());
}

void test_refusals()
{
    constexpr std::int64_t MOST = std::numeric_limits<std::int64_t>::max();
    const auto wrong = [](const std::function<void(Foreign&)>& spoil) {
        Foreign foreign({4, 6, 3});
        spoil(foreign);
        return foreign.refused(false);
    };
    for (std::int32_t ndim : {-1, 0, 9, 33, std::numeric_limits<std::int32_t>::max()})
        CHECK(wrong([&](Foreign& f) { f.versioned.tensor.ndim = ndim; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.shape = nullptr; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.data = nullptr; }));
    CHECK(wrong([](Foreign& f) { f.shape[1] = -6; }));
    CHECK(wrong([](Foreign& f) { f.shape[1] = MOST; }));
    CHECK(wrong([](Foreign& f) { f.shape[0] = f.shape[1] = 1ll << 40; }));
    CHECK(wrong([](Foreign& f) { f.strides[0] = MOST; }));
    CHECK(wrong([](Foreign& f) { f.strides[0] = -MOST; }));
    CHECK(wrong([](Foreign& f) { f.strides[0] = -(1ll << 46); }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.byte_offset = ~0ull; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.byte_offset = 1ull << 62; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.data = reinterpret_cast<void*>(~std::uintptr_t(7)); }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.device.type = dlpack::CUDA; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.dtype.lanes = 0; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.dtype.lanes = 4; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.dtype.bits = 0; }));
    CHECK(wrong([](Foreign& f) { f.versioned.tensor.dtype.bits = 4; }));
    // Of another major version only the deleter may be touched: the rest is garbage here.
    CHECK(wrong([](Foreign& f) {
        f.versioned.version.major = 2;
        std::memset(static_cast<void*>(&f.versioned.tensor), 0xff, sizeof f.versioned.tensor);
    }));
}

void test_views()
{
    Foreign foreign({2, 4, 6, 3});
    dlpack::Lease lease(&foreign.versioned);
    const pixels::Reading last{0, 1, 2, 3};
    CHECK(pixels::in_place(lease.array(), last));
    std::vector<ImageView> views;
    pixels::append_views(lease.array(), last, views);
    CHECK(views.size() == 2 && views[1].data == foreign.bytes.data() + 72 && views[1].row_stride == 18);
    CHECK(views[0].width == 6 && views[0].height == 4 && views[0].channels == 3);
    CHECK(views[0].pixel_stride == 3 && views[0].channel_stride == 1);

    dlpack::Borrowed array = lease.array();
    for (const std::vector<std::int64_t>& strides : std::initializer_list<std::vector<std::int64_t>>{
             {72, -18, 3, 1}, {72, 18, -3, 1}, {72, 18, 3, -1}, {72, 18, 3, 0}, {72, 0, 3, 1}, {72, 18, 9, 3},
             {72, 6, 3, 1}}) {
        array.strides = strides;
        CHECK(!pixels::in_place(array, last));
    }
    array.strides = {72, 6, 1, 24};  // planes
    CHECK(pixels::in_place(array, last));
    array.type = {dlpack::INT, 32, 1};
    CHECK(!pixels::in_place(array, last));

    std::vector<float> values(5 * 7, 0.5f);
    ImageView view{reinterpret_cast<const std::byte*>(values.data()), 7, 5, 1, 28, 4, 4, Element::f32};
    CHECK(!throws([&] { pixels::require_finite({view}); }));
    for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::quiet_NaN()})
        for (std::size_t at = 0; at < values.size(); ++at) {
            values[at] = bad;
            CHECK(throws([&] { pixels::require_finite({view}); }));
            values[at] = -0.0f;
        }
}

// Structs of random numbers, most of them near the edges: never a crash, and always ended exactly once.
void test_hostile(long count)
{
    std::mt19937_64 random(1);
    constexpr std::int64_t EDGES[] = {
        0, 1, -1, 2, 3, 4, 7, 255, 1 << 20, 1ll << 31, -(1ll << 31), 1ll << 46, 1ll << 47, 1ll << 62,
        std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()};
    const auto edge = [&] {
        return random() % 16 ? EDGES[random() % std::size(EDGES)] : std::int64_t(random());
    };
    long taken = 0;
    for (long i = 0; i < count; ++i) {
        Foreign foreign(std::vector<std::int64_t>(8));
        dlpack::Tensor& tensor = foreign.versioned.tensor;
        const bool mild = random() % 2;
        for (std::int64_t& length : foreign.shape) length = mild ? std::int64_t(random() % 4) : edge();
        for (std::int64_t& stride : foreign.strides) stride = mild ? std::int64_t(random() % 64) - 8 : edge();
        tensor.ndim = mild ? std::int32_t(1 + random() % 8) : std::int32_t(edge());
        tensor.byte_offset = random() % 4 ? 0 : std::uint64_t(edge());
        if (random() % 4 == 0) tensor.dtype = {std::uint8_t(random() % 9), std::uint8_t(random()), 1};
        if (random() % 16 == 0) tensor.dtype.lanes = std::uint16_t(random());
        if (random() % 8 == 0) tensor.strides = nullptr;
        if (random() % 16 == 0) tensor.data = reinterpret_cast<void*>(random());
        if (random() % 16 == 0) tensor.device.type = std::int32_t(edge());
        if (random() % 16 == 0) foreign.versioned.version.major = std::uint32_t(random() % 4);
        foreign.managed.tensor = tensor;
        const bool old = random() % 2;
        throws([&] {
            dlpack::Lease lease = old ? dlpack::Lease(&foreign.managed)
                                      : dlpack::Lease(&foreign.versioned);
            const dlpack::Borrowed& array = lease.array();
            std::vector<ImageView> views;
            const pixels::Reading reading{-1, 0, int(array.shape.size()) - 1, -1};
            ++taken;
            if (pixels::in_place(array, reading)) pixels::append_views(array, reading, views);
        });
        CHECK(foreign.ended == 1);
    }
    CHECK(count < 1000 || taken > count / 20);
}

}  // namespace

int main(int count, char** arguments)
{
    test_abi();
    test_export();
    test_import();
    test_refusals();
    test_views();
    test_hostile(count > 1 ? std::atol(arguments[1]) : 20000);
    CHECK(blocks == 0);
    if (failures == 0) std::puts("dlpack: ok");
    return failures != 0;
}
