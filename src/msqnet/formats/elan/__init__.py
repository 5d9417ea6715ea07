"""ELAN: annotations on tiers, a file a video (``.eaf``).

The format is described by the schema http://www.mpi.nl/tools/elan/EAFv3.0.xsd and in *ELAN
Annotation Format* (Max Planck Institute for Psycholinguistics). Written is version 3.0; files of
versions 2.x are read too.
"""

from __future__ import annotations

from msqnet.formats import Format
from msqnet.formats.elan.elan_reader import read_elan
from msqnet.formats.elan.elan_writer import write_elan
from msqnet.formats.options import UNLISTED

FORMAT = Format(
    "elan",
    "files of ELAN",
    read=read_elan,
    write=write_elan,
    suffixes=(".eaf",),
    options={
        "tiers": "labels: a tier a label (default when writing); subjects: a tier a subject, whose "
        "values are labels; read by default as the values of each tier suggest. When reading also "
        "NAME,NAME: the tiers whose annotations are events",
        "observed": "when reading: the tier that marks what was looked at",
        **UNLISTED,
        "video": "the video that is annotated, where a file links none",
    },
)
