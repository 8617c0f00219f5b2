//! Whether a model that runs in parts is the model that runs at once, bit by bit.

use super::error::DecoderError;
use super::hidden::Hidden;
use super::model::Decoder;

/// The first value of the hidden states behind the last layer in which two ways of
/// running a model differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Position in the window.
    pub position: usize,
    /// Element of the row.
    pub element: usize,
    /// All layers and positions at once.
    pub at_once: f32,
    /// In parts.
    pub in_parts: f32,
}

/// By the bits of the values: 0 and -0 differ.
fn first_difference(at_once: &Hidden, in_parts: &[f32]) -> Option<Difference> {
    let width = at_once.width();
    let mut pairs = at_once.values().iter().zip(in_parts).enumerate();
    let (index, (&at_once, &in_parts)) = pairs.find(|(_, (a, b))| a.to_bits() != b.to_bits())?;
    Some(Difference { position: index / width, element: index % width, at_once, in_parts })
}

/// A window of up to `tokens` tokens that is the same for each model of a vocabulary:
/// token i is `(1 + 7919·i) mod V`, behind BOS if the model has one.
pub fn probe_window(decoder: &Decoder, tokens: usize) -> Vec<u32> {
    let config = decoder.config();
    let rest = (0..).map(|i: u64| ((1 + 7919 * i) % config.vocab.max(1) as u64) as u32);
    config.bos_token.into_iter().chain(rest).take(tokens.clamp(1, config.max_positions)).collect()
}

/// Runs layers `0..split`, then the others, and compares with `unsplit`, the states
/// behind the last layer as they are without a split. `None`: every bit is the same.
///
/// # Errors
/// [`DecoderError`] if the window or the split doesn't fit the model.
pub fn split_difference(
    decoder: &Decoder,
    tokens: &[u32],
    split: usize,
    unsplit: &Hidden,
) -> Result<Option<Difference>, DecoderError> {
    let sent = decoder.run(decoder.embed(tokens)?, 0..split)?;
    let received = decoder.run(sent, split..decoder.layers())?;
    Ok(first_difference(unsplit, received.values()))
}

/// Runs the first half of the window as a prompt and the other tokens one by one, with
/// one cache on either side of `split`, and compares with `unsplit` as
/// [`split_difference`] does.
///
/// # Errors
/// [`DecoderError`] if the window or the split doesn't fit the model.
pub fn cache_difference(
    decoder: &Decoder,
    tokens: &[u32],
    split: usize,
    unsplit: &Hidden,
) -> Result<Option<Difference>, DecoderError> {
    let mut device = decoder.kv_cache(0..split)?;
    let mut edge = decoder.kv_cache(split..decoder.layers())?;
    let (prompt, rest) = tokens.split_at(tokens.len().div_ceil(2));
    let mut values = Vec::with_capacity(unsplit.values().len());
    for portion in std::iter::once(prompt).chain(rest.chunks(1)) {
        let sent = decoder.run_cached(decoder.embed(portion)?, &mut device)?;
        values.extend(decoder.run_cached(sent, &mut edge)?.into_vec());
    }
    Ok(first_difference(unsplit, &values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::LoadedModel;

    #[test]
    fn differences_are_found_where_they_are() {
        let hidden = Hidden::from_vec(vec![1.0, 0.0, 3.0, 4.0, 5.0, 6.0], 3).unwrap();
        assert_eq!(first_difference(&hidden, hidden.values()), None);
        let signed = first_difference(&hidden, &[1.0, -0.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!((signed.position, signed.element), (0, 1));
        let last = first_difference(&hidden, &[1.0, 0.0, 3.0, 4.0, 5.0, 6.5]);
        assert_eq!(last, Some(Difference { position: 1, element: 2, at_once: 6.0, in_parts: 6.5 }));
    }

    #[test]
    fn the_builtin_model_is_consistent_and_another_window_is_not() {
        let model = LoadedModel::builtin().unwrap();
        let decoder = &model.decoder;
        let tokens = probe_window(decoder, 9);
        assert_eq!(tokens[..4], [0, 1, 7920 % 2048, 15_839 % 2048]); // behind BOS, which is 0
        let unsplit = decoder.run(decoder.embed(&tokens).unwrap(), 0..16).unwrap();
        for split in [1, 7, 16] {
            assert_eq!(split_difference(decoder, &tokens, split, &unsplit), Ok(None));
            assert_eq!(cache_difference(decoder, &tokens, split, &unsplit), Ok(None));
        }
        let mut other = tokens.clone();
        other[5] += 1;
        for difference in [split_difference, cache_difference] {
            assert_eq!(difference(decoder, &other, 7, &unsplit).unwrap().unwrap().position, 5);
        }
        assert!(split_difference(decoder, &tokens, 17, &unsplit).is_err());
        assert_eq!(probe_window(decoder, usize::MAX).len(), decoder.config().max_positions);
    }
}
