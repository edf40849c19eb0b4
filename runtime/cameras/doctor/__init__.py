"""The doctor: which convention a camera file breaks, and how to mend it.

`readings` takes a file as its published reader does, faults and all; `checks` finds what it says against itself;
`hypotheses` and `guesses` are the known faults, each as an operation that undoes it; `search` tries them against
landmarks; `diagnosis` puts it together, `report` into words, `overlay` into a picture, `mend` into a file.
"""

from marotte.runtime.cameras.doctor.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
