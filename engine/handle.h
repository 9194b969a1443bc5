// SPDX-License-Identifier: Apache-2.0
// Ownership: Fd owns a file descriptor, Ref counts a shared object. Nothing else in the engine does either.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace foveate {

// A file descriptor with one owner. Every descriptor it takes is close-on-exec.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd);
    ~Fd() { reset(); }
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;

    static Fd duplicate(int fd);  // invalid where `fd` is

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }  // for an API that took ownership, on success only
    void reset();

private:
    int fd_ = -1;
};

// Base of what Ref counts. The last release may happen on any thread, without Python.
class Counted {
public:
    virtual ~Counted() = default;
    void retain() { count_.fetch_add(1, std::memory_order_relaxed); }
    void release()
    {
        if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) last_release();
    }

protected:
    virtual void last_release() { delete this; }  // a pooled object goes back to its pool instead
    void revive() { count_.store(1, std::memory_order_relaxed); }

private:
    std::atomic<std::uint32_t> count_{1};
};

template <class T>
class Ref {
public:
    Ref() = default;
    explicit Ref(T* adopted) : object_(adopted) {}  // takes over the count the object was born with
    Ref(const Ref& other) : object_(other.object_)
    {
        if (object_) object_->retain();
    }
    Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    template <class U>
    Ref(Ref<U> other) : object_(other.detach()) {}
    Ref& operator=(Ref other) noexcept
    {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref()
    {
        if (object_) object_->release();
    }

    T* get() const { return object_; }
    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }
    explicit operator bool() const { return object_ != nullptr; }
    T* detach() { return std::exchange(object_, nullptr); }

private:
    T* object_ = nullptr;
};

}  // namespace foveate
