"""`package_dir` looks idle: it makes a plain `pip install -e .` write a .pth file, so that twistd finds the plugin."""

from glob import glob

from setuptools import find_packages, setup

OURS = ["cloudcore", "cloudcore.*", "objectstore", "objectstore.*"]

setup(
    name="cloudcore",
    version="0.1",
    python_requires=">=3.11",
    package_dir={"": "."},
    packages=[*find_packages(include=OURS), "twisted.plugins"],
    package_data={"cloudcore": ["py.typed", "**/*.sh", "tinyguest/*", "store/migrations/**"]},
    scripts=sorted(path for path in glob("bin/*") if path != "bin/cloudcore"),
    entry_points={"console_scripts": ["cloudcore = cloudcore.cli.entry:main"]},
    install_requires=[
        "Twisted[tls]>=24.7",
        "txAMQP==0.8.2",
        "SQLAlchemy>=2.0,<2.2",
        "alembic>=1.13",
        "psycopg[binary]>=3.1",
        "orjson>=3.10",
        "botocore>=1.40",
        "cryptography>=42",
        "awscrt>=0.20",
        "Pillow>=10",
    ],
    extras_require={
        "libvirt": ["libvirt-python>=9.0"],
        "test": ["pytest>=8", "pytest-twisted>=1.14", "pytest-timeout", "pytest-xdist>=3.6", "hypothesis>=6",
                 "boto3>=1.40", "awscli>=1.42", "pika>=1.3", "apache-libcloud>=3.8", "ruff>=0.15", "mypy>=1.18",
                 "mypy-zope>=1.0.14"],
    },
)
