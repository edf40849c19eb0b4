"""The numbers of the published rasterizer, each rounded to float32 as its kernels have them.

Rounding is part of the picture: 0.99 is 0.99000001 in float32, so what two fully opaque layers let
through is below 0.0001 and the second is never blended (section 3 of the rasterizer reference).
"""

import numpy as np

from marotte.models.spherical_harmonics import C0, C1, C2, C3

# Gaussians at or below this camera z are not drawn.
NEAR = np.float32(0.2)
# Added to the homogeneous coordinate before the division.
W_EPSILON = np.float32(1e-7)
# The Jacobian is evaluated at most this many half fields of view from the optical axis.
FRUSTUM_MARGIN = np.float32(1.3)
# Added to the diagonal of the projected covariance, in square pixels: nothing is thinner than a pixel.
LOW_PASS = np.float32(0.3)
# Floor under the root in the larger eigenvalue of the projected covariance.
EIGEN_FLOOR = np.float32(0.1)
# Standard deviations that the radius spans.
RADIUS_SIGMAS = np.float32(3)
# Side of the tiles that the radius is rounded to, in pixels.
TILE = 16
ALPHA_MAX = np.float32(0.99)
# Less than one step of a byte is not blended.
ALPHA_MIN = np.float32(1) / np.float32(255)
# A pixel stops before the Gaussian that would leave less light than this.
LIGHT_MIN = np.float32(0.0001)

# The harmonics' constants with the signs of their terms.
SH0 = np.float32(C0)
SH1 = np.float32(C1)
SH2 = tuple(map(np.float32, (C2[0], -C2[0], C2[1], -C2[0], C2[2])))
SH3 = tuple(map(np.float32, (-C3[0], C3[1], -C3[2], C3[3], -C3[2], C3[4], -C3[0])))
# Added to the sum of the harmonics, which is then clamped at 0 from below.
SH_OFFSET = np.float32(0.5)
