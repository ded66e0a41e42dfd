"""Unfolding with the PyPI package `omnifold` in its own interpreter: `python omnifold_peer.py IN.npz OUT.npz`.

IN holds data, gen, reco (n, d), iterations, epochs, batch and seed; OUT gets the same as from `omnifold_ours.py`. It
imports nothing of ours. Networks, learning rate and early stopping are the package's own; observables are standardised,
as in its examples.
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    given, out = dict(np.load(sys.argv[1])), Path(sys.argv[2]).resolve()
    sys.path.pop(0)  # this folder, whose omnifold.py is not the package
    import keras  # type: ignore[import-not-found]
    from omnifold import MLP, DataLoader, MultiFold  # type: ignore[import-not-found]
    from omnifold.net import weighted_binary_crossentropy  # type: ignore[import-not-found]

    # Keras 3 clones a compiled model only if it knows its loss by name.
    keras.saving.register_keras_serializable()(weighted_binary_crossentropy)
    keras.utils.set_random_seed(int(given["seed"]))
    gen, reco, data = (given[name].astype(np.float32) for name in ("gen", "reco", "data"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes logs and weights
        wall, cpu = time.perf_counter(), time.process_time()
        mean, std = reco.mean(axis=0), reco.std(axis=0)
        reco, data = (reco - mean) / std, (data - mean) / std
        gen = (gen - gen.mean(axis=0)) / gen.std(axis=0)
        unfolding = MultiFold(
            "benchmark",
            MLP(reco.shape[1]),
            MLP(gen.shape[1]),
            DataLoader(reco=data, normalize=True),
            DataLoader(reco=reco, gen=gen, normalize=True),
            niter=int(given["iterations"]),
            epochs=int(given["epochs"]),
            batch_size=int(given["batch"]),
        )
        unfolding.Unfold()
        push = unfolding.reweight(gen, unfolding.model2, batch_size=1000)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        os.chdir("/")
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    np.savez(out, push=push, seconds=wall, cpu_seconds=cpu, mib=mib)


if __name__ == "__main__":
    main()
