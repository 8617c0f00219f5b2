//! Mobility against the stationary laws of its models, and its purity.
//!
//! Seeds are fixed, so each test passes or fails for good.

use std::sync::Arc;

use splitwave::channel::{Area, Mobility, MobilityError, MobilityTrace, Mover, TraceError, TracePoint, Whereabouts};
use splitwave::kernel::Streams;
use splitwave::stats::{ks_critical_value, ks_statistic};
use splitwave::units::SimTime;

const DISC: Area = Area::Disc { x_m: 50.0, y_m: -20.0, radius_m: 100.0 };
const RECTANGLE: Area = Area::Rectangle { x_m: -30.0, y_m: 10.0, width_m: 200.0, height_m: 80.0 };

fn seconds(seconds: f64) -> SimTime {
    SimTime::from_secs_f64(seconds).expect("a time")
}

fn fresh(ue: u32, mobility: &Mobility, area: &Area, time_s: f64) -> Whereabouts {
    Mover::new(ue, ue).at(mobility, area, &Streams::new(25, 0), seconds(time_s))
}

fn waypoint(pause_s: f64) -> Mobility {
    Mobility::RandomWaypoint { min_speed_m_s: 1.0, max_speed_m_s: 10.0, pause_s }
}

const GAUSS_MARKOV: Mobility = Mobility::GaussMarkov { mean_speed_m_s: 3.0, speed_std_m_s: 1.5, alpha: 0.8 };

fn assert_law(what: &str, mut sample: Vec<f64>, cdf: impl Fn(f64) -> f64) {
    sample.sort_by(f64::total_cmp);
    let distance = ks_statistic(&sample, cdf);
    let critical = ks_critical_value(sample.len(), 0.01);
    assert!(distance < critical, "{what}: distance {distance}, 1 % critical value {critical}");
}

/// The two-sample distance against its asymptotic 1 % point, `1.628·√((n + m)/(nm))`.
fn assert_same_law(what: &str, mut a: Vec<f64>, mut b: Vec<f64>) {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (mut i, mut j, mut distance) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let x = a[i].min(b[j]);
        while i < a.len() && a[i] <= x {
            i += 1;
        }
        while j < b.len() && b[j] <= x {
            j += 1;
        }
        distance = distance.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    let critical = 1.628 * ((a.len() + b.len()) as f64 / (a.len() * b.len()) as f64).sqrt();
    assert!(distance < critical, "{what}: distance {distance}, 1 % critical value {critical}");
}

fn assert_mean(what: &str, sample: &[f64], expected: f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let off = (mean - expected).abs() / (variance / n).sqrt();
    assert!(off < 4.0, "{what}: {mean} for {expected}, {off} standard errors");
}

#[test]
fn static_places_are_uniform() {
    let places =
        |area: &Area| -> Vec<Whereabouts> { (0..10_000).map(|ue| fresh(ue, &Mobility::Static, area, 7.0)).collect() };
    let disc = places(&DISC);
    let square = |w: &Whereabouts| ((w.x_m - 50.0).powi(2) + (w.y_m + 20.0).powi(2)) / 1e4;
    let angle = |w: &Whereabouts| (w.y_m + 20.0).atan2(w.x_m - 50.0) / std::f64::consts::TAU + 0.5;
    assert_law("r²", disc.iter().map(square).collect(), |u| u.clamp(0.0, 1.0));
    assert_law("angle", disc.iter().map(angle).collect(), |u| u.clamp(0.0, 1.0));
    let rectangle = places(&RECTANGLE);
    assert_law("x", rectangle.iter().map(|w| w.x_m).collect(), |x| ((x + 30.0) / 200.0).clamp(0.0, 1.0));
    assert_law("y", rectangle.iter().map(|w| w.y_m).collect(), |y| ((y - 10.0) / 80.0).clamp(0.0, 1.0));
    assert!(disc.iter().all(|w| w.speed_m_s == 0.0 && w.travelled_m == 0.0 && DISC.contains(w.x_m, w.y_m)));
}

