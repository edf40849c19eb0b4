"""Map the repository's top-level folders onto sub-packages of `marotte`."""

from setuptools import find_packages, setup

FOLDERS = ("models", "runtime", "drivers", "renderers")

packages = ["marotte"]
package_dir = {"marotte": "src/marotte"}
for folder in FOLDERS:
    package_dir[f"marotte.{folder}"] = folder
    packages += [f"marotte.{folder}", *(f"marotte.{folder}.{name}" for name in find_packages(folder))]

setup(packages=packages, package_dir=package_dir)
