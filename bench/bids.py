"""The input of the figures `keyed`, `w0`, `w1` and `w2`: a file of bids, made once."""

import os

from measure import output_of

MIB = 1048576
BIDS = 20_000_000


def bids_file(context, keys):
    """The file of bids, in the page cache."""
    path = os.path.join(context.scratch, f"bids-{keys}.bin")
    if not os.path.exists(path) or os.path.getsize(path) != BIDS * 32:
        context.say(f"making {path}")
        output_of([context.program("make_bids"), path, str(BIDS), str(keys)])
    with open(path, "rb", buffering=0) as file:
        block = bytearray(MIB)
        while file.readinto(block):
            pass
    return path


def bids_directory(context, keys, copies):
    """A directory with the file of bids under `copies` names."""
    path = bids_file(context, keys)
    directory = context.fresh_directory(f"bids-{keys}-x{copies}")
    for i in range(copies):
        os.link(path, os.path.join(directory, f"{i}.bin"))
    return directory
