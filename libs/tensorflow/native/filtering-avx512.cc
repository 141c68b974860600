#if defined(__x86_64__)
#define LOOM_LANES 16
#include "filtering.h"
#endif
