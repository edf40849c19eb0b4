"""The figures of a comparison in words: what each is, in which unit, measured with what, and who defined it so."""

from marotte.runtime.compare.model import Definition

_PSNR = (
    "-10 log10 of the mean squared error over the pixels and channels of the common picture (range 0 to 1), in dB, for "
    "each frame by itself, then the mean over frames; 100 for equal frames"
)
_SSIM = (
    "mean structural similarity of the common picture, 1 for equal frames: Gaussian window of 11 x 11 and sigma 1.5, "
    "K1 = 0.01, K2 = 0.03, each channel by itself; the mean over frames"
)
_LPIPS = "learned perceptual distance of the common picture, 0 for equal frames, the mean over frames"
_MARKS = (
    "distance of a landmark from the same landmark {of}, in pixels of the common picture: the mean over the 51 of the "
    "brows, nose, eyes and mouth (not the jaw line, which slides along the face) and over frames"
)
_SHARE = "the same as a share of the distance of the eyes' outer corners {of}"
_EXACT = "the exact frames, before any encoding"
_WANG, _ZHANG = "Wang et al., 2004 (SSIM)", "Zhang et al., 2018 (LPIPS)"
_SAGONAS = "Sagonas et al., 2013 (300-W, inter-ocular normalisation)"
_LANDMARKS = "landmarks of the arms' own faces, projected into the common picture"
_MOUTH = "the arm's realised opening (the report says by what for each arm)"
_SOUND = "and the sound of the arm's own video"
_BLINK = "the arm's closure of the eyes (the report says by what for each arm)"
_HEAD = "the arm's head pose (the report says by what for each arm)"
_POSED = "both drivers' motions, before the arms' options, posed on one head model of their basis, the head held still"
_CLOCK = "wall clock around the drawing of a frame while the films were made, all arms in turn"
_OWN = "Marotte"

