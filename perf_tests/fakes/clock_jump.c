/* LD_PRELOAD this, and the wall clock jumps a day forth and back every quarter of a second. The monotonic clock doesn't. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status;
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    status = real(clock, now);
    if (!status && clock == CLOCK_REALTIME) now->tv_sec += (now->tv_nsec / 250000000) % 2 ? 86400 : -86400;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec wall;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &wall);
    now->tv_sec = wall.tv_sec;
    now->tv_usec = wall.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    if (result) *result = wall.tv_sec;
    return wall.tv_sec;
}
