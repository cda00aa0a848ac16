"""Packaging. The version stands here and nowhere else; installed code asks importlib.metadata."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"
HERE = Path(__file__).parent
OBJECTS = ["obstore>=0.12.1"]  # stores in a bucket


def pins(name: str) -> list[str]:
    """The lines of requirements/NAME.txt that are neither blank nor comment."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


setup(
    name="zstream",
    version=VERSION,
    description="A streaming engine of equal workers that grows and shrinks while records flow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["zstream", "zstream.*"]),
    package_data={"zstream": ["py.typed"]},
    python_requires=">=3.10",
    # The floors are the oldest that the tests pass with; `tox -e floor` runs them.
    install_requires=["pyzmq>=26.0", "msgpack>=1.0.8", "docopt-ng>=0.9.0"],
    extras_require={
        "s3": OBJECTS,
        "gs": OBJECTS,
        "az": OBJECTS,
        "fast": ["msgspec>=0.19.0"],  # the first with wheels for 3.13
        "postgres": ["psycopg[binary]>=3.2.10"],  # the first with wheels for 3.10 to 3.14
        "test": pins("test"),
        "examples": pins("examples"),
    },
    entry_points={
        "console_scripts": [
            f"{command} = zstream.cli.{command}:main"
            for command in (
                "zworker",
                "cluster_shrinker",
                "cluster_savepoint",
                "cluster_status",
                "cluster_shutdown",
                "sender",
                "data_receiver",
            )
        ]
    },
    zip_safe=False,
    keywords="stream processing, stateful, elastic, zeromq, dataflow",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
