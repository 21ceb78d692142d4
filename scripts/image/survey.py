"""Run inside of an image: print as JSON who it runs as, where it can write, and what does not belong in it.

podman run --rm -i --read-only --entrypoint python3 IMAGE - < scripts/image/survey.py
"""

import importlib.util
import json
import os

COMPILERS = "gcc g++ cc c++ cpp c89 c99 clang tcc as ld gold make cmake rustc cargo go"
INSTALLERS = "apt apt-get aptitude dpkg dpkg-deb rpm yum dnf apk pip pip3 uv uvx easy_install conda npm gem"
MODULES = ("pip", "ensurepip", "setuptools", "uv")
OTHERS = ("/proc", "/sys", "/dev")


def strangers() -> list[str]:
    """Compilers and package managers, wherever they lie."""
    names = {*COMPILERS.split(), *INSTALLERS.split()}
    found = [f"module {name}" for name in MODULES if importlib.util.find_spec(name)]
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in OTHERS]
        paths = (os.path.join(folder, name) for name in names & set(files))
        found += [path for path in paths if os.access(path, os.X_OK)]
    return sorted(found)


def written(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "survey"), "w"):
            return True
    except OSError:
        return False


with open("/proc/self/status") as lines:
    status = dict(line.split(":", 1) for line in lines)
print(
    json.dumps(
        {
            "user": os.getuid(),
            "capabilities": int(status["CapEff"], 16),
            "writable": [folder for folder in ("/", "/opt", "/usr", "/var", "/tmp") if written(folder)],
            "strangers": strangers(),
        }
    )
)
