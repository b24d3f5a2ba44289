"""Run pytest where there is no network but loopback, and fail if anything tried to leave it.

    python tests/offline.py [arguments of pytest]

The kernel refuses every other connection there and counts it, whichever program tried and
whatever it did about the refusal; so a library that asks for something and goes on without
it is found too. Needs Linux and `unshare`; without them nothing is run, and it says so.
"""

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

ALONE = ["unshare", "--map-root-user", "--net"]
INSIDE = "--inside"

METERED = "TESTS_MUST_STAY_INSIDE"
"""Set in the environment of a suite that is run so."""

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

OUTSIDE = ("192.0.2.1", 9)
"""An address kept for documentation: nobody's."""


def main(arguments: list[str]) -> int:
    if arguments[:1] == [INSIDE]:
        return run_inside(arguments[1:])
    try:
        subprocess.run([*ALONE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"skipped: no network namespace can be made here ({error})")
        return 0
    return subprocess.run([*ALONE, sys.executable, __file__, INSIDE, *arguments]).returncode


def run_inside(arguments: list[str]) -> int:
    start_loopback()
    if not meter_works():
        print("failed: a connection to the outside was not refused, or not counted")
        return 1
    before = refused_by_kernel()
    suite = [sys.executable, "-m", "pytest", *arguments]
    # Some libraries report to their makers only where they do not believe to be tested.
    at_home = {name: value for name, value in os.environ.items() if name != "CI"}
    outcome = subprocess.run(suite, env={**at_home, METERED: "yes"}).returncode
    if tried := refused_by_kernel() - before:
        print(f"failed: {tried} attempts to reach something other than loopback")
        return 1
    print("nothing tried to reach anything other than loopback")
    return outcome


def start_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def meter_works() -> bool:
    """Try to leave, which must be refused and counted."""
    before = refused_by_kernel()
    try:
        socket.create_connection(OUTSIDE, timeout=5).close()
    except OSError as error:
        return error.errno == errno.ENETUNREACH and refused_by_kernel() > before
    return False


def refused_by_kernel() -> int:
    """Return how often this namespace had no route for something, IPv4 and IPv6 together."""
    names, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Ip:")
    )
    version_4 = int(values[names.index("OutNoRoutes")])
    version_6 = Path("/proc/net/snmp6")
    lines = version_6.read_text().splitlines() if version_6.exists() else []
    return version_4 + sum(int(line.split()[1]) for line in lines if "OutNoRoutes" in line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
