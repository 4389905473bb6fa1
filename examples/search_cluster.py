"""A hyper-parameter search on a Ray cluster, one machine of which may be lost.

    python examples/search_cluster.py [--lose] [directory]

The cluster has two machines with a processor each; here both are this computer. In a
real one, `ray start` is called on each machine, and the program runs on one of them.
With `--lose`, the second machine is lost half a minute after the search has begun: its
trial is run again on the first one, and the search finds the same.

Meanwhile `keras-babysit search status searches/cluster` shows how it is getting on.
"""

import argparse
import os
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import keras
from ray.cluster_utils import Cluster
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_babysit import search


def make_model(hp):
    """Returns a compiled model for some hyperparameters; workers call it."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(
                hp.Int("units", 16, 128, sampling="log"), activation="relu"
            ),
            keras.layers.Dropout(search.dropout(hp, max_value=0.6)),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(search.learning_rate(hp, min_value=1e-5, max_value=1)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main(directory, lose):
    """Starts a cluster, searches on it, and shows what came out."""
    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(
        (x / 16).astype("float32"), y, test_size=500, random_state=0
    )
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    searching = search.Search(
        make_model,
        "val_accuracy",
        stages=[(6, 2), (3, 10)],
        executor=search.RayExecutor(address=cluster.address),
        directory=directory,
        project_name="cluster",
        overwrite=True,
        seed=1,
    )
    if lose:
        end = threading.Timer(30, cluster.remove_node, (second, False))
        end.daemon = True
        end.start()
    print(searching.search(x, y, validation_data=(x_val, y_val), batch_size=32))
    best = searching.best_models(1)[0]
    print("The best model:", best.evaluate(x_val, y_val, verbose=0, return_dict=True))
    cluster.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", default="searches")
    parser.add_argument("--lose", action="store_true", help="lose a machine")
    given = parser.parse_args()
    main(given.directory, given.lose)
