//! The area that UEs are placed in and move in.

use std::f64::consts::{PI, TAU};

use crate::kernel::Stream;

/// The largest coordinate of an area \[m\]: beyond, fields and paths lose their digits.
pub const MOST_COORDINATE_M: f64 = 1e6;

/// A region of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Area {
    /// All points up to a radius around a centre; a single point for radius 0.
    Disc {
        /// Centre, east \[m\].
        x_m: f64,
        /// Centre, north \[m\].
        y_m: f64,
        /// Radius \[m\].
        radius_m: f64,
    },
    /// A rectangle along the axes.
    Rectangle {
        /// West edge \[m\].
        x_m: f64,
        /// South edge \[m\].
        y_m: f64,
        /// Extent to the east \[m\].
        width_m: f64,
        /// Extent to the north \[m\].
        height_m: f64,
    },
}

/// An area that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AreaError {
    /// A coordinate is not a number or too large.
    #[error("{what} = {value} m is not between -{MOST_COORDINATE_M} and {MOST_COORDINATE_M} m")]
    Coordinate {
        /// Which one.
        what: &'static str,
        /// The value refused.
        value: f64,
    },
    /// An extent is negative, not a number or too large.
    #[error("{what} = {value} m is not between 0 and {MOST_COORDINATE_M} m")]
    Extent {
        /// Which one.
        what: &'static str,
        /// The value refused.
        value: f64,
    },
}

/// Where a straight path with mirrors at the border ended, and what the mirrors did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reflected {
    /// The position \[m\].
    pub position_m: [f64; 2],
    /// The orthogonal map of all reflections on the way, to apply to velocities.
    pub mirror: Mirror,
}

/// An orthogonal map of the plane, `[[a, b], [c, d]]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mirror([[f64; 2]; 2]);

impl Mirror {
    /// The image of a vector.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [[a, b], [c, d]] = self.0;
        [a * x + b * y, c * x + d * y]
    }
}

impl Area {
    /// Whether the numbers make an area.
    ///
    /// # Errors
    /// [`AreaError`] for numbers that are not finite, too large, or negative extents.
    pub fn check(&self) -> Result<(), AreaError> {
        let (x_m, y_m, extents) = match *self {
            Self::Disc { x_m, y_m, radius_m } => (x_m, y_m, [("radius", radius_m); 2]),
            Self::Rectangle { x_m, y_m, width_m, height_m } => (x_m, y_m, [("width", width_m), ("height", height_m)]),
        };
        for (what, value) in [("x", x_m), ("y", y_m)] {
            if value.is_nan() || value.abs() > MOST_COORDINATE_M {
                return Err(AreaError::Coordinate { what, value });
            }
        }
        for (what, value) in extents {
            if !(0.0..=MOST_COORDINATE_M).contains(&value) {
                return Err(AreaError::Extent { what, value });
            }
        }
        Ok(())
    }

    /// The smaller of its extents \[m\]: a diameter, or a side.
    pub fn least_extent_m(&self) -> f64 {
        match *self {
            Self::Disc { radius_m, .. } => 2.0 * radius_m,
            Self::Rectangle { width_m, height_m, .. } => width_m.min(height_m),
        }
    }

    /// A uniform point, from block `index`: by inversion, `r = R√u` in a disc.
    pub fn place(&self, stream: &Stream, index: u64) -> [f64; 2] {
        let [u, v] = stream.uniform_pair(index);
        match *self {
            Self::Disc { x_m, y_m, radius_m } => {
                let (sin, cos) = (TAU * v).sin_cos();
                let r = radius_m * u.sqrt();
                [x_m + r * cos, y_m + r * sin]
            }
            Self::Rectangle { x_m, y_m, width_m, height_m } => [x_m + width_m * u, y_m + height_m * v],
        }
    }

    /// Whether (`x_m`, `y_m`) lies inside or on the border, up to a rounding (10⁻⁹ of the extent).
    pub fn contains(&self, x_m: f64, y_m: f64) -> bool {
        const SLACK: f64 = 1e-9;
        match *self {
            Self::Disc { x_m: cx, y_m: cy, radius_m } => (x_m - cx).hypot(y_m - cy) <= radius_m * (1.0 + SLACK),
            Self::Rectangle { x_m: west, y_m: south, width_m, height_m } => {
                let within = |offset: f64, extent: f64| (-SLACK * extent..=extent * (1.0 + SLACK)).contains(&offset);
                within(x_m - west, width_m) && within(y_m - south, height_m)
            }
        }
    }

