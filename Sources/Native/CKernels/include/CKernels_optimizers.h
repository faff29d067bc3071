// Fused optimizer updates over flat buffers.
#pragma once
#include <stddef.h>
