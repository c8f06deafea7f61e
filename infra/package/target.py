"""The machine that Lambda runs the package on."""

from dataclasses import dataclass

DEFAULT_PYTHON = "3.13"
"""Which Lambda runtime the functions get, unless another is asked for; the image has it, too."""

PYTHONS = ("3.12", "3.13", "3.14")
"""Lambda's runtimes on Amazon Linux 2023.

3.11 is none: uv knows no wheels for the C library of Amazon Linux 2, which Lambda drops in 2027.
"""

GLIBC_MINOR = 34
"""Amazon Linux 2023 has glibc 2.34."""

OLDEST_GLIBC_MINOR = 17
"""The oldest that has a `manylinux_2_…` tag for both architectures (PEP 599 and 600)."""

MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""What wheels call Lambda's architectures."""

ELF_MACHINES = {"x86_64": 62, "arm64": 183}
"""What executables call them: `e_machine` in the ELF header (elf.h, EM_X86_64 and EM_AARCH64)."""


@dataclass(frozen=True)
class Target:
    """A Python on an architecture, whichever Python and machine pack for it.

    Attributes:
        architecture: `x86_64` or `arm64`.
        python: One of Lambda's.
    """

    architecture: str
    python: str = DEFAULT_PYTHON

    @property
    def machine(self) -> str:
        """Such as `aarch64`."""
        return MACHINES[self.architecture]

    @property
    def runtime(self) -> str:
        """What Lambda calls the Python."""
        return f"python{self.python}"

    @property
    def cpython(self) -> str:
        """The tag of wheels and of byte-code without its `cp` or `cpython-`: `313`."""
        return self.python.replace(".", "")

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there, the newest first."""
        minors = range(GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1)
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in minors]
        return [*tags, f"manylinux2014_{self.machine}"]

    @property
    def uv_options(self) -> tuple[str, ...]:
        """How uv is told to look for wheels of this machine instead of the one it runs on."""
        platform = f"{self.machine}-manylinux_2_{GLIBC_MINOR}"
        return ("--python-platform", platform, "--python-version", self.python)