    /// The mean distance between two independent uniform points \[m\]: `128R/(45π)` in a
    /// disc; in a rectangle with sides a ≥ b and diagonal d (Ghosh, "Random distances
    /// within a rectangle and between two rectangles", Bull. Calcutta Math. Soc. 43, 1951)
    ///
    /// `[a³/b² + b³/a² + d(3 - a²/b² - b²/a²) + 5/2·(b²/a·ln((a + d)/b) + a²/b·ln((b + d)/a))]/15`
    pub fn mean_distance_m(&self) -> f64 {
        match *self {
            Self::Disc { radius_m, .. } => 128.0 * radius_m / (45.0 * PI),
            Self::Rectangle { width_m, height_m, .. } => {
                let (a, b) = (width_m.max(height_m), width_m.min(height_m));
                // A thin rectangle is a segment, where the terms would cancel.
                if b < 1e-4 * a {
                    return a / 3.0;
                }
                let d = a.hypot(b);
                let (a2, b2) = (a * a, b * b);
                let logs = b2 / a * ((a + d) / b).ln() + a2 / b * ((b + d) / a).ln();
                (a2 * a / b2 + b2 * b / a2 + d * (3.0 - a2 / b2 - b2 / a2) + 2.5 * logs) / 15.0
            }
        }
    }

    /// From a point inside along the direction `[cos, sin]`, entering again on the opposite side
    /// of the border: modulo the sides of a rectangle, or the chord of a disc.
    pub(super) fn wrap(&self, [x, y]: [f64; 2], [cos, sin]: [f64; 2], length_m: f64) -> [f64; 2] {
        match *self {
            Self::Rectangle { x_m, y_m, width_m, height_m } => [
                x_m + (x - x_m + length_m * cos).rem_euclid(width_m),
                y_m + (y - y_m + length_m * sin).rem_euclid(height_m),
            ],
            Self::Disc { x_m, y_m, radius_m } => {
                let (dx, dy) = (x - x_m, y - y_m);
                let along = dx * cos + dy * sin;
                let half_chord = (along * along + radius_m * radius_m - dx * dx - dy * dy).max(0.0).sqrt();
                if half_chord <= 0.0 {
                    return [x, y];
                }
                let now = (along + half_chord + length_m).rem_euclid(2.0 * half_chord) - half_chord;
                [x + (now - along) * cos, y + (now - along) * sin]
            }
        }
    }

    /// From a point inside along a displacement \[m\], with mirrors at the border.
    ///
    /// A rectangle unfolds into the plane. In a disc all chords of a path have one length c
    /// and successive hits are one angle ψ apart, so hit K is a rotation of the first by
    /// (K - 1)ψ: any number of reflections takes one step.
    pub(super) fn reflect(&self, [x, y]: [f64; 2], [dx, dy]: [f64; 2]) -> Reflected {
        match *self {
            Self::Rectangle { x_m, y_m, width_m, height_m } => {
                let (x, x_sign) = fold(x - x_m + dx, width_m);
                let (y, y_sign) = fold(y - y_m + dy, height_m);
                Reflected { position_m: [x_m + x, y_m + y], mirror: Mirror([[x_sign, 0.0], [0.0, y_sign]]) }
            }
            Self::Disc { x_m, y_m, radius_m } => {
                let reflected = reflect_in_disc([x - x_m, y - y_m], [dx, dy], radius_m);
                let [x, y] = reflected.position_m;
                Reflected { position_m: [x_m + x, y_m + y], ..reflected }
            }
        }
    }
}

/// An offset folded into [0, width] by mirrors at both ends, and the direction's sign.
fn fold(offset: f64, width: f64) -> (f64, f64) {
    if width <= 0.0 {
        return (0.0, 1.0);
    }
    let unfolded = offset.rem_euclid(2.0 * width);
    // The last rounding may step over an end by an ulp.
    if unfolded > width { ((2.0 * width - unfolded).max(0.0), -1.0) } else { (unfolded, 1.0) }
}

const IDENTITY: Mirror = Mirror([[1.0, 0.0], [0.0, 1.0]]);

