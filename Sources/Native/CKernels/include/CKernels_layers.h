// Kernels of layers over activation tensors.
#pragma once
#include <stddef.h>
#include <stdint.h>
