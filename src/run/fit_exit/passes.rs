//! Passes of the whole model over windows: the states behind the layers that are to have an exit, and what heads make of
//! them.

use rayon::prelude::*;

use super::error::ExitFitError;
use super::figures::Figures;
use crate::llm::{Corpus, Decoder, DecoderError, ExitHead, HeadLoss, Hidden, TeacherForced};

/// Windows whose states are in memory at once.
const WINDOWS_AT_ONCE: usize = 32;

/// A text in windows.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The text.
    pub corpus: &'a Corpus,
    /// Its name, for errors.
    pub name: &'a str,
    /// Tokens of a window.
    pub tokens: usize,
}

/// The states of one window.
pub struct States {
    /// Behind each layer that is to have an exit.
    pub early: Vec<Hidden>,
    /// Behind the last layer.
    pub last: Hidden,
    /// What the rows predict.
    pub targets: Vec<u32>,
}

impl States {
    /// Runs the model on a window, and keeps the states behind `layers`, which rise.
    fn of(decoder: &Decoder, layers: &[usize], window: &[u32]) -> Result<Self, DecoderError> {
        let TeacherForced { inputs, targets } = TeacherForced::new(window, decoder.config().bos_token);
        let (mut hidden, mut from) = (decoder.embed(&inputs)?, 0);
        let mut early = Vec::with_capacity(layers.len());
        for &layer in layers {
            hidden = decoder.run(hidden, from..layer)?;
            early.push(hidden.clone());
            from = layer;
        }
        let last = decoder.run(hidden, from..decoder.layers())?;
        Ok(Self { early, last, targets })
    }
}

/// The model, the layers that are to have an exit, and a text.
#[derive(Clone, Copy)]
pub struct Passes<'a> {
    /// The head of the model.
    pub loss: &'a HeadLoss<'a>,
    /// The layers, rising.
    pub layers: &'a [usize],
    /// The text.
    pub text: Text<'a>,
}

impl Passes<'_> {
    /// What `of` makes of the states of each window, in the order of `windows`, in parallel in the pool that calls.
    ///
    /// # Errors
    /// [`ExitFitError`] of the first window at fault.
    pub fn each<T: Send>(
        &self,
        windows: &[usize],
        of: impl Fn(States) -> Result<T, DecoderError> + Sync,
    ) -> Result<Vec<T>, ExitFitError> {
        let Text { corpus, name, tokens } = self.text;
        let one =
            |&window: &usize| {
                let ids = corpus.window(window, tokens)?;
                States::of(self.loss.decoder(), self.layers, ids)
                    .and_then(&of)
                    .map_err(|source| ExitFitError::Decoder { file: name.to_owned(), window, source })
            };
        // In order and then the first error: which one is told doesn't depend on threads.
        windows.par_iter().map(one).collect::<Vec<_>>().into_iter().collect()
    }

    /// The same, some windows at a time: `take` gets what `of` made of each, in the order of `windows`.
    ///
    /// # Errors
    /// As [`Passes::each`].
    pub fn in_portions<T: Send>(
        &self,
        windows: &[usize],
        of: impl Fn(States) -> Result<T, DecoderError> + Sync,
        mut take: impl FnMut(Vec<T>),
    ) -> Result<(), ExitFitError> {
        for portion in windows.chunks(WINDOWS_AT_ONCE) {
            take(self.each(portion, &of)?);
        }
        Ok(())
    }

    /// The figures of some heads, each behind the layer of its number in the list of layers.
    ///
    /// # Errors
    /// As [`Passes::each`].
    pub fn figures(&self, windows: &[usize], heads: &[(usize, &ExitHead)]) -> Result<Vec<Figures>, ExitFitError> {
        let mut sums = vec![Figures::default(); heads.len()];
        let of = |states: States| {
            let teacher = self.loss.teacher(&states.last)?;
            let one = |&(place, head): &(usize, &ExitHead)| {
                let translated = head.translate(&states.early[place])?;
                Ok(Figures::of(&self.loss.scores(&teacher, &translated, &states.targets)?))
            };
            heads.iter().map(one).collect::<Result<Vec<_>, DecoderError>>()
        };
        self.in_portions(windows, of, |portion| {
            for window in portion {
                for (sum, figures) in sums.iter_mut().zip(&window) {
                    *sum = sum.and(figures);
                }
            }
        })?;
        Ok(sums)
    }
}
