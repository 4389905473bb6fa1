"""Packaging of keras_babysit. Tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

TENSORFLOW = ["tensorflow>=2.21"]
PLOT = ["matplotlib>=3.11"]
SCIPY = ["scipy>=1.17"]
SEARCH = [
    "filelock>=3.20",
    "keras-tuner>=1.4",
    "optuna>=5.0",
    "pandas>=3.0",
    "scikit-learn>=1.9",
    *SCIPY,
]
RAY = [*SEARCH, "ray>=2.60"]
DOCS = ["furo>=2025.12", "myst-parser>=5.0", "sphinx>=9.0"]
EXAMPLES = [*TENSORFLOW, *PLOT, "mlxtend>=0.25", "scikit-learn>=1.9"]
DEVELOPMENT = [
    *EXAMPLES,
    *RAY,
    "hypothesis>=6.170",
    "mypy>=2.4",
    "pytest>=9.2",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "ruff>=0.17",
]

setup(
    name="keras_babysit",
    version="0.1.0.dev0",
    description="Looks after Keras training: one callback, TensorBoard, plain words.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["keras_babysit", "keras_babysit.*"]),
    package_data={
        "keras_babysit": ["py.typed", "document/templates/*", "page/static/*"]
    },
    python_requires=">=3.11",
    install_requires=[
        "click>=8.1",
        "google-crc32c>=1.9",
        "jinja2>=3.1",
        "keras>=3.15",
        "numpy>=2.0",
        "pillow>=11.0",
        "rich>=13.0",
        "tensorboard>=2.21",
    ],
    entry_points={
        "console_scripts": ["keras-babysit=keras_babysit.cli.main:main"],
        "tensorboard_plugins": [
            "keras_babysit=keras_babysit.tensorboard_plugin.plugin:BabysitPlugin"
        ],
    },
    extras_require={
        "tensorflow": TENSORFLOW,
        "plot": PLOT,
        "scipy": SCIPY,
        "search": SEARCH,
        "ray": RAY,
        "search-gp": [*SEARCH, "torch>=2.8"],
        "docs": DOCS,
        "examples": EXAMPLES,
        "dev": DEVELOPMENT,
    },
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
