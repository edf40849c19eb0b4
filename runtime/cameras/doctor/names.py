"""The vocabulary: what each fault is, what to change in the program that wrote the file, and what data would decide.

Source of the names: reference/cameras/SPEC.md, section 13; `scale10_missing` is GaussianTalker's counterpart of the
other two scales.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """is_: what is wrong, as a clause; export: the change to the exporter; decide: data that would tell it apart."""

    is_: str
    export: str
    decide: str


_SHIFT = "the video's size and the tracker's bbox.pt, to match the shift with the box and the padding"
_LENS = "more frames, or points with more depth: the focal length and the distance do nearly the same"
_SCALE = "the unit of the 3D points: only the ratio of points and translation is visible"

FAULTS = {
    "r_transposed": Fault(
        "the rotation is stored transposed",
        "Store the rotation itself: 3DGS transposes it back, so it must not be transposed for it by hand.",
        "frames in which the head nods: without pitch a rotation and its transpose give the same pictures",
    ),
    "yz_flipped": Fault(
        "the camera's y and z axes have the other sign (OpenGL's axes where OpenCV's are meant, or the reverse)",
        "Multiply rotation and translation by diag(1, -1, -1) on the camera's side, once.",
        "which points are in front: a mirrored x gives the same pixels",
    ),
    "xy_flip_missing": Fault(
        "the x and y axes of PyTorch3D's view were not flipped",
        "Multiply rotation and translation by diag(-1, -1, 1) on the camera's side (PyTorch3D: x left, y up).",
        "whether the pictures are turned by 180 degrees, which looks the same",
    ),
    "p3d_row_column_swapped": Fault(
        "the rotation is not transposed for row vectors, as PyTorch3D multiplies them",
        "Store (P R)^T with P = diag(-1, -1, 1): PyTorch3D computes X R + T.",
        "frames in which the head nods and turns",
    ),
    "c2w_as_w2c": Fault(
        "camera-to-world matrices stand where world-to-camera ones are meant, or the reverse",
        "Invert the 4x4 matrix before writing it.",
        "frames with a turned head or an off-centre camera: a frontal one is its own inverse",
    ),
    "scale4_missing": Fault(
        "the translation is at FLAME's scale 1, not at 4",
        "Multiply the translation by 4: IMavatar's and SplattingAvatar's vertices are FLAME x 4.",
        _SCALE,
    ),
    "scale5_missing": Fault(
        "the translation is at FLAME's scale 1, not at 5",
        "Multiply the translation by 5: GAGAvatar's FLAME has scale 5.",
        _SCALE,
    ),
    "scale10_missing": Fault(
        "the translation is at FLAME's scale 1, not at the 3DMM's 10",
        "Multiply the translation by 10: GaussianTalker's head model is that much larger.",
        _SCALE,
    ),
    "metres_for_millimetres": Fault(
        "the translation is in metres where millimetres are meant", "Multiply the translation by 1000.", _SCALE
    ),
    "millimetres_for_metres": Fault(
        "the translation is in millimetres where metres are meant", "Divide the translation by 1000.", _SCALE
    ),
    "distance_normalised": Fault(
        "the cameras were scaled to another distance and the points were not",
        "Multiply the points by the same factor as the translations, or leave both in metres.",
        _LENS,
    ),
    "crop_offset_missing": Fault(
        "the crop's corner was left out of the principal point",
        "Add the box's left and top edge to cx and cy when going from the crop to the video, subtract them back.",
        _SHIFT,
    ),
    "padding_missing": Fault(
        "the padding of the crop to a square was left out of the principal point",
        "Subtract the padding when going from the crop to the video; it follows from the box: half of what is missing.",
        _SHIFT,
    ),
    "resize_missing": Fault(
        "the resize of the crop was left out of K",
        "Divide the focal length and the principal point by the crop's scale when going to the video.",
        "the tracker's bbox.pt: its exact scale decides",
    ),
    "wrong_resolution": Fault(
        "K belongs to pictures of another size",
        "Multiply fx and cx by the ratio of the widths, fy and cy by that of the heights.",
        "the size of the pictures that K was estimated on",
    ),
    "principal_point_dropped": Fault(
        "the principal point was replaced by the picture's centre",
        "Write cx and cy; where the format has none, crop the pictures so that it is the centre.",
        _SHIFT,
    ),
    "half_pixel": Fault(
        "the principal point counts pixels from their centres",
        "Add 0.5 to cx and cy: a centred camera has cx = width / 2.",
        "another landmark detector: half a pixel is also what a detector's bias is like",
    ),
    "fov_half_angle": Fault(
        "half the angle of view stands where the whole is meant",
        "Write 2 atan(w / (2 f)): angles of view are whole angles.",
        _LENS,
    ),
    "fov_replaced": Fault(
        "the focal length is a default, not these pictures'",
        "Write the focal length that the cameras were estimated with, or resample the pictures to the default.",
        _LENS,
    ),
    "degrees_for_radians": Fault(
        "an angle is in degrees where radians are meant", "Multiply the angle by pi / 180.", _LENS
    ),
    "radians_for_degrees": Fault(
        "an angle is in radians where degrees are meant", "Multiply the angle by 180 / pi.", _LENS
    ),
    "frame_shift": Fault(
        "the cameras belong to neighbouring frames",
        "Match cameras and pictures by their numbers: metrical-tracker's frame k is picture k + 1.",
        "frames in which the head moves fast",
    ),
    "inconsistent_fields": Fault(
        "fields of the file that say the same thing disagree",
        "Write all of them from one camera.",
        "landmarks: they show which of the fields is right",
    ),
}
