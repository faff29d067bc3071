// libjpeg-turbo: JPEG decoding.
#pragma once
#if !__has_include(<turbojpeg.h>)
#error "Graft needs turbojpeg.h. Install it with: sudo apt-get install libturbojpeg0-dev"
#endif
#include <turbojpeg.h>