/// In a disc `E r²/R² = 11/35`: on a chord at the offset p with the half length h, legs cover
/// the place t with `E t² = h²/5`; with the density (1 - p²/R²)² of p, E p²/R² = 1/7, so 1/5 + 4/5·1/7. (Uniform: 1/2.)
#[test]
fn random_waypoint_keeps_its_centre_heavy_place() {
    let mobility = waypoint(0.0);
    let square = |ue, time_s| {
        let w = fresh(ue, &mobility, &DISC, time_s);
        ((w.x_m - 50.0).powi(2) + (w.y_m + 20.0).powi(2)) / 1e4
    };
    let start: Vec<f64> = (0..20_000).map(|ue| square(ue, 0.0)).collect();
    let later: Vec<f64> = (20_000..30_000).map(|ue| square(ue, 1000.0)).collect();
    assert_mean("at 0 s", &start, 11.0 / 35.0);
    assert_mean("at 1000 s", &later, 11.0 / 35.0);
    assert_same_law("r²", start, later);
}

#[test]
fn random_waypoint_is_stationary_in_a_rectangle_with_pauses() {
    let mobility = waypoint(15.0);
    let at = |ues: std::ops::Range<u32>, time_s| -> Vec<Whereabouts> {
        ues.map(|ue| fresh(ue, &mobility, &RECTANGLE, time_s)).collect()
    };
    let (start, later) = (at(0..20_000, 0.0), at(20_000..30_000, 1000.0));
    let column = |rows: &[Whereabouts], value: fn(&Whereabouts) -> f64| rows.iter().map(value).collect::<Vec<f64>>();
    assert_same_law("x", column(&start, |w| w.x_m), column(&later, |w| w.x_m));
    assert_same_law("y", column(&start, |w| w.y_m), column(&later, |w| w.y_m));
    let moving = |rows: &[Whereabouts]| column(rows, |w| f64::from(u8::from(w.speed_m_s > 0.0)));
    // 200 m × 80 m: E L = 80.5 m (Ghosh), E 1/v = ln 10/9.
    let leg_s = RECTANGLE.mean_distance_m() * 10f64.ln() / 9.0;
    assert_mean("moving at 0 s", &moving(&start), leg_s / (leg_s + 15.0));
    assert_mean("moving at 1000 s", &moving(&later), leg_s / (leg_s + 15.0));
    // Residual time of the leg and pause that cover time 0 enters the distance of the first 20 s.
    let way = |from: u32, start_s: f64| -> Vec<f64> {
        let travelled = |ue, time_s| fresh(ue, &mobility, &RECTANGLE, time_s).travelled_m;
        (from..from + 10_000).map(|ue| travelled(ue, start_s + 20.0) - travelled(ue, start_s)).collect()
    };
    assert_same_law("way in 20 s", way(0, 0.0), way(10_000, 500.0));
}

/// No decay of speeds: `P(v ≤ x) = ln(x/v_min)/ln(v_max/v_min)` at any time, mean (v_max - v_min)/ln(v_max/v_min).
#[test]
fn random_waypoint_keeps_its_speed() {
    let mobility = waypoint(0.0);
    for area in [DISC, RECTANGLE] {
        let speeds = |ues: std::ops::Range<u32>, time_s| -> Vec<f64> {
            ues.map(|ue| fresh(ue, &mobility, &area, time_s).speed_m_s).collect()
        };
        let (start, later) = (speeds(0..10_000, 0.0), speeds(10_000..20_000, 1000.0));
        assert_mean("at 0 s", &start, 9.0 / 10f64.ln());
        assert_mean("at 1000 s", &later, 9.0 / 10f64.ln());
        assert_law("at 0 s", start.clone(), |v| v.ln() / 10f64.ln());
        assert_law("at 1000 s", later.clone(), |v| v.ln() / 10f64.ln());
        assert_same_law("speeds", start, later);
    }
}

#[test]
fn mean_distances_are_the_known_ones() {
    // The unit square: (2 + √2 + 5 ln(1 + √2))/15; the segment: 1/3; the disc: 128/45π.
    let rectangle = |width_m, height_m| Area::Rectangle { x_m: 0.0, y_m: 0.0, width_m, height_m }.mean_distance_m();
    assert!((rectangle(1.0, 1.0) - 0.521_405_433_164_720_7).abs() < 1e-12);
    assert!((rectangle(3000.0, 1.0) - 1000.0).abs() < 0.01);
    assert!((rectangle(1e-9, 3.0) - 1.0).abs() < 1e-9);
    assert!((DISC.mean_distance_m() - 90.541_478_736_736_66).abs() < 1e-6);
    // Against independent places.
    let stream = Streams::new(1, 0).stream(0, splitwave::kernel::Purpose::Test);
    let sample: Vec<f64> = (0..50_000)
        .map(|i| {
            let ([a, b], [c, d]) = (RECTANGLE.place(&stream, 2 * i), RECTANGLE.place(&stream, 2 * i + 1));
            (a - c).hypot(b - d)
        })
        .collect();
    assert_mean("rectangle", &sample, RECTANGLE.mean_distance_m());
}

