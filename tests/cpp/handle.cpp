// SPDX-License-Identifier: Apache-2.0
// Fd and Ref: who owns what, when it ends, and that it ends once.
#include "engine/handle.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <thread>
#include <type_traits>
#include <vector>

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

bool open_file(int fd) { return fcntl(fd, F_GETFD) >= 0; }
int new_file() { return ::open("/dev/null", O_RDONLY); }

static_assert(!std::is_copy_constructible_v<Fd> && !std::is_copy_assignable_v<Fd>);
static_assert(std::is_nothrow_move_constructible_v<Fd> && std::is_nothrow_move_assignable_v<Fd>);
static_assert(!std::is_convertible_v<int, Fd>);

void test_fd_owns()
{
    int raw = new_file();
    CHECK(!(fcntl(raw, F_GETFD) & FD_CLOEXEC));
    {
        Fd fd(raw);
        CHECK(fd && fd.get() == raw);
        CHECK(fcntl(raw, F_GETFD) & FD_CLOEXEC);
    }
    CHECK(!open_file(raw));

    const Fd none;
    CHECK(!none && none.get() == -1);
    const Fd failed(-1);  // what open() returns when it fails
    CHECK(!failed);
    const Fd zero_is_one(dup(0));
    CHECK(bool(zero_is_one) == (zero_is_one.get() >= 0));
}

void test_fd_moves()
{
    const int raw = new_file(), other = new_file();
    Fd first(raw);
    Fd second(std::move(first));
    CHECK(!first && second.get() == raw && open_file(raw));

    Fd third(other);
    third = std::move(second);
    CHECK(!second && third.get() == raw);
    CHECK(!open_file(other) && open_file(raw));

    Fd& itself = third;
    third = std::move(itself);
    CHECK(third.get() == raw && open_file(raw));

    third = Fd();
    CHECK(!third && !open_file(raw));
}

void test_fd_lets_go()
{
    Fd fd(new_file());
    const int raw = fd.release();
    CHECK(!fd && open_file(raw));
    CHECK(fd.release() == -1);
    ::close(raw);

    Fd again(new_file());
    const int ended = again.get();
    again.reset();
    CHECK(!again && !open_file(ended));
    // The number is somebody else's by now: a second reset must leave it alone.
    const int reused = new_file();
    CHECK(reused == ended);
    again.reset();
    CHECK(open_file(reused));
    ::close(reused);
}

int alive = 0;

struct Thing : Counted {
    explicit Thing(int value) : value(value) { ++alive; }
    ~Thing() override { --alive; }
    int value;
};

struct Special final : Thing {
    using Thing::Thing;
};

void test_ref_counts()
{
    {
        const Ref<Thing> one(new Thing(7));
        CHECK(alive == 1 && one && one->value == 7 && (*one).value == 7);
        {
            const Ref<Thing> two = one;
            CHECK(two.get() == one.get());
        }
        CHECK(alive == 1);
    }
    CHECK(alive == 0);
    const Ref<Thing> none;
    CHECK(!none && none.get() == nullptr);
    const Ref<Thing> copy_of_none = none;
    CHECK(!copy_of_none);
}

void test_ref_moves()
{
    Ref<Thing> one(new Thing(1));
    Thing* const object = one.get();
    Ref<Thing> two(std::move(one));
    CHECK(!one && two.get() == object && alive == 1);

    Ref<Thing> three(new Thing(3));
    three = two;
    CHECK(alive == 1 && three.get() == object && two.get() == object);
    three = std::move(two);
    CHECK(!two && alive == 1);
    Ref<Thing>& itself = three;
    three = itself;
    CHECK(alive == 1 && three.get() == object);
    three = Ref<Thing>();
    CHECK(alive == 0 && !three);
}

void test_ref_converts()
{
    Ref<Special> special(new Special(2));
    Ref<Thing> base = special;
    CHECK(base.get() == special.get() && alive == 1);
    special = {};
    CHECK(alive == 1 && base->value == 2);
    const Ref<Counted> counted = std::move(base);
    CHECK(!base && alive == 1);
}

void test_ref_detaches()
{
    Ref<Thing> one(new Thing(4));
    Thing* const object = one.detach();
    CHECK(!one && alive == 1);
    CHECK(one.detach() == nullptr);
    object->retain();
    object->release();
    CHECK(alive == 1);
    const Ref<Thing> adopted(object);
    CHECK(alive == 1);
}

// An object that goes back to a shelf with its last release, as pooled blocks do.
struct Pooled final : Counted {
    static inline Pooled* shelf = nullptr;
    static inline int returned = 0;
    static Ref<Pooled> take()
    {
        Pooled* const object = std::exchange(shelf, nullptr);
        object->revive();
        return Ref<Pooled>(object);
    }

protected:
    void last_release() override
    {
        shelf = this;
        ++returned;
    }
};

void test_last_release_may_pool()
{
    {
        const Ref<Pooled> first(new Pooled);
        const Ref<Pooled> second = first;
    }
    CHECK(Pooled::returned == 1 && Pooled::shelf);
    {
        const Ref<Pooled> again = Pooled::take();
        CHECK(!Pooled::shelf);
        const Ref<Pooled> copy = again;
    }
    CHECK(Pooled::returned == 2);
    delete std::exchange(Pooled::shelf, nullptr);
}

void test_ref_across_threads()
{
    for (int round = 0; round < 50; ++round) {
        Ref<Thing> shared(new Thing(round));
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([copy = shared] {
                for (int turn = 0; turn < 200; ++turn) {
                    Ref<Thing> mine = copy;
                    const Ref<Thing> other = std::move(mine);
                }
            });
        shared = {};
        for (std::thread& thread : threads) thread.join();
    }
    CHECK(alive == 0);
}

}  // namespace

int main()
{
    test_fd_owns();
    test_fd_moves();
    test_fd_lets_go();
    test_ref_counts();
    test_ref_moves();
    test_ref_converts();
    test_ref_detaches();
    test_last_release_may_pool();
    test_ref_across_threads();
    CHECK(alive == 0);
    std::printf("handle: %s\n", failures ? "FAILED" : "ok");
    return failures ? 1 : 0;
}
