// zlib: gzip and zip.
#pragma once
#if !__has_include(<zlib.h>)
#error "Graft needs zlib.h. Install it with: sudo apt-get install zlib1g-dev"
#endif
#include <zlib.h>
