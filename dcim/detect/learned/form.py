r"""Form: what was learned, as bytes that can be kept and read again: a line with a checksum, a header in JSON, arrays.

    dcim-model 1 <SHA-256 of all that follows>\n
    an npz: "header" holds JSON as bytes, the rest are the arrays that it names

Nothing in it is code, and nothing is unpickled: who can write the file can make the models wrong, and no more. The
checksum is against damage, not against people.

Lives here: bytes to header and arrays, with bounds. Not here: what they mean (classes.py), files (dcim.app)."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dcim.core.errors import Permanent

FORMAT = 1
"""Grows when a reader has to know."""
BYTES_MAX = 256 * 1024 * 1024
"""Larger ones are no models of ours; neither what is read nor what it unfolds to may be."""
_MAGIC = b"dcim-model"
_LINE_MAX = 128
_DAMAGE = (
    ValueError,
    KeyError,
    EOFError,
    RecursionError,
    RuntimeError,  # what zipfile raises of a compression that it does not have is one as well
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading raises where bytes with a right checksum are no folder of arrays: somebody wrote them on purpose."""
_TRAIN_ANEW = "Train anew: dcim train."

Array = npt.NDArray[np.generic]


def pack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Header and arrays as bytes; the same ones give the same bytes."""
    told = json.dumps(header, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as folder:
        for name, array in {"header": np.frombuffer(told, np.uint8), **arrays}.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            # Without the time of writing, so that the same model is the same file.
            folder.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    whole = body.getvalue()
    return b"%s %d %s\n%s" % (_MAGIC, FORMAT, hashlib.sha256(whole).hexdigest().encode(), whole)


def unpack(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays of bytes. where: the file, for people. Raises Permanent where they are of another kind or
    version, damaged, larger than BYTES_MAX, or hold what is no array of numbers."""
    if len(data) > BYTES_MAX:
        raise Permanent(f"is larger than {BYTES_MAX} bytes, and no model of ours", where=where)
    line, found, body = data[:_LINE_MAX].partition(b"\n")
    words = line.split(b" ")
    if not found or len(words) != 3 or words[0] != _MAGIC:
        raise Permanent("is no model of dcim", where=where, todo="Name a file that dcim train wrote.")
    if words[1] != str(FORMAT).encode():
        version = words[1].decode("ascii", "replace")
        raise Permanent(f"is of version {version}, and version {FORMAT} is read here", where=where, todo=_TRAIN_ANEW)
    body = data[len(line) + 1 :]
    if hashlib.sha256(body).hexdigest().encode() != words[2]:
        raise Permanent("is damaged: its checksum is not that of its content", where=where, todo=_TRAIN_ANEW)
    try:
        arrays = _members(body)
        header = json.loads(arrays.pop("header").tobytes())
    except _DAMAGE as error:
        raise Permanent(f"cannot be read: {error}", where=where, todo=_TRAIN_ANEW) from error
    if not isinstance(header, dict):
        raise Permanent("has no header", where=where, todo=_TRAIN_ANEW)
    return header, arrays


def _members(body: bytes) -> dict[str, Array]:
    """The arrays of an npz. Raises ValueError, and what zipfile and numpy raise."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(body)) as folder:
        members = folder.infolist()
        if sum(member.file_size for member in members) > BYTES_MAX:
            raise ValueError(f"it unfolds to more than {BYTES_MAX} bytes")
        for member in members:
            told = io.BytesIO(folder.read(member))  # no more than its file_size, which was looked at
            array = np.lib.format.read_array(told, allow_pickle=False)
            if array.dtype not in (np.float64, np.int64, np.uint8):
                raise ValueError(f"{member.filename} holds {array.dtype}")
            arrays[member.filename.removesuffix(".npy")] = array
    return arrays
