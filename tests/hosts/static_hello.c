/* A statically linked program: no dynamic loader runs, so LD_PRELOAD cannot reach it. Built with -static. */
#include <stdio.h>

int main(void) {
    puts("hello from a static program");
    return 0;
}
