"""A diagnosis in words, on one screen."""

from marotte.runtime.cameras.doctor.diagnosis import NONE, Diagnosis
from marotte.runtime.cameras.doctor.names import FAULTS

_MOST = 4


def describe(diagnosis: Diagnosis) -> list[str]:
    """Return the lines for a person: finding, evidence, mend, confidence, and what would decide."""
    reading, evidence = diagnosis.reading, diagnosis.evidence
    width, height = reading.image
    cameras = f"{len(reading)} camera{'s' if len(reading) != 1 else ''}"
    lines = [f"{diagnosis.path}: {reading.format}, {cameras} of {width}x{height} pixels"]
    lines += [_line("finding", text) for text in _findings(diagnosis)]
    lines += [_line("evidence", text) for text in _evidence(diagnosis)]
    lines += [_line("file", finding.text) for finding in diagnosis.findings[:_MOST]]
    lines += [_line("note", remark) for remark in diagnosis.remarks[:_MOST]]
    if not diagnosis.healthy:
        if diagnosis.mend:
            lines.append(_line("mend" if diagnosis.landmarks is not None else "next", diagnosis.mend))
        lines += [_line("exporter", FAULTS[name].export) for name in diagnosis.faults if name in FAULTS]
    if diagnosis.landmarks is not None:
        lines.append(_line("confidence", _confidence(diagnosis)))
    for name in diagnosis.alternatives[:_MOST]:
        lines.append(_line("or", f"{name}: {FAULTS[name].is_}"))
        lines.append(_line("decide", FAULTS[name].decide))
    if diagnosis.landmarks is None:
        lines.append(_line("saw", f"without landmarks only {evidence['sees']}"))
        lines.append(_line("not", evidence["cannot_see"]))
    return lines


def _line(label: str, text: str) -> str:
    return f"  {label:<11} {text}"


def _findings(diagnosis: Diagnosis) -> list[str]:
    if diagnosis.healthy:
        if diagnosis.landmarks is None:
            return ["nothing wrong that the file shows by itself"]
        return ["healthy: the cameras put the points where they were measured"]
    return [f"{name}: {FAULTS[name].is_}" for name in diagnosis.faults if name != NONE]


def _evidence(diagnosis: Diagnosis) -> list[str]:
    found = diagnosis.evidence
    if diagnosis.landmarks is None:
        return []
    count = f"{found['points']} points in {found['frames']} frames, noise {found['noise_px']:.2f} px"
    if found["outliers"]:
        count += f", {found['outliers']} outliers left out"
    if not found["undone"]:
        return [f"RMS {_pixels(found['rms_before_px'])} per coordinate; {count}"]
    lines = [f"RMS {_pixels(found['rms_before_px'])} as read, {_pixels(found['rms_after_px'])} when mended; {count}"]
    if found["in_front_before"] < 1:
        lines.append(f"as read, {100 * found['in_front_before']:.0f} % of the points are in front of the camera")
    return [*lines, *(f"undone: {text}" for text in found["undone"])]


def _pixels(value: float | None) -> str:
    if value is None:
        return "beyond measure"
    return f"{value:.2f} px" if value < 1e4 else f"{value:.2g} px"


def _confidence(diagnosis: Diagnosis) -> str:
    text = f"{100 * diagnosis.confidence:.0f} %"
    if not diagnosis.evidence["within_noise"]:
        text += ": what is left is more than the noise, something else is wrong as well"
    elif diagnosis.alternatives:
        text += ", as far as these landmarks can tell"
    return text
