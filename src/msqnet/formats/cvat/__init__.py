"""CVAT: its XML, version 1.1, of videos (tracks) and of images (tags of frames).

Form: https://docs.cvat.ai/docs/manual/advanced/xml_format/ and ``cvat/apps/dataset_manager/formats/
cvat.py`` of CVAT. Written are tags of frames, *CVAT for images 1.1*, which the importer of CVAT
takes for videos too.

Numbers of frames are those of the video, from 0; with ``frame_filter`` step=n, every n-th frame
from ``start_frame`` on is there, and stands for those up to the next.

- Tags are in *CVAT for images* only; CVAT neither writes nor reads them in *CVAT for video*. Tags
  of frames that follow each other are one event, as long as label and attributes are the same.
- A track is an event from where its object comes into view to where it leaves it, cut where
  attributes change.
- Attributes are modifiers as ``name:value``; ``subject``, ``comment`` and ``event`` (a number that
  keeps events of the same label apart) have their own meaning. With ``--option attribute=NAME`` the
  values of one attribute are the labels, and the object is the subject.
- Labels of the task are the ethogram, its ``subset`` is the split, its ``segments`` are what was
  looked at.
"""

from __future__ import annotations

from msqnet.formats import Format
from msqnet.formats.cvat.cvat_reader import read_cvat
from msqnet.formats.cvat.cvat_writer import files_of, write_cvat

FORMAT = Format(
    "cvat",
    "CVAT 1.1 (XML of images or of videos)",
    read=read_cvat,
    write=write_cvat,
    suffixes=(".xml", ".zip"),
    drops=frozenset({"points", "open ends", "groups"}),
    options={
        "attribute": "when reading: the attribute whose values are the labels",
        "video": "when reading: name of the one video, where the file does not say it",
        "fps": "frames a second of videos that are not there",
    },
    files=files_of,
)
