/* Forks while a device still computes: what the parent has asked for is the parent's, and so is the news of its end.
 *
 *   fork_with_runs early   the child waits for the device at once, the parent waits LATE ms later
 *   fork_with_runs late    the parent waits at once, the child LATE ms later
 *   fork_with_runs often   another thread waits for devices again and again while children are forked */
#include "small_graph.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATE_MS 500
#define N_RUNS 1000
#define N_CHILDREN 100

static bool enough;

static enum ggml_backend_dev_type type_gpu(ggml_backend_dev_t device) {
    (void) device;
    return GGML_BACKEND_DEVICE_TYPE_GPU;
}

static void wait_for_nothing(ggml_backend_t backend) {
    (void) backend;
}

/* The CPU, as a device that returns before it has finished. */
static struct ggml_backend device_on(ggml_backend_t cpu, struct ggml_backend_device * device) {
    *device = *ggml_backend_get_device(cpu);
    device->iface.get_type = type_gpu;
    struct ggml_backend backend = *cpu;
    backend.device = device;
    backend.iface.synchronize = wait_for_nothing;
    return backend;
}

static void sleep_ms(int ms) {
    usleep((useconds_t) ms * 1000);
}

static void end_well(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "host: the child ended with %d\n", status);
        exit(1);
    }
}

static void * wait_again_and_again(void * backend) {
    while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
        ggml_backend_synchronize(backend);
    }
    return NULL;
}

int main(int argc, char ** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: fork_with_runs early|late|often\n");
        return 2;
    }
    ggml_backend_t cpu = make_cpu();
    struct ggml_backend_device type;
    struct ggml_backend device = device_on(cpu, &type), other = device;
    struct small_graph g = make_graph();
    if (!strcmp(argv[1], "often")) {
        for (int i = 0; i < N_RUNS; i++) {
            compute(&device, g);
        }
        pthread_t thread;
        pthread_create(&thread, NULL, wait_again_and_again, &other);
        for (int i = 0; i < N_CHILDREN; i++) {
            const pid_t child = fork();
            if (child == 0) {
                alarm(10);
                ggml_backend_synchronize(&device);
                _exit(0);
            }
            end_well(child);
        }
        __atomic_store_n(&enough, true, __ATOMIC_RELAXED);
        pthread_join(thread, NULL);
        return 0;
    }
    const bool early = !strcmp(argv[1], "early");
    compute(&device, g);
    const pid_t child = fork();
    if (child == 0) {
        sleep_ms(early ? 0 : LATE_MS);
        ggml_backend_synchronize(&device);
        _exit(0);
    }
    sleep_ms(early ? LATE_MS : 0);
    ggml_backend_synchronize(&device);
    end_well(child);
    return 0;
}
