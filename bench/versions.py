"""What the figures were made with: versions of the tools and packages on this machine, and those that the peers' own files pin."""

import glob
import os
import re
import subprocess
import xml.etree.ElementTree as xml

# (what, command, the version in its output)
TOOLS = (("gcc", ["gcc", "--version"], r"(\d+\.\d+\.\d+)\s*$"), ("Java", ["java", "-version"], r'version "([^"]+)"'), ("rustc", ["rustc", "--version"], r"rustc (\S+)"),
         ("fio", ["fio", "--version"], r"fio-(\S+)"), ("Redis", ["redis-server", "--version"], r"v=(\S+)"))
PACKAGES = ("libck-dev", "dpdk-dev", "libboost-dev", "libreaderwriterqueue-dev", "liburing-dev", "libxxhash-dev")


def of_tools():
    for what, command, pattern in TOOLS:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except OSError:
            continue
        found = re.search(pattern, done.stdout + done.stderr, re.MULTILINE)
        if done.returncode == 0 and found:
            yield what, found.group(1)


def of_packages():
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", *PACKAGES], capture_output=True, text=True, check=False)
    except OSError:
        return
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "installed":
            yield words[0], words[1]


def of_cargo(folder):
    """What Cargo.toml names, as Cargo.lock has it."""
    with open(os.path.join(folder, "Cargo.toml"), encoding="utf-8") as file:
        wanted = set(re.findall(r"^([\w-]+)\s*=", file.read().split("[dependencies]", 1)[-1].split("\n[", 1)[0], re.MULTILINE))
    with open(os.path.join(folder, "Cargo.lock"), encoding="utf-8") as file:
        for name, version in re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', file.read()):
            if name in wanted:
                yield name, version


def of_maven(path):
    space = "{http://maven.apache.org/POM/4.0.0}"
    root = xml.parse(path).getroot()
    properties = {item.tag.removeprefix(space): (item.text or "").strip() for item in root.findall(f"{space}properties/*")}
    for item in root.findall(f"{space}dependencies/{space}dependency"):
        version = re.sub(r"\$\{([^}]+)\}", lambda found: properties.get(found.group(1), found.group(0)), item.findtext(f"{space}version", ""))
        yield item.findtext(f"{space}artifactId", ""), version.strip()


def of_peers(bench):
    for folder in sorted(glob.glob(os.path.join(bench, "peers", "*")) + glob.glob(os.path.join(bench, "peers", "*", "*"))):
        try:
            if os.path.exists(os.path.join(folder, "Cargo.lock")):
                yield from of_cargo(folder)
            if os.path.exists(os.path.join(folder, "pom.xml")):
                yield from of_maven(os.path.join(folder, "pom.xml"))
        except (OSError, xml.ParseError) as error:
            yield os.path.basename(folder), f"unknown ({error})"


def versions(bench):
    """{what: version}"""
    return dict([*of_tools(), *of_packages(), *of_peers(bench)])