/// Far from borders: |v̄|² + 2σ² is the mean square speed, and `E v(0)·v(k) = |v̄|² + 2σ²αᵏ`.
#[test]
fn gauss_markov_has_its_moments() {
    let wide = Area::Disc { x_m: 0.0, y_m: 0.0, radius_m: 1e6 };
    let n = 20_000;
    let (mut squares, mut products) = ([Vec::new(), Vec::new()], Vec::new());
    let mut components = Vec::new();
    for ue in 0..n {
        let streams = Streams::new(25, 0);
        let mut mover = Mover::new(ue, 0);
        let mut step = |second: f64| {
            let a = mover.at(&GAUSS_MARKOV, &wide, &streams, seconds(second));
            let b = mover.at(&GAUSS_MARKOV, &wide, &streams, seconds(second + 0.5));
            [2.0 * (b.x_m - a.x_m), 2.0 * (b.y_m - a.y_m), a.speed_m_s]
        };
        let (first, second, late) = (step(0.0), step(1.0), step(50.0));
        assert!((first[0].hypot(first[1]) - first[2]).abs() < 1e-6);
        squares[0].push(first[2].powi(2));
        squares[1].push(late[2].powi(2));
        products.push(first[0] * second[0] + first[1] * second[1]);
        components.push(late[0]);
    }
    let (mean2, spread2) = (9.0, 2.0 * 2.25);
    assert_mean("|v|² at 0 s", &squares[0], mean2 + spread2);
    assert_mean("|v|² at 50 s", &squares[1], mean2 + spread2);
    assert_mean("lag 1", &products, mean2 + 0.8 * spread2);
    assert_mean("component", &components, 0.0);
}

#[test]
fn gauss_markov_stays_uniform_inside() {
    for area in [DISC, RECTANGLE] {
        // Fast against the area: many reflections per second.
        for mobility in
            [GAUSS_MARKOV, Mobility::GaussMarkov { mean_speed_m_s: 300.0, speed_std_m_s: 500.0, alpha: 0.5 }]
        {
            let places: Vec<Whereabouts> = (0..5_000).map(|ue| fresh(ue, &mobility, &area, 40.7)).collect();
            assert!(places.iter().all(|w| area.contains(w.x_m, w.y_m)));
            let uniform = |u: f64| u.clamp(0.0, 1.0);
            match area {
                Area::Disc { x_m, y_m, radius_m } => {
                    let square = |w: &Whereabouts| ((w.x_m - x_m).hypot(w.y_m - y_m) / radius_m).powi(2);
                    assert_law("r²", places.iter().map(square).collect(), uniform);
                }
                Area::Rectangle { x_m, y_m, width_m, height_m } => {
                    assert_law("x", places.iter().map(|w| (w.x_m - x_m) / width_m).collect(), uniform);
                    assert_law("y", places.iter().map(|w| (w.y_m - y_m) / height_m).collect(), uniform);
                }
            }
            let speeds = |time_s| (0..5_000).map(|ue| fresh(ue, &mobility, &area, time_s).speed_m_s).collect();
            assert_same_law("speeds", speeds(0.0), speeds(100.0));
        }
    }
}

fn models() -> Vec<(Mobility, Area)> {
    let trace = MobilityTrace::new(vec![vec![point(2.0, 0.0, 0.0), point(4.0, 30.0, 40.0), point(9.0, 0.0, 40.0)]; 4]);
    let trace = Arc::new(trace.expect("a trace"));
    vec![
        (Mobility::Static, DISC),
        (waypoint(0.0), DISC),
        (waypoint(4.0), RECTANGLE),
        (GAUSS_MARKOV, DISC),
        (GAUSS_MARKOV, RECTANGLE),
        (Mobility::Linear { speed_m_s: 20.0, heading_deg: 30.0, wrap: false }, DISC),
        (Mobility::Trace(trace), DISC),
    ]
}

