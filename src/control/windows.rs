//! The text of a request: what the model reads, and which tokens are scored.

use crate::llm::{Corpus, Decoder, DecoderError, Hidden, Nll, TeacherForced};
use crate::network::ports::{QualityError, QualityRequest};

/// A window of the corpus, as a request reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its index, which counts windows of these lengths.
    pub index: u32,
    /// Tokens of the prompt, S.
    pub prompt_tokens: u32,
    /// Tokens asked for, T.
    pub output_tokens: u32,
}

/// Tokens of the text behind a prompt that a request for `output_tokens` reads: the
/// S + T rows' tokens less the prompt's S, and one less where BOS is a row, too. A
/// request for one token is scored on its prompt alone.
pub fn further_tokens(output_tokens: u32, bos_token: Option<u32>) -> usize {
    if output_tokens <= 1 { 0 } else { output_tokens as usize - usize::from(bos_token.is_some()) }
}

/// The rows of a window and the tokens that they must predict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowText {
    /// Input tokens, one per row: S + T - 1.
    pub inputs: Vec<u32>,
    /// The first row that is scored: 0 for a request for one token, S - 1 for a session.
    pub first_scored: usize,
    /// Row `first_scored` + k predicts `targets[k]`.
    pub targets: Vec<u32>,
}

impl Window {
    /// The window that a request names.
    pub fn of(request: &QualityRequest) -> Self {
        let QualityRequest { window, prompt_tokens, output_tokens, .. } = *request;
        Self { index: window.unwrap_or(0), prompt_tokens, output_tokens }
    }

    /// Its text.
    ///
    /// # Errors
    /// [`QualityError`] if the corpus has no such window.
    pub fn text(&self, corpus: &Corpus, bos_token: Option<u32>) -> Result<WindowText, QualityError> {
        let further = further_tokens(self.output_tokens, bos_token);
        let window = corpus
            .continued(self.index as usize, self.prompt_tokens as usize, further)
            .map_err(|error| QualityError::failed(Some(self.index), None, error))?;
        let TeacherForced { mut inputs, mut targets } = TeacherForced::new(window, bos_token);
        let mut first_scored = 0;
        if self.output_tokens > 1 {
            // Without BOS the last token is a row of its own, which nobody sends.
            inputs.truncate(targets.len());
            first_scored = targets.len().saturating_sub(self.output_tokens as usize);
            targets.drain(..first_scored);
        }
        Ok(WindowText { inputs, first_scored, targets })
    }
}

impl WindowText {
    /// Negative log-likelihood of the scored tokens, given the hidden states of all rows
    /// behind the last layer.
    ///
    /// # Errors
    /// [`DecoderError`] if they don't fit the model, or the logits overflow.
    pub fn score(&self, decoder: &Decoder, hidden: &Hidden) -> Result<Nll, DecoderError> {
        if self.first_scored == 0 {
            return decoder.nll(hidden, &self.targets);
        }
        let scored = hidden.values().get(self.first_scored * hidden.width()..).unwrap_or_default();
        match Hidden::from_vec(scored.to_vec(), hidden.width()) {
            Ok(scored) => decoder.nll(&scored, &self.targets),
            Err(_) => Err(DecoderError::Targets { targets: self.targets.len(), rows: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{LoadedModel, Segmentation};

    /// Tokens of the built-in text.
    fn corpus(model: &LoadedModel, cut: Segmentation) -> Corpus {
        Corpus::open("builtin", &model.tokenizer, model.decoder.config().vocab, cut).unwrap()
    }

    #[test]
    fn a_session_scores_its_continuation() {
        let model = LoadedModel::open("builtin").unwrap();
        let corpus = corpus(&model, Segmentation::Tokens);
        let all = corpus.tokens();
        // Prompt of 5, 3 tokens asked for: 7 rows.
        let window = Window { index: 2, prompt_tokens: 5, output_tokens: 3 };
        let with = window.text(&corpus, Some(9)).unwrap();
        assert_eq!(with.inputs, [&[9], &all[14..20]].concat());
        assert_eq!((with.first_scored, with.targets.as_slice()), (4, &all[18..21]));
        let without = window.text(&corpus, None).unwrap();
        assert_eq!(without.inputs, all[16..23]);
        assert_eq!((without.first_scored, without.targets.as_slice()), (4, &all[21..24]));
        // One token: the prompt itself is scored.
        let alone = Window { output_tokens: 1, ..window };
        let one = alone.text(&corpus, Some(9)).unwrap();
        assert_eq!((one.inputs, one.targets.as_slice()), ([&[9], &all[10..14]].concat(), &all[10..15]));
        let one = alone.text(&corpus, None).unwrap();
        assert_eq!((one.inputs.as_slice(), one.targets.as_slice()), (&all[10..15], &all[11..15]));
    }

    #[test]
    fn a_sentence_goes_on_with_the_text_behind_it() {
        let model = LoadedModel::open("builtin").unwrap();
        let corpus = corpus(&model, Segmentation::Sentence);
        let (count, further) = (corpus.window_count(0), 30);
        let continued = corpus.continued_count(0, further);
        assert!(continued < count && continued + further > count, "{continued} of {count}");
        let sentence = corpus.window(1, 0).unwrap();
        let start = corpus.window(0, 0).unwrap().len();
        assert_eq!(corpus.continued(1, 0, further).unwrap(), &corpus.tokens()[start..start + sentence.len() + further]);
        assert!(corpus.continued(continued, 0, further).is_err());
    }
}
