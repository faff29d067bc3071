// oneDNN: convolutions, pooling, matrix products.
#pragma once
#if !__has_include(<dnnl.h>)
#error "Graft needs dnnl.h. Install it with: sudo apt-get install libdnnl-dev"
#endif
#include <dnnl.h>