/// The chords of a fine polygon add up to the way travelled, which never falls, and speeds are their slopes.
#[test]
fn the_way_travelled_is_the_length_of_the_path() {
    for (mobility, area) in models() {
        for ue in 0..4 {
            let mut mover = Mover::new(ue, ue);
            let mut at = |time_s| mover.at(&mobility, &area, &Streams::new(25, 0), seconds(time_s));
            let (mut length_m, mut last) = (0.0, at(0.0));
            assert_eq!(last.travelled_m, 0.0);
            let steps = 200_000;
            for step in 1..=steps {
                let here = at(f64::from(step) * 1e-3);
                let chord_m = (here.x_m - last.x_m).hypot(here.y_m - last.y_m);
                assert!(here.travelled_m >= last.travelled_m);
                assert!(chord_m <= here.travelled_m - last.travelled_m + 1e-6, "{mobility:?}: a jump at {step} ms");
                length_m += chord_m;
                last = here;
            }
            // A polygon cuts corners: up to a step's way at each turn or reflection.
            let missing = (last.travelled_m - length_m) / last.travelled_m.max(1.0);
            assert!((-1e-9..2e-3).contains(&missing), "{mobility:?}: {length_m} m for {} m", last.travelled_m);
        }
    }
}

#[test]
fn inserted_queries_and_their_order_move_nothing() {
    let streams = Streams::new(25, 0);
    for (mobility, area) in models() {
        for ue in 0..3 {
            let (mut dense, mut sparse) = (Mover::new(ue, ue), Mover::new(ue, ue));
            for tenth in 0..3_000 {
                dense.at(&mobility, &area, &streams, seconds(f64::from(tenth) * 0.1));
            }
            for time_s in [300.0, 17.25, 0.0, 299.999_999_999, 42.0] {
                let expected = fresh(ue, &mobility, &area, time_s);
                assert_eq!(dense.at(&mobility, &area, &streams, seconds(time_s)), expected, "{mobility:?}, {time_s} s");
                assert_eq!(
                    sparse.at(&mobility, &area, &streams, seconds(time_s)),
                    expected,
                    "{mobility:?}, {time_s} s"
                );
            }
        }
    }
    assert!(size_of::<Mover>() <= 120, "{} bytes", size_of::<Mover>());
}

/// In micrometres, as the platform's trigonometry has a say in the last bits.
#[test]
fn values_are_pinned() {
    let micrometres = |(mobility, area): &(Mobility, Area)| {
        let w = fresh(2, mobility, area, 123.456);
        [w.x_m, w.y_m, w.travelled_m].map(|value| (value * 1e6).round())
    };
    assert_eq!(models().iter().map(micrometres).collect::<Vec<_>>(), PINNED);
}

const PINNED: [[f64; 3]; 7] = [
    [135_161_251.0, -68_645_769.0, 0.0],
    [-11_344_251.0, 14_819_013.0, 610_749_497.0],
    [29_238_501.0, 40_819_807.0, 469_319_509.0],
    [-26_175_517.0, -6_091_720.0, 362_620_984.0],
    [13_401_645.0, 24_662_631.0, 376_226_096.0],
    [2_273_481_896.0, 1_165_914_231.0, 2_469_120_000.0],
    [0.0, 40_000_000.0, 80_000_000.0],
];

#[test]
fn linear_motion_and_wrapping() {
    let point = Area::Disc { x_m: 5.0, y_m: 6.0, radius_m: 0.0 };
    let straight = Mobility::Linear { speed_m_s: 10.0, heading_deg: 90.0, wrap: false };
    let w = fresh(0, &straight, &point, 12.5);
    assert!((w.x_m - 5.0).abs() < 1e-12 && (w.y_m - 131.0).abs() < 1e-12);
    assert_eq!((w.travelled_m, w.speed_m_s), (125.0, 10.0));
    let wrapped = Mobility::Linear { speed_m_s: 10.0, heading_deg: 0.0, wrap: true };
    // 200 m wide: a period of 20 s.
    let (a, b) = (fresh(0, &wrapped, &RECTANGLE, 3.0), fresh(0, &wrapped, &RECTANGLE, 43.0));
    assert!((a.x_m - b.x_m).abs() < 1e-9 && a.y_m == b.y_m && b.travelled_m == 430.0);
    for tenth in 0..1_000 {
        let (w, v) =
            (fresh(1, &wrapped, &RECTANGLE, f64::from(tenth) * 0.1), fresh(1, &wrapped, &DISC, f64::from(tenth)));
        assert!(RECTANGLE.contains(w.x_m, w.y_m) && DISC.contains(v.x_m, v.y_m));
    }
}

