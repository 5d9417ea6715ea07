"""Fields of the three tables of Camtrap DP 1.0.2, their types and constraints, as a table schema.

What the standard publishes at https://camtrap-dp.tdwg.org/data/, without its descriptions, so that
tables can be checked where there is no network. Form: https://specs.frictionlessdata.io/table-schema/.
"""

from __future__ import annotations

from typing import Any

VERSION = "1.0.2"
TABLES = ("deployments", "media", "observations")

_REQUIRED = {"required": True}
_KEY = {"required": True, "unique": True}
_SHARE = {"minimum": 0, "maximum": 1}
_SIZE = {"minimum": 1e-15, "maximum": 1}
_POSITIVE = {"minimum": 0}

_Field = tuple[str, str, dict[str, Any]]

_FIELDS: dict[str, tuple[_Field, ...]] = {
    "deployments": (
        ("deploymentID", "string", _KEY),
        ("locationID", "string", {}),
        ("locationName", "string", {}),
        ("latitude", "number", _REQUIRED | {"minimum": -90, "maximum": 90}),
        ("longitude", "number", _REQUIRED | {"minimum": -180, "maximum": 180}),
        ("coordinateUncertainty", "integer", {"minimum": 1}),
        ("deploymentStart", "datetime", _REQUIRED),
        ("deploymentEnd", "datetime", _REQUIRED),
        ("setupBy", "string", {}),
        ("cameraID", "string", {}),
        ("cameraModel", "string", {}),
        ("cameraDelay", "integer", _POSITIVE),
        ("cameraHeight", "number", _POSITIVE),
        ("cameraDepth", "number", _POSITIVE),
        ("cameraTilt", "integer", {"minimum": -90, "maximum": 90}),
        ("cameraHeading", "integer", {"minimum": 0, "maximum": 360}),
        ("detectionDistance", "number", _POSITIVE),
        ("timestampIssues", "boolean", {}),
        ("baitUse", "boolean", {}),
        (
            "featureType",
            "string",
            {
                "enum": [
                    *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass"),
                    *("roadOverpass", "roadBridge", "culvert", "burrow", "nestSite", "carcass"),
                    *("waterSource", "fruitingTree"),
                ]
            },
        ),
        ("habitat", "string", {}),
        ("deploymentGroups", "string", {}),
        ("deploymentTags", "string", {}),
        ("deploymentComments", "string", {}),
    ),
    "media": (
        ("mediaID", "string", _KEY),
        ("deploymentID", "string", _REQUIRED),
        ("captureMethod", "string", {"enum": ["activityDetection", "timeLapse"]}),
        ("timestamp", "datetime", _REQUIRED),
        ("filePath", "string", _REQUIRED | {"pattern": r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"}),
        ("filePublic", "boolean", _REQUIRED),
        ("fileName", "string", {}),
        ("fileMediatype", "string", _REQUIRED | {"pattern": r"^(image|video|audio)/.*$"}),
        ("exifData", "any", {}),
        ("favorite", "boolean", {}),
        ("mediaComments", "string", {}),
    ),
    "observations": (
        ("observationID", "string", _KEY),
        ("deploymentID", "string", _REQUIRED),
        ("mediaID", "string", {}),
        ("eventID", "string", {}),
        ("eventStart", "datetime", _REQUIRED),
        ("eventEnd", "datetime", _REQUIRED),
        ("observationLevel", "string", _REQUIRED | {"enum": ["media", "event"]}),
        (
            "observationType",
            "string",
            _REQUIRED
            | {"enum": ["animal", "human", "vehicle", "blank", "unknown", "unclassified"]},
        ),
        ("cameraSetupType", "string", {"enum": ["setup", "calibration"]}),
        ("scientificName", "string", {}),
        ("count", "integer", {"minimum": 1}),
        ("lifeStage", "string", {"enum": ["adult", "subadult", "juvenile"]}),
        ("sex", "string", {"enum": ["female", "male"]}),
        ("behavior", "string", {}),
        ("individualID", "string", {}),
        ("individualPositionRadius", "number", _POSITIVE),
        ("individualPositionAngle", "number", {"minimum": -90, "maximum": 90}),
        ("individualSpeed", "number", _POSITIVE),
        ("bboxX", "number", _SHARE),
        ("bboxY", "number", _SHARE),
        ("bboxWidth", "number", _SIZE),
        ("bboxHeight", "number", _SIZE),
        ("classificationMethod", "string", {"enum": ["human", "machine"]}),
        ("classifiedBy", "string", {}),
        ("classificationTimestamp", "datetime", {}),
        ("classificationProbability", "number", _SHARE),
        ("observationTags", "string", {}),
        ("observationComments", "string", {}),
    ),
}
_FOREIGN_KEYS = {
    "deployments": (),
    "media": (("deploymentID", "deployments"),),
    "observations": (("deploymentID", "deployments"), ("mediaID", "media")),
}


def columns(table: str) -> tuple[str, ...]:
    """Columns of a table, in the order of the standard."""
    return tuple(name for name, _, _ in _FIELDS[table])


def allowed(table: str, column: str) -> tuple[str, ...]:
    """The values that a column may have; none where it may have any."""
    return tuple(
        value
        for name, _, constraints in _FIELDS[table]
        if name == column
        for value in constraints.get("enum", ())
    )


def table_schema(table: str) -> dict[str, Any]:
    """The schema of a table as a Frictionless table schema."""
    fields = []
    for name, kind, constraints in _FIELDS[table]:
        field: dict[str, Any] = {"name": name, "type": kind}
        if kind == "datetime":
            field["format"] = "%Y-%m-%dT%H:%M:%S%z"
        if constraints:
            field["constraints"] = constraints
        fields.append(field)
    return {
        "name": table,
        "fields": fields,
        "missingValues": ["", "NA", "NaN", "nan"],
        "primaryKey": [_FIELDS[table][0][0]],
        "foreignKeys": [
            {"fields": [key], "reference": {"resource": other, "fields": [key]}}
            for key, other in _FOREIGN_KEYS[table]
        ],
    }
