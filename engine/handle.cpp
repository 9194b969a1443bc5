// SPDX-License-Identifier: Apache-2.0
#include "engine/handle.h"

#include <fcntl.h>
#include <unistd.h>

namespace foveate {

Fd::Fd(int fd) : fd_(fd)
{
    // Drivers hand descriptors out without it; a subprocess must not inherit our memory.
    if (fd_ >= 0) fcntl(fd_, F_SETFD, fcntl(fd_, F_GETFD) | FD_CLOEXEC);
}

Fd Fd::duplicate(int fd) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

Fd& Fd::operator=(Fd&& other) noexcept
{
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void Fd::reset()
{
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace foveate
