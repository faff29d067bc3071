// OpenBLAS: matrix products. Declarations only.
#pragma once
#if !__has_include(<cblas.h>)
#error "Graft needs cblas.h. Install it with: sudo apt-get install libopenblas-openmp-dev libopenblas-dev"
#endif
#include <cblas.h>
