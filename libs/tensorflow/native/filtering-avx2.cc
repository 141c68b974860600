#if defined(__x86_64__)
#define LOOM_LANES 8
#include "filtering.h"
#endif
