"""Settings of every test: one thread a process, and no deadlines, since a busy machine is not a fault of the code."""

import os

# Before numpy and torch are imported: the workers of pytest-xdist share the cores already.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from hypothesis import settings  # noqa: E402

settings.register_profile("secure-bfl", deadline=None, print_blob=True)
settings.load_profile("secure-bfl")
