// SPDX-License-Identifier: Apache-2.0
// The instruction set that a file of row kernels is compiled for. Included by rows*.cpp only.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef FOVEATE_ISA
#define FOVEATE_ISA baseline
#endif
