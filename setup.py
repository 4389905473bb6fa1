"""Packaging of keras_babysit. Tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# Lower bounds are the lowest versions on which `make test-lowest` passes.
TENSORFLOW = ["tensorflow>=2.18"]
# These were tried on one version each.
JAX = ["jax>=0.10"]
TORCH = ["torch>=2.13"]
PLOT = ["matplotlib>=3.9"]
SCIPY = ["scipy>=1.13"]
SEARCH = [
    "filelock>=3.16",
    "keras-tuner>=1.4.6",
    "optuna>=4.9",
    "pandas>=2.2",
    "scikit-learn>=1.5",
    "six>=1.16",  # KerasTuner imports it and counts on TensorFlow to bring it.
    *SCIPY,
]
RAY = [*SEARCH, "ray>=2.60"]
DOCS = ["furo>=2025.12", "myst-parser>=5.0", "sphinx>=9.0"]
EXAMPLES = [*TENSORFLOW, *PLOT, "mlxtend>=0.23.4", "scikit-learn>=1.5"]
WANDB = ["wandb>=0.31"]
MLFLOW = ["mlflow>=3.17"]
TRACKIO = ["trackio>=0.43"]
DEVELOPMENT = [
    *EXAMPLES,
    *RAY,
    *WANDB,
    "mlflow-skinny>=3.17",  # The client alone: all of MLFLOW takes a minute to install.
    *TRACKIO,
    "hypothesis>=6.170",
    "jsonschema>=4.20",
    "mypy>=2.4",
    "pytest>=9.2",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "ruff>=0.17",
]

setup(
    name="keras_babysit",
    version="0.1.0",
    description="Looks after Keras training: one callback, TensorBoard, plain words.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["keras_babysit", "keras_babysit.*"]),
    package_data={
        "keras_babysit": [
            "py.typed",
            "document/templates/*",
            "page/static/*",
            "report/schema.json",
        ]
    },
    python_requires=">=3.11",
    install_requires=[
        "click>=8.1",
        "google-crc32c>=1.6",
        "jinja2>=3.1",
        "keras>=3.12",
        "numpy>=2.0",
        "pillow>=10.4",
        "rich>=13.0",
        "tensorboard>=2.18",
    ],
    entry_points={
        "console_scripts": ["keras-babysit=keras_babysit.cli.main:main"],
        "tensorboard_plugins": [
            "keras_babysit=keras_babysit.tensorboard_plugin.plugin:BabysitPlugin"
        ],
    },
    extras_require={
        "tensorflow": TENSORFLOW,
        "jax": JAX,
        "torch": TORCH,
        "plot": PLOT,
        "scipy": SCIPY,
        "search": SEARCH,
        "ray": RAY,
        "search-gp": [*SEARCH, "torch>=2.8"],
        "docs": DOCS,
        "wandb": WANDB,
        "mlflow": MLFLOW,
        "trackio": TRACKIO,
        "examples": EXAMPLES,
        "dev": DEVELOPMENT,
    },
    # `project_urls` are for whoever publishes it.
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Visualization",
        "Typing :: Typed",
    ],
)
