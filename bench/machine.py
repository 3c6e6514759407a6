"""The machine and the versions that figures were measured with."""
import importlib.metadata
import os
import pathlib
import platform
import subprocess

import places

# Instructions that the kernels of one side or the other use.
FLAGS = ("avx2 fma f16c avx_vnni avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16 avx512_vbmi avx512_fp16 "
         "amx_tile amx_int8 amx_bf16 asimddp i8mm bf16").split()


def first_line(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""


def cpu_info():
    """The first processor's fields in /proc/cpuinfo."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if not line.strip():
            break
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return fields


def is_intel():
    return cpu_info().get("vendor_id") == "GenuineIntel"


def memory_gib():
    kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    return kib / 1024**2


def commit():
    """Of the sources that our commands are built from; what bench/ makes of them does not count as a change."""
    dirty = first_line("git", "status", "--porcelain", "--untracked-files=no", "--", ":!bench")
    return first_line("git", "rev-parse", "--short", "HEAD") + (", changed since" if dirty else "")


def describe():
    """Name and value of what figures depend on besides our commands."""
    cpu = cpu_info()
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    model = f"{cpu.get('model name', platform.machine())}, family {cpu.get('cpu family', '?')}, model {cpu.get('model', '?')}"
    return [
        ("processor", model),
        ("cores", str(os.cpu_count())),
        ("instructions", ", ".join(flag for flag in FLAGS if flag in flags)),
        ("memory", f"{memory_gib():.1f} GiB"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("compiler", first_line(os.environ.get("CC", "cc"), "--version")),
        ("Python", platform.python_version()),
    ]


def peers():
    """Name and value of every peer's version and of llama.cpp's builds."""
    builds = [(label, llama_build(python)) for label, python in
              (("llama.cpp", places.PYTHON), ("llama.cpp for AVX2", places.PYTHON_AVX2)) if python.exists()]
    return [("peers", ", ".join(f"{name} {version}" for name, version in peer_versions())), *builds]


def peer_versions():
    """Name and installed version of each package of requirements.txt."""
    lines = (places.TOP / "bench/requirements.txt").read_text().splitlines()
    names = [line.split("==")[0] for line in lines if line and not line.startswith("#")]
    return [(name, importlib.metadata.version(name)) for name in names]


def llama_build(python):
    """The instructions and libraries that llama.cpp says it was built for."""
    code = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
    parts = first_line(str(python), "-c", code).removeprefix("CPU : ").split("|")
    return ", ".join(part.split("=")[0].strip() for part in parts if part.strip().endswith("= 1"))
