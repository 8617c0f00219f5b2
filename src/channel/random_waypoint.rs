//! Random waypoint mobility, from its stationary law on.
//!
//! A UE walks to a uniform point of the area at a speed uniform on [v_min, v_max],
//! pauses, and starts again (Camp, Boleng, Davies, "A survey of mobility models for
//! ad hoc network research", Wirel. Commun. Mob. Comput. 2(5), 2002). Started at a
//! uniform point, the process is not stationary: for long, UEs grow slower and
//! crowd in the centre. So it starts as if it had run forever (Navidi, Camp, "Stationary
//! distributions for the random waypoint mobility model", IEEE Trans. Mobile Comput. 3(1),
//! 2004; Le Boudec, Vojnović, "Perfect simulation and stationarity of a class of
//! mobility models", INFOCOM 2005).

use super::area::Area;
use super::mobility::Whereabouts;
use crate::kernel::Stream;

/// Where the draws of the leg at time 0 start; leg n ≥ 1 has blocks 2n and 2n + 1.
const FIRST_LEG: u64 = 1 << 48;

/// Blocks of the first leg's ends, behind block 0 (phase) and 1 (speed).
const ENDS: u64 = 2;

/// Attempts at the ends of the first leg in a rectangle. Each succeeds with a probability
/// of at least 1/√2, so that all fail with one below 10⁻³⁴.
const ATTEMPTS: u64 = 64;

/// Speeds and pause of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_field_names, reason = "the s is a unit")]
pub(super) struct RandomWaypoint {
    pub min_speed_m_s: f64,
    pub max_speed_m_s: f64,
    pub pause_s: f64,
}

/// The leg that a UE is on: a straight way and the pause at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Leg {
    number: u64,
    start_s: f64,
    from_m: [f64; 2],
    to_m: [f64; 2],
    speed_m_s: f64,
    /// The pause at the end \[s\].
    pause_s: f64,
    /// The path's length up to the start of the leg \[m\].
    travelled_m: f64,
}

impl Leg {
    /// When it starts \[s\].
    pub fn start_s(&self) -> f64 {
        self.start_s
    }

    fn length_m(&self) -> f64 {
        (self.to_m[0] - self.from_m[0]).hypot(self.to_m[1] - self.from_m[1])
    }

    fn end_s(&self) -> f64 {
        self.start_s + self.length_m() / self.speed_m_s + self.pause_s
    }

    /// Where the UE is at `time_s`, a time of this leg.
    fn at(&self, time_s: f64) -> Whereabouts {
        let length_m = self.length_m();
        let way_m = self.speed_m_s * (time_s - self.start_s);
        let arrived = way_m >= length_m;
        let share = if arrived { 1.0 } else { way_m / length_m };
        Whereabouts {
            x_m: self.from_m[0] + share * (self.to_m[0] - self.from_m[0]),
            y_m: self.from_m[1] + share * (self.to_m[1] - self.from_m[1]),
            travelled_m: self.travelled_m + way_m.min(length_m),
            speed_m_s: if arrived { 0.0 } else { self.speed_m_s },
        }
    }
}

impl RandomWaypoint {
    /// The leg at time 0, in its middle.
    ///
    /// Legs last `L/v`, and time 0 falls into a leg with a probability in proportion to
    /// its length: the ends have the density `|a - b|` (see [`ends`]), the speed
    /// has `1/v`, that is `v_min·(v_max/v_min)^u`, and time 0 is uniform in the leg. It falls into a pause
    /// with the probability `pause / (pause + E[L]·E[1/v])`, E[1/v] = ln(v_max/v_min)/(v_max - v_min);
    /// then the place is a waypoint, and uniform.
    pub fn first_leg(&self, area: &Area, stream: &Stream) -> Leg {
        let stream = stream.starting_at(FIRST_LEG);
        let (min, max) = (self.min_speed_m_s, self.max_speed_m_s);
        let [phase, share] = stream.uniform_pair(0);
        let slowness = if max > min { (max / min).ln() / (max - min) } else { 1.0 / min };
        let moving_s = area.mean_distance_m() * slowness;
        let leg = |from_m, to_m, speed_m_s, pause_s| Leg {
            number: 0,
            start_s: 0.0,
            from_m,
            to_m,
            speed_m_s,
            pause_s,
            travelled_m: 0.0,
        };
        if phase * (self.pause_s + moving_s) < self.pause_s {
            let place = area.place(&stream, ENDS);
            return leg(place, place, min, share * self.pause_s);
        }
        let [a, b] = ends(area, &stream);
        let here = [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])];
        leg(here, b, min * (max / min).powf(stream.uniform(1)), self.pause_s)
    }

    /// Where the UE is at `time_s`, which is not before the start of `leg`; walks on to the leg of that time.
    pub fn at(&self, leg: &mut Leg, area: &Area, stream: &Stream, time_s: f64) -> Whereabouts {
        loop {
            let end_s = leg.end_s();
            if time_s < end_s {
                return leg.at(time_s);
            }
            let number = leg.number + 1;
            let speed = stream.uniform(2 * number + 1);
            *leg = Leg {
                number,
                start_s: end_s,
                from_m: leg.to_m,
                to_m: area.place(stream, 2 * number),
                speed_m_s: self.min_speed_m_s + (self.max_speed_m_s - self.min_speed_m_s) * speed,
                pause_s: self.pause_s,
                travelled_m: leg.travelled_m + leg.length_m(),
            };
        }
    }
}

