# SPDX-License-Identifier: Apache-2.0
"""What a process gives up for good before it reads what a stranger sent: memory, files, processes, system calls.

setrlimit(2), prctl(2) and seccomp(2) of Linux. Each can only be made tighter by the process afterwards.
"""

import ctypes
import platform
import resource
import signal
import struct

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
# What decoding, answering and ending take, on x86-64. No files are opened, no sockets made, nobody is signalled.
X86_64 = 0xC000003E
CALLS = {"read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
         "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18,
         "sched_yield": 24, "mremap": 25, "madvise": 28, "getpid": 39, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
         "recvmsg": 47, "exit": 60, "fcntl": 72, "getrusage": 98, "sigaltstack": 131, "gettid": 186, "futex": 202,
         "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231, "newfstatat": 262, "getcpu": 309,
         "getrandom": 318, "membarrier": 324, "rseq": 334}
PRLIMIT = 302           # of this process alone, for the limit of processor time
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06      # classic BPF
ALLOW, REFUSE = 0x7FFF0000, 0x00050001      # the second: errno EPERM
NUMBER, ARCH, FIRST = 0, 4, 16              # offsets in struct seccomp_data


def confine(memory: int, file: int, shared: int = 0) -> bool:
    """No more memory than this beyond what there is, no larger file, no process, no dump, few system calls.

    Args:
        memory: bytes of its own; shared: bytes that it may map of others' beside them; file: bytes of a file.

    Returns:
        whether the system calls are filtered too: on x86-64, where the kernel has it.
    """
    for name in (signal.SIGINT, signal.SIGTERM):    # for the service, which ends its workers itself when it is done
        signal.signal(name, signal.SIG_IGN)
    with open("/proc/self/status") as text:
        held = {line.split()[0]: int(line.split()[1]) << 10 for line in text if line.startswith(("VmSize", "VmData"))}
    for what, most in ((resource.RLIMIT_AS, held["VmSize:"] + memory + shared),
                       (resource.RLIMIT_DATA, held["VmData:"] + memory), (resource.RLIMIT_FSIZE, file),
                       (resource.RLIMIT_NOFILE, 16), (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_CORE, 0),
                       (resource.RLIMIT_MEMLOCK, 0)):
        resource.setrlimit(what, (most, most))
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if platform.machine() != "x86_64":
        return False
    steps = filter_of(CALLS.values())
    code = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    return system.prctl(PR_SET_SECCOMP, FILTER, program, 0, 0) == 0


def filter_of(numbers) -> list[bytes]:
    """The filter: these calls, and prlimit of the process itself."""
    def step(code, value, yes=0, no=0):
        return struct.pack("HBBI", code, yes, no, value)

    numbers = sorted(numbers)
    left = len(numbers)
    steps = [step(LOAD, ARCH), step(EQUAL, X86_64, 1, 0), step(RETURN, REFUSE), step(LOAD, NUMBER)]
    steps += [step(EQUAL, number, left - index + 3, 0) for index, number in enumerate(numbers)]
    return [*steps, step(EQUAL, PRLIMIT, 0, 2), step(LOAD, FIRST), step(EQUAL, 0, 1, 0), step(RETURN, REFUSE),
            step(RETURN, ALLOW)]
