//! Summary statistics of plain numbers; nothing here knows what it measures.
//!
//! * [`Moments`]: mean, variance and extremes in one pass.
//! * [`TimeAverage`]: the time-weighted mean of a level, such as a queue length.
//! * [`Quantiles`]: quantiles within 0.1 % in constant memory.
//! * [`StudentInterval`]: a confidence interval for a mean.
//! * [`BatchMeans`]: the same from one long, correlated series.
//! * [`Mser5`]: how much of a series' beginning to leave out.
//! * [`ks_statistic`]: the distance of a sample from a distribution.
//! * [`normal_cdf`]: the standard normal distribution function.
//! * [`gamma_inverse`]: quantiles of the gamma distribution.
//! * [`rank_correlation`], [`area_under_curve`]: how well one quantity orders another.

mod batch_means;
mod gamma;
mod interval;
mod kolmogorov_smirnov;
mod moments;
mod mser;
mod normal;
mod quantiles;
mod ranking;
mod time_average;

pub use batch_means::BatchMeans;
pub use gamma::{gamma_inverse, ln_gamma, regularised_gamma};
pub use interval::{StudentInterval, mean_interval, student_t_quantile};
pub use kolmogorov_smirnov::{ks_critical_value, ks_statistic};
pub use moments::Moments;
pub use mser::{Mser5, Truncation};
pub use normal::normal_cdf;
pub use quantiles::Quantiles;
pub use ranking::{RankOrder, area_under_curve, correlation, rank_correlation, sample_quantile};
pub use time_average::TimeAverage;
