//! `splitwave model check`

use crate::cli::failure::Failure;
use crate::cli::model::hints::{FETCH_AGAIN, hint};
use crate::cli::model::{grouped, open_decoder, parse_token};
use crate::cli::{print, tell};
use crate::llm::{
    Decoder, DecoderConfig, DecoderError, Difference, Inspection, LoadError, TensorInfo, cache_difference,
    probe_window, split_difference,
};
use crate::run::signals::Interrupt;
use crate::run::wording::{counted, plural};

/// Tokens of the window that is run without `--tokens`.
const PROBE: usize = 32;

#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// "builtin", "builtin-small", a directory in Hugging Face's layout, or a .gguf file.
    #[arg(value_name = "PATH")]
    model: String,
    /// Token ids to run, comma-separated, taken as they are. Default: up to 32, BOS and then 1, 7920, 15839, … modulo the vocabulary.
    #[arg(long, value_delimiter = ',', value_name = "IDS", value_parser = parse_token, allow_hyphen_values = true)]
    tokens: Option<Vec<u32>>,
    /// Print results only, not every tensor and split.
    #[arg(long, short)]
    quiet: bool,
}

pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let mut inspection = Inspection::open(&args.model).map_err(|error| bad_model(&error))?;
    if let Some(tokens) = &args.tokens {
        check_window(tokens, inspection.config()).map_err(|error| Failure::from(&error))?;
    }
    let tensors = check_tensors(args, &mut inspection, &interrupt)?;
    let tokenizer = check_tokenizer(&inspection)?;
    // What is missing, superfluous, of another shape or type shows when the model is put together.
    let decoder = open_decoder(&args.model).map_err(|error| bad_model(&error))?;
    print(&(tensors + &tokenizer))?;
    check_runs(args, &decoder, &interrupt)
}

fn bad_model(error: &LoadError) -> Failure {
    Failure::input(&error.to_string(), &hint(error, FETCH_AGAIN))
}

/// What running the window would refuse, before anything is read.
fn check_window(tokens: &[u32], config: &DecoderConfig) -> Result<(), DecoderError> {
    let (rows, max, vocab) = (tokens.len(), config.max_positions, config.vocab);
    if rows > max {
        return Err(DecoderError::WindowLength { rows, max });
    }
    match tokens.iter().position(|&id| id as usize >= vocab) {
        Some(position) => Err(DecoderError::TokenBeyondVocabulary { position, id: tokens[position], vocab }),
        None => Ok(()),
    }
}

/// A model without a tokenizer runs on token ids.
fn check_tokenizer(inspection: &Inspection) -> Result<String, Failure> {
    match inspection.tokenizer("") {
        Ok(tokenizer) => {
            let (tokens, vocab) = (tokenizer.vocab(), inspection.config().vocab);
            Ok(format!("tokenizer of {}, vocabulary of {vocab}\n", counted(tokens, "token")))
        }
        Err(error @ LoadError::NoTokenizer { .. }) => {
            Ok(format!("{error}: the model takes token ids only (--tokens), and gives them\n"))
        }
        Err(error) => Err(bad_model(&error)),
    }
}

/// Lists the tensors; gives their sum in words, or fails if a value isn't finite.
fn check_tensors(args: &CheckArgs, inspection: &mut Inspection, interrupt: &Interrupt) -> Result<String, Failure> {
    let tensors = inspection.tensors();
    let width = tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    let (mut values, mut bad) = (0, Vec::new());
    if !args.quiet {
        let (min, max, rms) = ("min", "max", "rms");
        print(&format!("{:<width$}  {:>16}  {:<5} {min:>10} {max:>10} {rms:>10}\n", "tensor", "shape", "type"))?;
    }
    for tensor in &tensors {
        stop_if_asked(interrupt)?;
        let found = match inspection.statistics(tensor) {
            Ok(Some(found)) => format!("{:>10.4} {:>10.4} {:>10.6}", found.min, found.max, found.rms),
            Ok(None) => "no values".to_owned(),
            Err(error) => {
                bad.push(error.to_string());
                format!("BAD: {}", error.problem)
            }
        };
        values += tensor.values();
        if !args.quiet {
            let (shape, stored) = (shape(tensor), tensor.stored);
            print(&format!("{:<width$}  {shape:>16}  {:<5} {found}\n", tensor.name, stored.name()))?;
        }
    }
    match bad.first() {
        None => {
            let (tensors, noun) = (counted(tensors.len(), "tensor"), plural(values, "value"));
            Ok(format!("{tensors}, {} {noun}, all finite\n", grouped(values)))
        }
        Some(first) if bad.len() == 1 => Err(Failure::input(first, FETCH_AGAIN)),
        Some(first) => {
            let others = counted(bad.len() - 1, "other tensor");
            Err(Failure::input(&format!("{first} (and {others})"), FETCH_AGAIN))
        }
    }
}

fn shape(tensor: &TensorInfo) -> String {
    tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

/// Runs a window unsplit, split behind every layer, and from caches.
fn check_runs(args: &CheckArgs, decoder: &Decoder, interrupt: &Interrupt) -> Result<(), Failure> {
    let refused = |error: DecoderError| Failure::from(&error);
    let tokens = args.tokens.clone().unwrap_or_else(|| probe_window(decoder, PROBE));
    let layers = decoder.layers();
    let unsplit = decoder.embed(&tokens).and_then(|hidden| decoder.run(hidden, 0..layers)).map_err(refused)?;
    let logits = decoder.logits(&unsplit).map_err(refused)?;
    if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
        let position = index / decoder.config().vocab;
        return Err(Failure::failed(
            &format!("the logits at position {position} are not finite"),
            "the weights are finite, but too large for this computation: is the checkpoint whole?",
        ));
    }
    for split in 1..=layers {
        stop_if_asked(interrupt)?;
        let difference = split_difference(decoder, &tokens, split, &unsplit).map_err(refused)?;
        same(difference, &format!("split behind layer {split}"))?;
        if !args.quiet {
            tell(&format!("split {split} of {layers}: same bits\n"));
        }
    }
    stop_if_asked(interrupt)?;
    let middle = layers.div_ceil(2);
    let difference = cache_difference(decoder, &tokens, middle, &unsplit).map_err(refused)?;
    same(difference, &format!("token by token with caches split behind layer {middle}"))?;
    let on = counted(tokens.len(), "token");
    print(&format!(
        "on {on}: every split from 1 to {layers} has the bits of the unsplit model\n\
         on {on}: token by token with caches split at {middle} has the bits of all at once\n"
    ))
}

fn same(difference: Option<Difference>, what: &str) -> Result<(), Failure> {
    let Some(Difference { position, element, at_once, in_parts }) = difference else { return Ok(()) };
    Err(Failure::failed(
        &format!("{what}: value {element} of position {position} is {in_parts:e}, unsplit {at_once:e}"),
        "this is a mistake of the program, please report it with the model's config.json",
    ))
}

fn stop_if_asked(interrupt: &Interrupt) -> Result<(), Failure> {
    if interrupt.is_set() {
        Err(Failure::interrupted("interrupted", "the same command starts again from the first tensor"))
    } else {
        Ok(())
    }
}