/// [`Area::reflect`] in a disc of radius `r` around the origin.
fn reflect_in_disc([x, y]: [f64; 2], [dx, dy]: [f64; 2], r: f64) -> Reflected {
    let length = dx.hypot(dy);
    let end = [x + dx, y + dy];
    let inside = |[x, y]: [f64; 2]| x.hypot(y) <= r;
    if length == 0.0 || inside(end) {
        return Reflected { position_m: end, mirror: IDENTITY };
    }
    let [ux, uy] = [dx / length, dy / length];
    // |p + su| = r: s = -p·u + √((p·u)² + r² - |p|²).
    let along = x * ux + y * uy;
    let half_chord = (along * along + r * r - x * x - y * y).max(0.0).sqrt();
    let first = (half_chord - along).max(0.0);
    let (chord, rest) = (2.0 * half_chord, length - first);
    let hit = (y + first * uy).atan2(x + first * ux);
    // Of the first chord's middle, seen from the centre, both ends lie the angle ψ/2 away;
    // its sense is that of the path around the centre.
    let around = x * uy - y * ux;
    let sense = if around < 0.0 { -1.0 } else { 1.0 };
    let turn = 2.0 * sense * half_chord.atan2(around.abs());
    if chord < 1e-9 * r {
        // A grazing path's limit: along the border, both ends of a chord in one.
        let (sin, cos) = (hit + sense * rest / r).sin_cos();
        let (sin_turn, cos_turn) = (sense * rest / r).sin_cos();
        let mirror = Mirror([[cos_turn, -sin_turn], [sin_turn, cos_turn]]);
        return Reflected { position_m: [r * cos, r * sin], mirror };
    }
    // Whole chords behind the first hit, and the way on the last one.
    let whole = (rest / chord).floor();
    let within = rest - whole * chord;
    let last_hit = hit + whole * turn;
    // A reflection at the normal of angle β maps a direction's angle α to 2β + π - α.
    let mirror = if whole % 2.0 == 0.0 {
        let (sin, cos) = (2.0 * hit + PI + whole * turn).sin_cos();
        Mirror([[cos, sin], [sin, -cos]])
    } else {
        let (sin, cos) = ((whole + 1.0) * turn).sin_cos();
        Mirror([[cos, -sin], [sin, cos]])
    };
    let [wx, wy] = mirror.apply([ux, uy]);
    let (sin, cos) = last_hit.sin_cos();
    let (px, py) = (r * cos + within * wx, r * sin + within * wy);
    // Roundings must not leave the disc.
    let scale = (r / px.hypot(py)).min(1.0);
    Reflected { position_m: [px * scale, py * scale], mirror }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    /// Hit by hit: where the way meets the border, it and `mean` are mirrored at the normal.
    fn traced([x, y]: [f64; 2], way: [f64; 2], mean: [f64; 2], r: f64) -> ([f64; 2], [f64; 2]) {
        let (mut place, mut mean, mut length) = ([x, y], mean, way[0].hypot(way[1]));
        let mut u = way.map(|component| component / length);
        loop {
            let along = place[0] * u[0] + place[1] * u[1];
            let to_hit = (along * along + r * r - place[0].powi(2) - place[1].powi(2)).max(0.0).sqrt() - along;
            if length <= to_hit {
                return ([place[0] + length * u[0], place[1] + length * u[1]], mean);
            }
            place = [place[0] + to_hit * u[0], place[1] + to_hit * u[1]];
            length -= to_hit;
            // Back onto the border, and a unit vector: roundings would grow from hit to hit.
            let distance = place[0].hypot(place[1]);
            let normal = place.map(|component| component / distance);
            place = normal.map(|component| component * r);
            let mirror = |v: [f64; 2]| {
                let twice = 2.0 * (v[0] * normal[0] + v[1] * normal[1]);
                [v[0] - twice * normal[0], v[1] - twice * normal[1]]
            };
            (u, mean) = (mirror(u), mirror(mean));
            let norm = u[0].hypot(u[1]);
            u = u.map(|component| component / norm);
        }
    }

    #[test]
    fn any_number_of_hits_in_a_disc_takes_one_step() {
        let stream = Streams::new(4, 0).stream(0, Purpose::Test);
        let disc = Area::Disc { x_m: 0.0, y_m: 0.0, radius_m: 10.0 };
        for i in 0..2_000 {
            let (place, way, mean) = (disc.place(&stream, 3 * i), stream.normal_pair(3 * i + 1), [0.3, -0.7]);
            let way = way.map(|component| component * [3.0, 30.0, 300.0][(i % 3) as usize]);
            let reflected = disc.reflect(place, way);
            let (expected, expected_mean) = traced(place, way, mean, 10.0);
            let images = [reflected.position_m, reflected.mirror.apply(mean)];
            for (image, expected) in images.into_iter().zip([expected, expected_mean]) {
                let off = (image[0] - expected[0]).hypot(image[1] - expected[1]);
                // A graze's hits are many and amplify roundings.
                assert!(off < 1e-6, "draw {i}: {image:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn a_graze_runs_along_the_border() {
        let disc = Area::Disc { x_m: 0.0, y_m: 0.0, radius_m: 10.0 };
        let reflected = disc.reflect([10.0, 0.0], [0.0, 10.0 * PI]);
        assert!((reflected.position_m[0] + 10.0).abs() < 1e-9 && reflected.position_m[1].abs() < 1e-9);
        let [x, y] = reflected.mirror.apply([0.0, 1.0]);
        assert!(x.abs() < 1e-9 && (y + 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_rectangle_folds() {
        let area = Area::Rectangle { x_m: 1.0, y_m: 0.0, width_m: 2.0, height_m: 1.0 };
        let reflected = area.reflect([1.5, 0.5], [2.0, 3.75]);
        // x: 0.5 + 2 = 2.5 behind the east edge; y: 4.25 is two whole mirrorings and a quarter.
        assert_eq!(reflected.position_m, [2.5, 0.25]);
        assert_eq!(reflected.mirror.apply([1.0, 1.0]), [-1.0, 1.0]);
    }
}
