//! What the place of a UE means for its link to one cell: path loss, shadowing and
//! line of sight, as a closed form of the place.

use super::field::{DEFAULT_WAVES, GaussianField};
use super::path_loss::{Environment, LinkGeometry};
use crate::kernel::{Purpose, Streams};
use crate::stats::normal_cdf;

/// Whether there is a line of sight between base station and UE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LineOfSightMode {
    /// Drawn with the environment's probability at the distance; near places share it.
    #[default]
    Drawn,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The large-scale parameters of one cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LargeScaleSpec {
    /// Path loss, its probabilities and distances.
    pub environment: Environment,
    /// Carrier \[GHz\]; see [`Environment::carrier_range_ghz`].
    pub carrier_ghz: f64,
    /// Height of the base station's antenna \[m\].
    pub bs_height_m: f64,
    /// Height of the UEs' antennas \[m\].
    pub ut_height_m: f64,
    /// Whether there is a line of sight.
    pub line_of_sight: LineOfSightMode,
    /// Whether there is shadowing; without it the loss is the mean path loss.
    pub shadowing: bool,
}

/// The loss of one link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkLoss {
    /// Mean path loss at the distance \[dB\].
    pub path_loss_db: f64,
    /// What shadowing adds to it \[dB\]: normal, mean 0.
    pub shadowing_db: f64,
    /// Whether there is a line of sight.
    pub line_of_sight: bool,
    /// Horizontal distance \[m\].
    pub distance_m: f64,
}

impl LinkLoss {
    /// Received over transmitted power with isotropic antennas, before fading \[dB\]: below 0.
    pub fn gain_db(&self) -> f64 {
        -(self.path_loss_db + self.shadowing_db)
    }
}

/// The large-scale channel of one cell: the loss from its base station to any place.
///
/// - Line of sight at x iff `Φ(g_L(x)) < P_LOS(d)`, with a [`GaussianField`] g_L of the
///   environment's distance, so its probability is P_LOS and near places share the state.
/// - Shadowing `σ·g(x)` \[dB\], with one field per state of the line of sight, as each
///   state has its own σ and distance (TR 38.901 leaves states uncorrelated).
///
/// A function of (seed, replication, cell, place): UEs at one place have one loss.
/// Cells are independent of each other.
#[derive(Debug, Clone)]
pub struct LargeScale {
    spec: LargeScaleSpec,
    x_m: f64,
    y_m: f64,
    line_of_sight: GaussianField,
    /// Shadowing without and with line of sight.
    shadowing: [GaussianField; 2],
}

impl LargeScale {
    /// The channel of `cell`, whose base station stands at (`x_m`, `y_m`) \[m\].
    pub fn new(spec: LargeScaleSpec, streams: &Streams, cell: u32, x_m: f64, y_m: f64) -> Self {
        let environment = spec.environment;
        let states = streams.stream(cell, Purpose::LineOfSight);
        let shadowing = |line_of_sight: bool| {
            let stream = streams.stream(cell, Purpose::Shadowing).starting_at(u64::from(line_of_sight) << 32);
            GaussianField::new(&stream, environment.shadowing_distance_m(line_of_sight), DEFAULT_WAVES)
        };
        Self {
            spec,
            x_m,
            y_m,
            line_of_sight: GaussianField::new(&states, environment.line_of_sight_distance_m(), DEFAULT_WAVES),
            shadowing: [shadowing(false), shadowing(true)],
        }
    }

    /// The position of the base station \[m\].
    pub fn position_m(&self) -> [f64; 2] {
        [self.x_m, self.y_m]
    }

    /// The loss to a UE at (`x_m`, `y_m`) \[m\].
    pub fn link_loss(&self, x_m: f64, y_m: f64) -> LinkLoss {
        let LargeScaleSpec { environment, carrier_ghz, bs_height_m, ut_height_m, .. } = self.spec;
        let (dx, dy) = (x_m - self.x_m, y_m - self.y_m);
        let distance_m = (dx * dx + dy * dy).sqrt();
        let line_of_sight = match self.spec.line_of_sight {
            LineOfSightMode::Always => true,
            LineOfSightMode::Never => false,
            LineOfSightMode::Drawn => {
                let probability = environment.line_of_sight_probability(distance_m, ut_height_m);
                probability >= 1.0 || normal_cdf(self.line_of_sight.value(x_m, y_m)) < probability
            }
        };
        let shadowing_db = if self.spec.shadowing {
            let field = &self.shadowing[usize::from(line_of_sight)];
            environment.shadowing_std_db(line_of_sight) * field.value(x_m, y_m)
        } else {
            0.0
        };
        let geometry = LinkGeometry { distance_2d_m: distance_m, bs_height_m, ut_height_m };
        let path_loss_db = environment.path_loss_db(carrier_ghz, &geometry, line_of_sight);
        LinkLoss { path_loss_db, shadowing_db, line_of_sight, distance_m }
    }
}
