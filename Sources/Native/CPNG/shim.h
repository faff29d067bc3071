// libpng: PNG decoding.
#pragma once
#if !__has_include(<png.h>)
#error "Graft needs png.h. Install it with: sudo apt-get install libpng-dev"
#endif
#include <png.h>