_ROWS = (
    ("psnr_reference", "PSNR", "reference", "dB", "more", f"{_PSNR}.", _EXACT, "usual"),
    ("ssim_reference", "SSIM", "reference", "", "more", f"{_SSIM}.", _EXACT, _WANG),
    ("lpips_reference", "LPIPS", "reference", "", "less", f"{_LPIPS}.", f"{_EXACT}; AlexNet", _ZHANG),
    (
        "landmark_reference",
        "Landmark distance",
        "reference",
        "px",
        "less",
        f"{_MARKS.format(of='in the reference')}.",
        _LANDMARKS,
        "usual (LMD)",
    ),
    (
        "landmark_reference_share",
        "Landmark distance by eye distance",
        "reference",
        "%",
        "less",
        f"{_SHARE.format(of='in the reference')}.",
        _LANDMARKS,
        _SAGONAS,
    ),
    ("psnr_pair", "PSNR", "pair", "dB", "", f"{_PSNR}.", _EXACT, "usual"),
    ("ssim_pair", "SSIM", "pair", "", "", f"{_SSIM}.", _EXACT, _WANG),
    ("lpips_pair", "LPIPS", "pair", "", "", f"{_LPIPS}.", f"{_EXACT}; AlexNet", _ZHANG),
    (
        "difference_pair",
        "Mean absolute difference",
        "pair",
        "of 255",
        "",
        "mean absolute difference over the pixels and channels of the common picture and over frames.",
        _EXACT,
        "usual",
    ),
    (
        "landmark_pair",
        "Landmark distance",
        "pair",
        "px",
        "",
        f"{_MARKS.format(of='of the first arm')}.",
        _LANDMARKS,
        "usual (LMD)",
    ),
    (
        "landmark_pair_share",
        "Landmark distance by eye distance",
        "pair",
        "%",
        "",
        f"{_SHARE.format(of='of the first arm')}.",
        _LANDMARKS,
        _SAGONAS,
    ),
    (
        "lve",
        "Lip vertex error (LVE)",
        "pair",
        "mm²",
        "",
        "in each frame the largest squared distance of a lip vertex from where the first arm's motion has it, averaged "
        "over frames: squared, in mm² (the papers give squared units of their models).",
        _POSED,
        "Richard et al., 2021 (MeshTalk); so averaged: Fan et al., 2022 (FaceFormer)",
    ),
    (
        "lip_distance",
        "Lip vertex distance",
        "pair",
        "mm",
        "",
        "LVE without squaring: each frame's largest distance of a lip vertex, averaged over frames.",
        _POSED,
        "after Richard et al., 2021 (MeshTalk)",
    ),
    (
        "fdd",
        "Upper-face dynamics deviation (FDD)",
        "pair",
        "mm",
        "",
        "for each upper-face vertex the standard deviation over time of its distance from the neutral face, the first "
        "arm's motion less this one's, averaged over vertices. Above 0 this upper face is the stiller one; 0 can also "
        "mean that differences cancel.",
        _POSED,
        "Xing et al., 2023 (CodeTalker)",
    ),
    (
        "mod",
        "Mouth opening difference (MOD)",
        "pair",
        "mm",
        "",
        "mean absolute difference of the lips' gap, the widest of three pairs of inner-lip landmarks (61-67, 62-66, "
        "63-65) along the head's vertical axis, 0 where they touch or cross.",
        _POSED,
        "after Sun et al., 2024 (DiffPoseTalk), which leaves open how the opening is measured",
    ),
    (
        "opening",
        "Mouth opening",
        "speech",
        "mm",
        "",
        "mean gap of the inner lips as realised, over the frames of speech and within 250 ms of it.",
        f"{_MOUTH}, and the phones of the comparison's sound",
        _OWN,
    ),
    (
        "opening_gain",
        "Opening realised by asked",
        "speech",
        "",
        "",
        "slope through the origin of the realised opening on the one that the driver's own motion asks for, before the "
        "arm's options, over the frames of speech: 1 where the face does what it is told.",
        f"{_MOUTH}, and the driver's motion posed on the arm's head (or the demo's)",
        _OWN,
    ),
    (
        "opening_follow",
        "Opening follows what is asked",
        "speech",
        "",
        "more",
        "Pearson's r of the realised opening with the asked one in the same frame, over the frames of speech.",
        f"{_MOUTH}, and the driver's motion posed on the arm's head (or the demo's)",
        _OWN,
    ),
    (
        "closure",
        "Lip closure at bilabials",
        "speech",
        "",
        "more",
        "share of the bilabials (p, b, m; adjacent ones are one) during which, or within 60 ms of which, the realised "
        "lips are closed: under 5 % of the gap at full jaw opening where mm are known, else under a level of the "
        "film's own, a tenth of the way from the 2nd to the 98th percentile of the opening in speech. Where all or "
        "none close, the interval is Clopper and Pearson's, of so many.",
        f"{_MOUTH} {_SOUND}",
        f"{_OWN} (after `marotte bench --lipsync`)",
    ),
    (
        "closure_asked",
        "Lip closure that is asked for",
        "speech",
        "",
        "more",
        "the same of the opening that the driver's own motion asks for: what is missing here the driver left out, what "
        "is missing only above the renderer or the arm's options did.",
        "the driver's motion posed on the arm's head (or the demo's), and the sound of the arm's own video",
        _OWN,
    ),
    (
        "lag",
        "Lag of the lips behind the sound",
        "speech",
        "ms",
        "",
        "shift within 500 ms at which the realised opening follows the openness of the phones (its mean over 60 ms) "
        "best over the frames of speech: Pearson's r at every 10 ms, at least 0.3 at its best, with parabolic "
        "interpolation; above 0 the lips are late. A driver that opens the mouth early or late by itself shows here "
        "too: a shifted sound shows in the difference from the first arm.",
        f"{_MOUTH} {_SOUND}",
        f"{_OWN} (after `marotte bench --lipsync`)",
    ),
    (
        "blink_rate",
        "Blinks",
        "life",
        "per minute",
        "",
        "blinks a minute: one begins where the eyes' closure (0 open to 1 shut) goes above 0.5, and the next one can "
        "begin after it was under 0.3.",
        _BLINK,
        _OWN,
    ),
    (
        "blink_duration",
        "Duration of a blink",
        "life",
        "s",
        "",
        "mean time from where the closure goes above 0.5 to where it last leaves it, on the line between two frames.",
        _BLINK,
        _OWN,
    ),
    (
        "head_motion",
        "Head motion",
        "life",
        "°",
        "",
        "how far the head turns from its mean: the root of the sum of the variances of pitch, yaw and roll.",
        _HEAD,
        _OWN,
    ),
    (
        "head_speed",
        "Speed of the head",
        "life",
        "°/s",
        "",
        "mean of the length of the change of pitch, yaw and roll from frame to frame.",
        _HEAD,
        _OWN,
    ),
    (
        "lips_jitter",
        "Jitter of the lips",
        "steadiness",
        "mm/frame²",
        "",
        "mean length of the second difference in time of the mouth's 20 landmarks, the head held still; of the opening "
        "where only that is known. Lips that move fast and far have some too: compare arms of one driver.",
        "the arm's mouth landmarks, or its realised opening",
        f"{_OWN} (as `marotte motion compare`)",
    ),
    (
        "head_jitter",
        "Jitter of the head",
        "steadiness",
        "°/frame²",
        "less",
        "mean length of the second difference in time of pitch, yaw and roll.",
        _HEAD,
        _OWN,
    ),
    ("frame_time", "Frame time", "steadiness", "ms", "less", "mean time of drawing a frame.", _CLOCK, "usual"),
    (
        "frame_time_jitter",
        "Jitter of the frame time",
        "steadiness",
        "ms",
        "less",
        "mean absolute difference of the times of two successive frames.",
        _CLOCK,
        "usual",
    ),
)

# All figures but those of cost, in the order in which a report shows them, by key.
DEFINITIONS = {row[0]: Definition(*row) for row in _ROWS}

# Differences up to so much, in the figure's unit or as a share of the first arm's value, are too small to matter, sure
# as they may be. Opening: half a pixel of a face 250 pixels wide. Lag: half a frame at 25 frames a second; nobody sees
# less than 45 ms (ITU-R BT.1359). Closure: one bilabial of 20. All are Marotte's choice.
SMALL: dict[str, tuple[float, float]] = {
    "psnr_reference": (0.5, 0),
    "ssim_reference": (0.005, 0),
    "lpips_reference": (0.01, 0),
    "landmark_reference": (0.25, 0),
    "landmark_reference_share": (0.25, 0),
    "opening": (0.2, 0),
    "opening_gain": (0.05, 0),
    "opening_follow": (0.02, 0),
    "closure": (0.05, 0),
    "closure_asked": (0.05, 0),
    "lag": (20, 0),
    "blink_rate": (1, 0),
    "blink_duration": (0.02, 0),
    "head_motion": (0.2, 0),
    "head_speed": (0.5, 0),
    "lips_jitter": (0, 0.1),
    "head_jitter": (0.02, 0),
    "frame_time": (0, 0.03),
    "frame_time_jitter": (0, 0.1),
    "cost_mean": (0, 0.03),
    "cost_p50": (0, 0.03),
    "cost_p95": (0, 0.1),
    "cost_p99": (0, 0.1),
}