fn point(time_s: f64, x_m: f64, y_m: f64) -> TracePoint {
    TracePoint { time: seconds(time_s), x_m, y_m }
}

#[test]
fn traces_are_linear_between_points_and_held_outside() {
    let path = vec![point(2.0, 0.0, 0.0), point(4.0, 30.0, 40.0), point(9.0, 0.0, 40.0)];
    let trace = MobilityTrace::new(vec![path]).expect("a trace");
    let at = |time_s| {
        let w = trace.at(0, seconds(time_s));
        [w.x_m, w.y_m, w.travelled_m, w.speed_m_s]
    };
    assert_eq!(at(0.0), [0.0, 0.0, 0.0, 0.0]);
    assert_eq!(at(2.0), [0.0, 0.0, 0.0, 25.0]);
    assert_eq!(at(3.0), [15.0, 20.0, 25.0, 25.0]);
    assert_eq!(at(4.0), [30.0, 40.0, 50.0, 6.0]);
    assert_eq!(at(6.5), [15.0, 40.0, 65.0, 6.0]);
    assert_eq!(at(9.0), [0.0, 40.0, 80.0, 0.0]);
    assert_eq!(at(1e6), [0.0, 40.0, 80.0, 0.0]);
    assert_eq!(trace.at(1, seconds(3.0)), Whereabouts::default());
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(MobilityTrace::new(Vec::new()), Err(TraceError::Empty));
    assert_eq!(MobilityTrace::new(vec![vec![point(0.0, 0.0, 0.0)], Vec::new()]), Err(TraceError::NoPoints { ue: 1 }));
    let twice = vec![point(1.0, 0.0, 0.0), point(1.0, 1.0, 0.0)];
    let order = TraceError::Order { ue: 0, point: 1, time: seconds(1.0) };
    assert_eq!(MobilityTrace::new(vec![twice]), Err(order));
    let error = MobilityTrace::new(vec![vec![point(0.0, f64::NAN, 0.0)]]).expect_err("NaN");
    assert!(error.to_string().contains("UE 0, point 0: NaN m is not between"), "{error}");

    let waypoint = |min_speed_m_s, max_speed_m_s, pause_s| {
        Mobility::RandomWaypoint { min_speed_m_s, max_speed_m_s, pause_s }.check(&DISC)
    };
    assert_eq!(waypoint(1.0, 1.0, 0.0), Ok(()));
    assert_eq!(waypoint(0.0, 1.0, 0.0), Err(MobilityError::MinSpeed(0.0)));
    assert_eq!(waypoint(2.0, 1.0, 0.0), Err(MobilityError::Speeds { min: 2.0, max: 1.0 }));
    assert!(waypoint(f64::NAN, 1.0, 0.0).is_err() && waypoint(1.0, f64::INFINITY, 0.0).is_err());
    assert!(waypoint(1.0, 2.0, -1.0).is_err());
    let spot = Area::Disc { x_m: 0.0, y_m: 0.0, radius_m: 0.0 };
    assert_eq!(GAUSS_MARKOV.check(&spot), Err(MobilityError::Area { extent_m: 0.0 }));
    assert_eq!(Mobility::Static.check(&spot), Ok(()));
    let alpha = Mobility::GaussMarkov { mean_speed_m_s: 1.0, speed_std_m_s: 0.0, alpha: 1.5 };
    let message = alpha.check(&DISC).expect_err("alpha").to_string();
    assert_eq!(message, "alpha = 1.5 is not between 0 and 1");

    assert_eq!(DISC.check(), Ok(()));
    for area in [
        Area::Disc { x_m: f64::NAN, y_m: 0.0, radius_m: 1.0 },
        Area::Disc { x_m: 0.0, y_m: 2e6, radius_m: 1.0 },
        Area::Disc { x_m: 0.0, y_m: 0.0, radius_m: -1.0 },
        Area::Rectangle { x_m: 0.0, y_m: 0.0, width_m: 1.0, height_m: f64::INFINITY },
    ] {
        assert!(area.check().is_err(), "{area:?}");
    }
}
