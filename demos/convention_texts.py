"""The formulas beside the figures of docs/conventions.md."""

TEXTS = {
    "canonical": """
Xc = R X + t
u  = fx Xc.x / Xc.z + cx
v  = fy Xc.y / Xc.z + cy

x right, y down, z forward
u = 0 is the left edge;
pixel i spans i .. i + 1
the camera is at -R^T t

unit k: vertices and t
both times k, never K
""",
    "pytorch3d": """
rows: Xv = X R_p3d + T

R_p3d = (P R)^T
T     = P t
P     = diag(-1, -1, 1)
m     = min(w, h) / 2

focal_ndc =  f / m
pp_ndc = -(c - (w/2, h/2)) / m

image_size: (height, width)
""",
    "transforms": """
both: camera to world, 4x4

INSTA  inv([R|t])
NeRF   inv([R|t]) diag(1,-1,-1,1)

INSTA takes the first of
  x_fov           degrees, whole
  fl_x            pixels
  camera_angle_x  radians, whole

NeRF: mostly camera_angle_x
alone, principal point in the
middle
""",
    "imavatar": """
world_mat  = [F R | 4 F t]
F = diag(1, -1, -1)
not transposed

intrinsics = [-fx/S, fy/S,
               cx/S, cy/S]

vertices = 4 x FLAME
""",
    "3dgs": """
stored R = R^T, T = t
(the view matrix transposes
R back)

FoVx = 2 atan(w / (2 fx))
FoVy = 2 atan(h / (2 fy))

everything shifts by
(w/2 - cx, h/2 - cy)

raster pixel (index) = u - 0.5
""",
    "gaussian-talker": """
R_gl  = F R,  trans = F t
R_gl  = Rx(theta) Ry(phi) Rz(-psi)
euler = (theta, phi, psi), radians

one focal length, cx = w/2:
the picture itself moves
(convert --images)

transforms_*.json: trans / 10
""",
    "gagavatar": """
transform_matrix =
    [(P R)^T | 5 P t]
for rows, although it looks
like a 3x4 for columns

T_z: 1.69 x 5 = 8.45

f is fixed: the picture is
zoomed by 3072 / f. T_z stays,
changing it would change the
perspective
""",
    "facelift": """
w2c = [R | t], OpenCV axes
fx, fy, cx, cy in pixels,
for each view its own

place at azimuth a, elevation e:
  r (cos e cos a,
     cos e sin a,
     sin e)

a = 270 + 360 i / n, r = 2.7
the input views: elevation 0
""",
    "mammal": """
x = K (R X + T / 1000)
X in metres, T = 1000 t

a list, or a dict with whole
or text keys

normalising: t and the points
both times k. Only the mean
becomes 2.7; each camera by
itself would break the rig
""",
}
