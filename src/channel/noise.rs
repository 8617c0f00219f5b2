//! Additive noise on tensor elements, a pure function of (stream, element).

use super::turns::sin_cos_turns;
use crate::kernel::Stream;

/// Standard normals for the elements `first..first + out.len()`. Element e is
/// half e % 2 of pair e / 2: pair i is Box and Muller's transform of the two
/// uniforms of block i. What other elements meet does not move it.
pub fn fill_normals(stream: &Stream, first: usize, out: &mut [f64]) {
    /// Pairs per batch: enough to vectorise over, few enough to stay in registers and L1.
    const BATCH: usize = 32;
    let (mut element, end) = (first, first + out.len());
    let mut rest = out;
    while element < end {
        let pair = element / 2;
        let pairs = (end.div_ceil(2) - pair).min(BATCH);
        let (mut squared_radius, mut angle) = ([0.0; BATCH], [0.0; BATCH]);
        for i in 0..pairs {
            let [u, v] = stream.uniform_pair((pair + i) as u64);
            (squared_radius[i], angle[i]) = (-2.0 * u.ln(), v);
        }
        let mut normals = [[0.0; 2]; BATCH];
        for ((normal, squared), angle) in normals.iter_mut().zip(squared_radius).zip(angle) {
            let [sin, cos] = sin_cos_turns(angle);
            let radius = squared.sqrt();
            *normal = [radius * cos, radius * sin];
        }
        let skip = element % 2;
        let count = (2 * pairs - skip).min(end - element);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&normals.as_flattened()[skip..skip + count]);
        (rest, element) = (later, element + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Purpose, Streams};

    fn stream() -> Stream {
        Streams::new(11, 0).stream(3, Purpose::Noise)
    }

    #[test]
    fn normals_are_those_of_the_stream() {
        let mut normals = [0.0; 201];
        fill_normals(&stream(), 0, &mut normals);
        for (e, normal) in normals.iter().enumerate() {
            let expected = stream().normal_pair(e as u64 / 2)[e % 2];
            assert!((normal - expected).abs() < 2e-8, "element {e}: {normal}, libm says {expected}");
        }
    }

    #[test]
    fn an_element_keeps_its_noise_in_any_slice() {
        let mut all = [0.0; 300];
        fill_normals(&stream(), 0, &mut all);
        for (first, len) in [(0, 0), (1, 1), (1, 2), (7, 64), (63, 130), (128, 172), (299, 1)] {
            let mut part = vec![0.0; len];
            fill_normals(&stream(), first, &mut part);
            assert_eq!(part, all[first..first + len], "{first}..{}", first + len);
        }
    }

    #[test]
    fn normals_have_their_moments() {
        let mut normals = vec![0.0; 1_000_000];
        fill_normals(&stream(), 0, &mut normals);
        let n = normals.len() as f64;
        let moment = |k| normals.iter().map(|x: &f64| x.powi(k)).sum::<f64>() / n;
        // Five standard errors: the variances of x … x⁴ are 1, 2, 15, 96.
        assert!(moment(1).abs() < 5.0 * (1.0 / n).sqrt());
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!(moment(3).abs() < 5.0 * (15.0 / n).sqrt());
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
        // The halves of a pair are uncorrelated.
        let product = normals.as_chunks::<2>().0.iter().map(|[a, b]| a * b).sum::<f64>() / (n / 2.0);
        assert!(product.abs() < 5.0 * (2.0 / n).sqrt());
    }
}
