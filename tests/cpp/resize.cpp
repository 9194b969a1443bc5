// SPDX-License-Identifier: Apache-2.0
// The resizer reads no byte that is not the image's, and gives the same bytes on every instruction set, by any number
// of threads. Each image ends where its allocation does, so that a sanitizer sees what is read behind it.
#include "engine/cpu/resize.h"

#include <cstdio>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "engine/error.h"

using namespace foveate;

namespace {

int failures = 0;

void check_at(bool condition, const char* text, int line)
{
    if (condition) return;
    ++failures;
    std::fprintf(stderr, "line %d: %s\n", line, text);
}
#define CHECK(condition) check_at((condition), #condition, __LINE__)

struct Picture {
    std::vector<std::byte> bytes;
    ImageView view;
};

// stride 0: planes.
Picture picture(std::mt19937& random, std::uint32_t width, std::uint32_t height, std::uint32_t channels,
                std::uint32_t stride, std::uint32_t gap)
{
    Picture made;
    ImageView& view = made.view;
    view.width = width;
    view.height = height;
    view.channels = channels;
    view.pixel_stride = stride ? stride : 1;
    view.row_stride = width * view.pixel_stride + gap;
    view.channel_stride = stride ? 1 : height * view.row_stride;
    made.bytes.resize((height - 1) * view.row_stride + (width - 1) * view.pixel_stride +
                      (channels - 1) * view.channel_stride + 1);
    for (std::byte& byte : made.bytes) byte = std::byte(random());
    view.data = made.bytes.data();
    return made;
}

std::vector<std::byte> taken(const Ref<Block>& block)
{
    return {block->host(), block->host() + block->size()};
}

void test_same_bytes()
{
    std::vector<std::unique_ptr<cpu::Resizer>> resizers;
    for (const cpu::RowKernels* rows : cpu::rows_available())
        for (std::uint32_t threads : {1u, 3u}) resizers.emplace_back(new cpu::Resizer(threads, rows->name));
    std::mt19937 random(1);
    std::vector<float> table(3 * 256);
    for (float& value : table) value = float(random() % 1000);
    const auto pick = [&](std::uint32_t from, std::uint32_t to) {
        return std::uint32_t(from + random() % (to - from + 1));
    };
    for (int round = 0; round < 200; ++round) {
        const std::uint32_t channels = random() % 3 ? 3 : 1;
        const std::uint32_t stride = random() % 4 == 0 ? 0 : channels == 1 ? pick(1, 4) : pick(3, 4);
        const bool small = random() % 3 == 0;
        const Picture one = picture(random, pick(1, small ? 6 : 90), pick(1, small ? 9 : 120), channels, stride,
                                    random() % 2 ? 0 : pick(0, 70));
        const cpu::Resize size{pick(1, 70), pick(1, 70), random() % 2 == 0};
        const cpu::Resize cells{6 * pick(1, 9), 6 * pick(1, 9), size.down_first};
        const ImageView views[2] = {one.view, one.view};
        const cpu::Resize both[2] = {cells, {6, 12, size.down_first}};
        std::vector<std::byte> bytes, rows;
        for (const auto& resizer : resizers) {
            const auto own = taken(resizer->bytes(one.view, size));
            const auto own_rows = taken(resizer->patches(views, both, table, {.patch = 3, .merge = 2, .frames = 2}));
            CHECK(own.size() == std::size_t(size.width) * size.height * channels);
            CHECK(own_rows.size() == 3ull * 2 * (cells.width * cells.height + 6 * 12) * sizeof(float));
            CHECK(bytes.empty() || own == bytes);
            CHECK(rows.empty() || own_rows == rows);
            bytes = own;
            rows = own_rows;
        }
    }
}

void test_many_callers()
{
    cpu::Resizer resizer(2, "");
    std::mt19937 random(2);
    const Picture one = picture(random, 200, 150, 3, 3, 0);
    const auto expected = taken(resizer.bytes(one.view, {90, 80}));
    std::vector<std::thread> callers;
    std::vector<int> same(4);
    for (int i = 0; i < 4; ++i)
        callers.emplace_back([&, i] {
            for (int k = 0; k < 20; ++k) same[i] += taken(resizer.bytes(one.view, {90, 80})) == expected;
        });
    for (std::thread& caller : callers) caller.join();
    for (int count : same) CHECK(count == 20);
}

void test_a_block_outlives_its_resizer()
{
    Ref<Block> block;
    std::mt19937 random(3);
    const Picture one = picture(random, 40, 30, 3, 4, 8);
    std::vector<std::byte> before;
    {
        cpu::Resizer resizer(2, "");
        block = resizer.bytes(one.view, {20, 10});
        before = taken(block);
    }
    CHECK(taken(block) == before);
}

}  // namespace

int main()
{
    test_same_bytes();
    test_many_callers();
    test_a_block_outlives_its_resizer();
    if (failures == 0) std::printf("resize: ok\n");
    return failures != 0;
}
