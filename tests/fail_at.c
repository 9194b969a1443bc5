// SPDX-License-Identifier: Apache-2.0
// Preloaded into a batch: the calls that change files are counted, and the FAIL_AT-th kills the process before it is
// made (FAIL_HOW=kill), after it (after), or is answered with an error number. FAIL_UNDER is the folder that counts.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int under(const char *path) {
    const char *folder = getenv("FAIL_UNDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int under_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return under(path);
}

// 0: go on; 1: make the call, then die; else the error to answer with
static int chosen(int counts) {
    if (!counts) return 0;
    long number = ++calls, wanted = atol(getenv("FAIL_AT") ? getenv("FAIL_AT") : "0");
    const char *how = getenv("FAIL_HOW"), *tally = getenv("FAIL_COUNT");
    if (tally) {
        char text[24];
        int fd = (int)syscall(257 /* openat */, AT_FDCWD, tally, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        int length = snprintf(text, sizeof text, "%ld", number);
        ssize_t (*plain)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
        if (fd >= 0 && plain(fd, text, (size_t)length) < 0) abort();
        if (fd >= 0) close(fd);
    }
    if (number != wanted) return 0;
    if (!how || strcmp(how, "kill") == 0) raise(SIGKILL);
    return strcmp(how, "after") == 0 ? 1 : atoi(how);
}

#define WRAP(type, name, parameters, arguments, counts, failed)                     \
    type name parameters {                                                          \
        static type(*real) parameters;                                              \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);              \
        int how = chosen(counts);                                                   \
        if (how > 1) {                                                              \
            errno = how;                                                            \
            return failed;                                                          \
        }                                                                           \
        type result = real arguments;                                               \
        if (how == 1) raise(SIGKILL);                                               \
        return result;                                                              \
    }

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), under_fd(fd), -1)
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), under_fd(fd), -1)
WRAP(int, fsync, (int fd), (fd), under_fd(fd), -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), under(from) || under(to), -1)
WRAP(int, unlink, (const char *path), (path), under(path), -1)
WRAP(int, rmdir, (const char *path), (path), under(path), -1)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), under(path), -1)

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int how = chosen((flags & O_CREAT) && under(path));
    if (how > 1) {
        errno = how;
        return -1;
    }
    int result = real(path, flags, mode);
    if (how == 1) raise(SIGKILL);
    return result;
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));
