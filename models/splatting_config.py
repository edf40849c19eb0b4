"""What inference needs of SplattingAvatar's `config.yaml`, read without a YAML library.

The file is what OmegaConf saves: nested block mappings with plain scalars; lists occur and are of no interest here.
Only that is read. A setting that is needed and is written in another way is refused by name, never guessed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError
from marotte.models.plain_files import read_bytes, write_whole

_LINE = re.compile(r"( *)([A-Za-z_][\w.-]*|<<) *:(?: +(.*))?")
_TRUTHS = {word: word in ("true", "yes", "on") for word in ("true", "yes", "on", "false", "no", "off")}
_SECTIONS = ("dataset", "model", "pipe")


@dataclass(frozen=True)
class SplattingConfig:
    """Settings by their published names, with the code's defaults.

    Quirk: the published yaml sets `with_mesh_scaling`, the code's default is off. num_for_train: frames of the train
    split, from the end where negative. resolution: by what the data set's images are divided.
    """

    sh_degree: int = 0
    xyz_as_uvd: bool = True
    with_mesh_scaling: bool = False
    convert_SHs_python: bool = False
    num_for_train: int = -350
    resolution: int = 1


_SECTION_OF = {
    "sh_degree": "model",
    "xyz_as_uvd": "model",
    "with_mesh_scaling": "model",
    "convert_SHs_python": "pipe",
    "num_for_train": "dataset",
    "resolution": "dataset",
}


def read_config(paths: str | Path | Iterable[str | Path]) -> SplattingConfig:
    """Return the settings of one file or several; later files override earlier ones.

    Raises MarotteError where a file cannot be read or a setting has a value of the wrong kind.
    """
    settings: dict[str, tuple[Path, str]] = {}
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    for path in files:
        settings |= {name: (path, value) for name, value in _scalars(path).items()}
    values: dict[str, Any] = {}
    for name, section in _SECTION_OF.items():
        if f"{section}.{name}" in settings:
            path, text = settings[f"{section}.{name}"]
            kind = type(getattr(SplattingConfig, name))
            values[name] = _value(f"{path}: {section}.{name}", text, kind)
    if not values:
        named = ", ".join(map(str, files))
        raise MarotteError(f"{named} has no setting of SplattingAvatar (model.sh_degree, ...): name its config.yaml")
    return SplattingConfig(**values)


def read_data_folder(path: str | Path) -> Path | None:
    """Return the data set's folder that a configuration names, None where it has the placeholder `???` or nothing."""
    name = _scalars(Path(path)).get("dataset.dat_dir", "???")
    return None if name in ("???", "null", "~") or "\0" in name else Path(name).expanduser()


def write_config(path: Path, config: SplattingConfig) -> None:
    """Write the settings as the published code reads them."""
    lines = []
    for section in _SECTIONS:
        lines.append(f"{section}:")
        for name, owner in _SECTION_OF.items():
            if owner == section:
                lines.append(f"  {name}: {str(getattr(config, name)).lower()}")
    write_whole(path, ("\n".join([*lines, "  compute_cov3D_python: false", "  debug: false"]) + "\n").encode())


def _value(where: str, text: str, kind: type) -> int | bool:
    if kind is bool and text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    if kind is int and re.fullmatch(r"[+-]?\d{1,9}", text):
        return int(text)
    raise MarotteError(f"{where} is {text!r}: write {'true or false' if kind is bool else 'a whole number'}")


def _scalars(path: Path) -> dict[str, str]:
    """Return the scalars of the file by dotted name, as text without quotes and comments."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MarotteError(f"{path} is not a text file: {error}; copy it again") from None
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.rstrip())
        if not match:
            continue  # lists, comments, wrapped text: nothing that is needed is written so
        indent, name, value = len(match[1]), match[2], _scalar(match[3] or "")
        while parents and parents[-1][0] >= indent:
            parents.pop()
        dotted = ".".join([*(parent for _, parent in parents), name])
        parents.append((indent, name))
        if value:
            found[dotted] = value
    for section in _SECTIONS:
        for refused in (section, f"{section}.<<"):
            if refused in found:
                raise MarotteError(
                    f"{path} writes {refused} as {found[refused][:60]!r}: write each setting of {section!r} on a line "
                    "of its own, indented below it"
                )
    return found


def _scalar(text: str) -> str:
    """Return a scalar without its quotes, or without the comment after it."""
    quoted = re.fullmatch(r"(['\"])(.*?)\1\s*(?:#.*)?", text)
    return quoted[2] if quoted else re.sub(r"(^|\s)#.*", "", text).strip()
