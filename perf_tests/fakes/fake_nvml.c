/* Stands in for libnvidia-ml.so.1, with what the suite asks of it. Read only, as the suite is.
 *
 * FAKE_NVML names a file of lines "KEY VALUE", read anew at each call; "KEY.1" is the KEY of card 1 alone. Keys:
 *   id, count                     part of the cards' UUIDs; how many there are
 *   total, used, per_process      bytes of memory: of a card, in use, and in use by each process
 *   reasons, thermal_ns, ecc, mig what holds the clocks down; how long temperature did; errors; MIG mode
 *   watts, energy_step_ms         what a card takes all the time, and how often its counter of energy moves
 *   init, error                   what nvmlInit, and what every question about a card returns
 *   untold_memory, untold_processes, untold_ecc, untold_reasons, untold_uuid, untold_energy, untold_power
 *                                 what a single question returns
 * FAKE_NVML.pids has a line "PID CARD" for each process on a card; those alive count.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OK 0
#define INSUFFICIENT_SIZE 7

typedef unsigned long long u64;
typedef struct { u64 total, free, used; } memory_t;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { u64 reference, violation; } violation_t;

static u64 value(const char *key, long card) {
    char own[64], line[256], name[64];
    u64 number, common = 0, found = 0;
    int is_own = 0;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    snprintf(own, sizeof own, "%s.%ld", key, card);
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %llu", name, &number) == 2) {
            if (!strcmp(name, key)) common = number;
            if (!strcmp(name, own)) found = number, is_own = 1;
        }
    fclose(file);
    return is_own ? found : common;
}

/* Handles are the index plus one, so that none is NULL. */
static long index_of(void *handle) { return (long)handle - 1; }

static int answer(long card) {
    return (int)value("error", card);
}

static int told(const char *untold, long card) {
    int error = answer(card);
    return error ? error : (int)value(untold, card);
}

static unsigned processes(long card, process_t *list, unsigned room) {
    char path[4096];
    unsigned count = 0, pid;
    const char *base = getenv("FAKE_NVML");
    FILE *file;
    long where;
    if (!base) return 0;
    snprintf(path, sizeof path, "%s.pids", base);
    if (!(file = fopen(path, "r"))) return 0;
    while (fscanf(file, "%u %ld", &pid, &where) == 2)
        if (where == card && (kill((int)pid, 0) == 0 || errno == EPERM)) {
            if (list && count < room) memset(&list[count], 0, sizeof *list), list[count].pid = pid;
            count++;
        }
    fclose(file);
    return count;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return (int)value("init", -1); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
    (void)code;
    return "Unknown Error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "580.0.fake"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)value("count", -1); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(long)(index + 1);
    return answer(index);
}
int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    snprintf(text, length, "NVIDIA H200");
    return answer(index_of(handle));
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    snprintf(text, length, "GPU-fake-%llu-%ld", value("id", -1), index_of(handle));
    return told("untold_uuid", index_of(handle));
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    long card = index_of(handle);
    memory->total = value("total", card);
    memory->used = value("used", card) + value("per_process", card) * processes(card, NULL, 0);
    memory->free = memory->total - memory->used;
    return told("untold_memory", card);
}
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending) {
    *now = *pending = (unsigned)value("mig", index_of(handle));
    return answer(index_of(handle));
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *list) {
    long card = index_of(handle);
    unsigned room = list ? *count : 0;
    int error = told("untold_processes", card);
    if (error) return error;
    *count = processes(card, list, room);
    return *count > room ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *handle, u64 *reasons) {
    *reasons = value("reasons", index_of(handle));
    return told("untold_reasons", index_of(handle));
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, u64 *errors) {
    (void)type, (void)counter;
    *errors = value("ecc", index_of(handle));
    return told("untold_ecc", index_of(handle));
}
int nvmlDeviceGetViolationStatus(void *handle, int policy, violation_t *status) {
    status->reference = 0;
    status->violation = policy == 1 ? value("thermal_ns", index_of(handle)) : 0;
    return answer(index_of(handle));
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    *milliwatts = (unsigned)(1000 * value("watts", index_of(handle)));
    return told("untold_power", index_of(handle));
}
int nvmlDeviceGetTotalEnergyConsumption(void *handle, u64 *millijoules) {
    long card = index_of(handle);
    u64 step = value("energy_step_ms", card), now;
    struct timespec clock;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    now = (u64)clock.tv_sec * 1000 + (u64)clock.tv_nsec / 1000000;
    *millijoules = value("watts", card) * (step ? now / step * step : now);
    return told("untold_energy", card);
}