/// Two points of the area with a density in proportion to their distance.
fn ends(area: &Area, stream: &Stream) -> [[f64; 2]; 2] {
    match *area {
        Area::Disc { x_m, y_m, radius_m } => ends_in_disc(stream, radius_m).map(|[x, y]| [x_m + x, y_m + y]),
        Area::Rectangle { x_m, y_m, width_m, height_m } => {
            ends_in_rectangle(stream, width_m, height_m).map(|[x, y]| [x_m + x, y_m + y])
        }
    }
}

/// In a disc, by inversion's kin: order statistics, always 11 draws.
///
/// Pairs of points are lines with two points on each, `da db = |s - t| ds dt dG`
/// (Blaschke and Petkantschin). So the density `|a - b| da db = (s - t)² ds dt dG`: a line with a
/// chord of length c has the weight c⁴ (∫∫(s - t)² = c⁴/6). In the distance p from the
/// centre that is `(1 - p²/R²)²`, and (1 + p/R)/2 has the law Beta(3, 3), the median of five
/// uniforms. On the chord, |s - t|/c has the density ∝ z²(1 - z), Beta(3, 2): the third of four uniforms.
fn ends_in_disc(stream: &Stream, radius_m: f64) -> [[f64; 2]; 2] {
    let draw = |index: u64| stream.uniform(ENDS + index);
    let mut five: [f64; 5] = std::array::from_fn(|i| draw(i as u64));
    let mut four: [f64; 4] = std::array::from_fn(|i| draw(5 + i as u64));
    five.sort_by(f64::total_cmp);
    four.sort_by(f64::total_cmp);
    let offset_m = radius_m * (2.0 * five[2] - 1.0);
    let half_m = (radius_m * radius_m - offset_m * offset_m).max(0.0).sqrt();
    let span = four[2];
    let start = draw(9) * (1.0 - span);
    let (sin, cos) = (std::f64::consts::TAU * draw(10)).sin_cos();
    // The line has the direction (-sin, cos) and the normal (cos, sin): all senses in a full turn.
    [start, start + span].map(|share| {
        let along_m = half_m * (2.0 * share - 1.0);
        [offset_m * cos - along_m * sin, offset_m * sin + along_m * cos]
    })
}

/// In a rectangle W × H, by attempts, each with blocks of its own: still a function of the stream alone.
///
/// The difference of the ends has the density `(W - |x|)(H - |y|)·√(x² + y²)`. An attempt draws it
/// from the same with |x| + |y| in place of the root, a mixture with weights W and H of
/// |x|/W ~ Beta(2, 2) (the median of three), |y|/H ~ Beta(1, 2) (the lesser of two), and the reverse; it is
/// accepted with the probability √(x² + y²)/(|x| + |y|) ≥ 1/√2. Given the difference, the
/// first end is uniform where both fit in.
fn ends_in_rectangle(stream: &Stream, width_m: f64, height_m: f64) -> [[f64; 2]; 2] {
    let median = |[a, b, c]: [f64; 3]| a.min(b).max(a.max(b).min(c));
    let mut span_m = [0.0; 2];
    for attempt in 0..ATTEMPTS {
        let draw = |index: u64| stream.uniform_pair(ENDS + 2 + 4 * attempt + index);
        let [[a, b], [c, d], [e, mixture], [acceptance, _]] = [draw(0), draw(1), draw(2), draw(3)];
        let (long, short) = (median([a, b, c]), d.min(e));
        let wide = mixture * (width_m + height_m) < width_m;
        span_m = if wide { [width_m * long, height_m * short] } else { [width_m * short, height_m * long] };
        let [x, y] = span_m;
        if acceptance * (x + y) <= x.hypot(y) {
            break;
        }
    }
    let (places, senses) = (stream.uniform_pair(ENDS), stream.uniform_pair(ENDS + 1));
    let [x, y] = [0, 1].map(|axis| {
        let extent_m = [width_m, height_m][axis];
        let low_m = places[axis] * (extent_m - span_m[axis]);
        let high_m = low_m + span_m[axis];
        if senses[axis] < 0.5 { [low_m, high_m] } else { [high_m, low_m] }
    });
    [[x[0], y[0]], [x[1], y[1]]]
}
