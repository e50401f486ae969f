"""A C program that runs a network's object file on two threads, and how it is compiled and run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]
# reads argv[1], runs it on two threads whose arenas are full of NaN, writes what both found
CALLER = """
#include "net.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t count;
static float *given;
struct found { float *y; int code; };

static void *run(void *place) {
    struct found *found = place;
    int64_t bytes = net_arena_bytes(count);
    char *arena = aligned_alloc(NET_ALIGNMENT, (bytes + NET_ALIGNMENT) / 64 * 64 + 64);
    memset(arena, 0xFF, bytes);
    found->code = 0;
    for (int round = 0; round < 5; round++)
        found->code |= net(given, found->y, arena, count);
    if (net(given, found->y, arena + 4, count) != -1 || net(given, found->y, arena, 0) != -1)
        found->code = 77;
    free(arena);
    return 0;
}

int main(int argc, char **argv) {
    struct found found[2];
    pthread_t threads[2];
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[3], "wb");
    count = atol(argv[2]);
    given = malloc(4 * count * NET_X);
    if (fread(given, 4 * NET_X, count, in) != (size_t)count) return 2;
    for (int i = 0; i < 2; i++) {
        found[i].y = malloc(4 * count * NET_Y);
        pthread_create(&threads[i], 0, run, &found[i]);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
    if (memcmp(found[0].y, found[1].y, 4 * count * NET_Y)) return 3;
    fwrite(found[0].y, 4 * NET_Y, count, out);
    fclose(out);
    return found[0].code | found[1].code;
}
"""


def compiler(*names: str) -> str:
    """The first of these that is installed; the test is skipped, saying so, where none is."""
    found = [path for name in names if (path := shutil.which(name))]
    if not found:
        pytest.skip(f"no {' or '.join(names)} on this machine")
    return found[0]


def called(folder: Path, cc: str, x: Array, outputs: int, through: Sequence[str] = ()) -> Array:
    """What the C program finds for x with net.o and net.h in the folder: `[n, outputs]`."""
    (folder / "main.c").write_text(CALLER)
    x.tofile(folder / "x")
    built = [cc, "-O1", "-Wall", "-Werror", *(["-static"] if through else []), "main.c", "net.o"]
    subprocess.run([*built, "-lm", "-lpthread", "-o", "main"], cwd=folder, check=True)
    run = [*through, "./main", "x", str(len(x)), "y"]
    done = subprocess.run(run, cwd=folder, check=False)
    assert done.returncode == 0, f"the C program ended with {done.returncode}"
    return np.fromfile(folder / "y", np.float32).reshape(len(x), outputs)
