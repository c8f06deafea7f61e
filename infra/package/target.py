"""The machine that Lambda runs the package on."""

import sys
from dataclasses import dataclass

from infra.package import PackagingError

GLIBC_MINOR = {"3.11": 26, "3.12": 34, "3.13": 34}
"""Which glibc 2 each runtime stands on: Amazon Linux 2 has 2.26, Amazon Linux 2023 has 2.34."""

OLDEST_GLIBC_MINOR = 17
"""The oldest that has a `manylinux_2_…` tag for both architectures (PEP 599 and 600)."""

MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""What wheels call Lambda's architectures."""

ELF_MACHINES = {"x86_64": 62, "arm64": 183}
"""What executables call them: `e_machine` in the ELF header (elf.h, EM_X86_64 and EM_AARCH64)."""


@dataclass(frozen=True)
class Target:
    """A Python on an architecture.

    Attributes:
        python: Such as `3.11`; the one that packages is the one that runs the byte-code.
        architecture: `x86_64` or `arm64`.
    """

    python: str
    architecture: str

    @classmethod
    def of_this_python(cls, architecture: str) -> "Target":
        """The Lambda runtime of the Python that runs this.

        Raises:
            PackagingError: Lambda has none.
        """
        python = "{}.{}".format(*sys.version_info[:2])
        if python not in GLIBC_MINOR:
            raise PackagingError(f"Lambda runs Python {', '.join(GLIBC_MINOR)}, not {python}")
        return cls(python, architecture)

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
        """The tag of wheels and of byte-code without its `cp` or `cpython-`: `311`."""
        return self.python.replace(".", "")

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there, the newest first."""
        minors = range(GLIBC_MINOR[self.python], OLDEST_GLIBC_MINOR - 1, -1)
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in minors]
        return [*tags, f"manylinux2014_{self.machine}"]

    @property
    def markers(self) -> dict[str, str]:
        """What the markers of requirements ask for."""
        return {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.99",  # Lambda keeps to the newest patch
            "python_version": self.python,
            "sys_platform": "linux",
        }
