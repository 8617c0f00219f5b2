//! `splitwave model generate`

use std::fmt::Write;
use std::ops::ControlFlow;

use serde::de::DeserializeOwned;

use crate::channel::{Codec, Concealment, Impairment, LossUnit, Reception, TxNormalisation};
use crate::cli::failure::Failure;
use crate::cli::model::{PromptArgs, SIZES, check_split, grouped, open_decoder};
use crate::cli::{print, tell};
use crate::control::{DecodeDelivery, Generated, Generation, GenerationEnd, GenerationError, RowChannel, Traffic};
use crate::kernel::Streams;
use crate::llm::{BUILTIN, Decoder, Inspection, LoadError, Sampling, TextStream, Tokenizer, TokenizerError};
use crate::run::signals::Interrupt;
use crate::run::wording::counted;

/// Generate text with the model split over a channel, beside the text without it.
///
/// The device runs layers 1..p on its own clean rows and sends their output: the rows of the prompt, then one row per generated token; the edge runs the other layers, chooses the token and sends its id back. Both have their own KV cache, and what the channel did to a row stays in the edge's.
///
/// A model without a tokenizer takes token ids and gives them: those of the prompt, then the generated ones.
///
/// There is no time axis: every packet is lost on its own with probability P. `splitwave run` has fades in time.
#[derive(clap::Args, Debug)]
pub struct GenerateArgs {
    /// "builtin", "builtin-small", a directory in Hugging Face's layout, or a .gguf file.
    #[arg(long, default_value = BUILTIN, value_name = "PATH")]
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Layers on the device, 1 to L.
    #[arg(long, value_name = "p", allow_negative_numbers = true)]
    split: i64,
    /// Most tokens to generate; a token that ends a text ends it before.
    #[arg(long, default_value_t = 64, value_name = "N", allow_negative_numbers = true)]
    max_tokens: u32,
    /// Temperature; 0 takes the most probable token. Draws are keyed by position and token, so both texts meet the same chances.
    #[arg(long, default_value_t = 0.0, value_name = "T", value_parser = parse_temperature, allow_negative_numbers = true)]
    temperature: f64,
    /// Draw from the K most probable tokens only.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    top_k: Option<u32>,
    /// Draw from the most probable tokens that together reach this probability only.
    #[arg(long, value_name = "P", value_parser = parse_top_p, allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Seed of channel and draws.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    channel: ChannelArgs,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Channel")]
struct ChannelArgs {
    /// P: each packet is lost with this probability (with element-iid: each element).
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_negative_numbers = true)]
    loss: f64,
    /// σ: standard deviation of the noise on each value; analog only.
    #[arg(long, default_value_t = 0.0, value_name = "σ", allow_negative_numbers = true)]
    noise: f64,
    /// σ_h of a Rayleigh gain per packet; a packet below the threshold that P gives is lost. Default: no fading, gain 1.
    #[arg(long, value_name = "σ_h", allow_negative_numbers = true)]
    rayleigh_scale: Option<f64>,
    /// What a lost packet takes with it: token-row, chunk, interleaved or element-iid.
    #[arg(long, default_value = "token-row", value_parser = parse_name::<LossUnit>, value_name = "UNIT")]
    loss_unit: LossUnit,
    /// Packets of a row, each lost on its own.
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    packets_per_row: u32,
    /// How the edge receives: raw, equalised (both analog) or digital.
    #[arg(long, default_value = "equalised", value_parser = parse_name::<Reception>, value_name = "HOW")]
    reception: Reception,
    /// Analog only: the transmitter's scaling: none, per-row or per-request.
    #[arg(long, value_parser = parse_name::<TxNormalisation>, value_name = "HOW")]
    tx_normalisation: Option<TxNormalisation>,
    /// Digital only: f32, f16, bf16, int8 or int4, also with +outliers=SHARE or +top-k=SHARE behind it. Default: f16.
    #[arg(long, value_parser = <Codec as std::str::FromStr>::from_str, value_name = "FORMAT")]
    encoding: Option<Codec>,
    /// What stands in place of what the prompt lost: zero, previous-row, mean or rescale.
    #[arg(long, default_value = "zero", value_parser = parse_name::<Concealment>, value_name = "WHAT")]
    concealment: Concealment,
    /// Rows of generated tokens: am sends lost packets again until they arrive; none sends once, and the previous row stands in place of what is lost.
    #[arg(long, default_value = "am", value_parser = parse_delivery, value_name = "HOW")]
    decode_delivery: DecodeDelivery,
}

/// A name as scenario files have it.
fn parse_name<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

fn parse_delivery(text: &str) -> Result<DecodeDelivery, String> {
    match text {
        "am" => Ok(DecodeDelivery::Acknowledged),
        "none" => Ok(DecodeDelivery::Once),
        _ => Err("allowed: am, none".into()),
    }
}

fn parse_temperature(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1e3).contains(value));
    value.ok_or_else(|| "allowed: 0 to 1000".into())
}

fn parse_top_p(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|&value| 0.0 < value && value <= 1.0);
    value.ok_or_else(|| "allowed: above 0, up to 1".into())
}

impl ChannelArgs {
    /// The channel; refuses options that play no part.
    fn channel(&self) -> Result<RowChannel, Failure> {
        let digital = self.reception == Reception::Digital;
        let idle = [
            (digital && self.noise != 0.0, "--noise", "digital packets are intact or lost"),
            (digital && self.tx_normalisation.is_some(), "--tx-normalisation", "digital values are not scaled"),
            (!digital && self.encoding.is_some(), "--encoding", "analog values are not encoded"),
            (
                self.loss_unit == LossUnit::Chunk && self.packets_per_row == 1,
                "--loss-unit chunk",
                "with one packet per row it is token-row",
            ),
        ];
        if let Some((_, option, why)) = idle.into_iter().find(|(is_idle, ..)| *is_idle) {
            let hint = match option {
                "--encoding" => "add --reception digital",
                "--loss-unit chunk" => "add --packets-per-row, 2 or more",
                _ => "leave it out, or take --reception equalised or raw",
            };
            return Err(Failure::input(&format!("{option} plays no part: {why}"), hint));
        }
        Ok(RowChannel {
            impairment: Impairment {
                reception: self.reception,
                loss_unit: self.loss_unit,
                tx_normalisation: self.tx_normalisation.unwrap_or_default(),
                codec: self.encoding.unwrap_or_default(),
                concealment: self.concealment,
                round_concealment: Concealment::PreviousRow,
            },
            noise_std: self.noise,
            loss_probability: self.loss,
            rayleigh_scale: self.rayleigh_scale,
            packets_per_row: self.packets_per_row as usize,
            decode_delivery: self.decode_delivery,
        })
    }

    /// In a few words.
    fn described(&self) -> String {
        let unit = if self.loss_unit == LossUnit::ElementIid { "elements" } else { "packets" };
        let mut text = format!("P = {} of {unit}", self.loss);
        if self.noise > 0.0 {
            let _ = write!(text, ", σ = {}", self.noise);
        }
        if let Some(scale) = self.rayleigh_scale {
            let _ = write!(text, ", Rayleigh σ_h = {scale}");
        }
        let how = match (self.reception, self.encoding.unwrap_or_default()) {
            (Reception::Raw, _) => "raw".to_owned(),
            (Reception::Equalised, _) => "equalised".to_owned(),
            (Reception::Digital, codec) => format!("digital, {codec}"),
        };
        text + ", " + &how
    }
}

impl From<&GenerationError> for Failure {
    fn from(error: &GenerationError) -> Self {
        match error {
            GenerationError::Decoder(error) => error.into(),
            GenerationError::Split { .. } => Self::input(&error.to_string(), SIZES),
            GenerationError::Channel(_) => {
                Self::input(&error.to_string(), "`splitwave model generate --help` lists the options")
            }
        }
    }
}

pub fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let channel = args.channel.channel()?;
    if args.temperature == 0.0 && (args.top_k.is_some() || args.top_p.is_some()) {
        let message = "--top-k and --top-p play no part: at temperature 0 the most probable token is taken";
        return Err(Failure::input(message, "add --temperature, say 0.8"));
    }
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let model = Model::open(args)?;
    let split = check_split(args.split, model.decoder.layers())?;
    let generation = Generation {
        prompt: &model.prompt,
        split,
        max_tokens: args.max_tokens as usize,
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k.map(|k| k as usize),
            top_p: args.top_p.unwrap_or(1.0),
        },
        streams: Streams::new(args.seed, 0),
    };
    // Before any text: what is wrong with the channel, too.
    let config = model.decoder.config();
    channel.check(config.d_model).map_err(|error| Failure::from(&GenerationError::from(error)))?;
    let with = format!("with the channel behind layer {split} ({})", args.channel.described());
    let clean = told(&model, &generation, None, "without the channel", &interrupt)?;
    let lossy = told(&model, &generation, Some(&channel), &with, &interrupt)?;
    print(&report(&model, &clean, &lossy))?;
    if [clean.end, lossy.end].contains(&GenerationEnd::Positions) {
        let positions = counted(config.max_positions, "position");
        let asked = args.max_tokens;
        tell(&format!("stopped before --max-tokens {asked}: the model has {positions} for prompt and text\n"));
    }
    Ok(())
}

/// What generates: with a tokenizer text, without one token ids.
struct Model {
    decoder: Decoder,
    tokenizer: Option<Tokenizer>,
    /// Token ids of the prompt.
    prompt: Vec<u32>,
}

impl Model {
    fn open(args: &GenerateArgs) -> Result<Self, Failure> {
        let refused = |error: LoadError| Failure::from(&error);
        let inspection = Inspection::open(&args.model).map_err(refused)?;
        let (tokenizer, prompt) = match (inspection.tokenizer(""), &args.prompt.tokens) {
            (Err(error @ LoadError::NoTokenizer { .. }), Some(tokens)) => {
                tell(&format!("{error}: token ids instead of text\n"));
                (None, tokens.clone())
            }
            (tokenizer, _) => {
                let tokenizer = tokenizer.map_err(refused)?;
                let prompt = args.prompt.ids(inspection.config().bos_token, &tokenizer)?;
                (Some(tokenizer), prompt)
            }
        };
        let decoder = open_decoder(&args.model).map_err(refused)?;
        Ok(Self { decoder, tokenizer, prompt })
    }

    /// Tokens as they are shown.
    fn shown(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode(tokens),
            None => Ok(tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// Generates and prints the text as it comes.
fn told(
    model: &Model,
    generation: &Generation,
    channel: Option<&RowChannel>,
    label: &str,
    interrupt: &Interrupt,
) -> Result<Generated, Failure> {
    let refused = |error: TokenizerError| Failure::from(&error);
    let stream = model.tokenizer.as_ref().map(|tokenizer| TextStream::new(tokenizer, generation.prompt));
    let mut stream = stream.transpose().map_err(refused)?;
    let mut failure = None;
    let mut is_begun = false;
    let begin = || {
        let prompt = model.shown(generation.prompt).map_err(refused)?;
        print(&format!("--- {label}\n{}", printable(&prompt)))
    };
    let generated = crate::control::generate(&model.decoder, generation, channel, &mut |token| {
        let shown = if is_begun { Ok(()) } else { begin() };
        is_begun = true;
        let text = stream.as_mut().map_or_else(|| Ok(format!(" {token}")), |stream| stream.push(token));
        let shown = shown.and_then(|()| text.map_err(refused)).and_then(|text| print(&printable(&text)));
        match shown {
            Err(error) => failure = Some(error),
            Ok(()) if !interrupt.is_set() => return ControlFlow::Continue(()),
            Ok(()) => {}
        }
        ControlFlow::Break(())
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let generated = generated.map_err(|error| {
        if is_begun {
            tell_line_end();
        }
        Failure::from(&error)
    })?;
    if !is_begun {
        begin()?;
    }
    let end = match generated.end {
        GenerationEnd::Outage => " [nothing of the prompt arrived: an outage]\n",
        GenerationEnd::Positions => " [the model has no more positions]\n",
        GenerationEnd::Stopped => " [interrupted]\n",
        GenerationEnd::EndOfText | GenerationEnd::MaxTokens => "\n",
    };
    let rest = stream.map_or(Ok(String::new()), TextStream::finish).map_err(refused)?;
    print(&(printable(&rest) + end))?;
    if generated.end == GenerationEnd::Stopped {
        return Err(Failure::interrupted("interrupted", "the same command gives the same text again"));
    }
    Ok(generated)
}

/// An error message must not stand behind half a line of text.
fn tell_line_end() {
    let _ = print("\n");
}

/// A model's text must not steer the terminal.
fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What crossed the channel, and where the texts part.
fn report(model: &Model, clean: &Generated, lossy: &Generated) -> String {
    let traffic = lossy.traffic.unwrap_or_default();
    let Traffic { prompt_rows, prompt_rows_lost, decode_rows, decode_rows_lost, packets_repeated, .. } = traffic;
    let tokens = lossy.tokens.len();
    let id_bits = u64::from((model.decoder.config().vocab.max(2) as u64 - 1).ilog2() + 1);
    let mut rows = vec![
        ("tokens generated", format!("{tokens}, without the channel {}", clean.tokens.len())),
        ("the texts part at", parting(model, &clean.tokens, &lossy.tokens)),
        ("rows of the prompt", format!("{prompt_rows} sent, {prompt_rows_lost} lost")),
        (
            "rows of tokens",
            format!("{decode_rows} sent, {decode_rows_lost} lost, {} sent again", counted(packets_repeated, "packet")),
        ),
        ("values lost", grouped(traffic.elements_lost as u64)),
        ("values on the air", grouped(traffic.values)),
    ];
    if traffic.bits > 0 {
        rows.push(("bits up", grouped(traffic.bits)));
    }
    rows.push(("bits down", format!("{} ({id_bits} per token id)", grouped(tokens as u64 * id_bits))));
    if let Some(snr) = traffic.activation_snr_db {
        rows.push(("activation SNR", format!("{snr:.1} dB at gain 1, rows of the prompt")));
    }
    let mut text = "---\n".to_owned();
    for (what, value) in rows {
        let _ = writeln!(text, "{what:<18}  {value}");
    }
    text
}

/// The first generated token in which two texts differ.
fn parting(model: &Model, clean: &[u32], lossy: &[u32]) -> String {
    let at = clean.iter().zip(lossy).position(|(a, b)| a != b);
    let shown = |tokens: &[u32], at: usize| match tokens.get(at) {
        Some(&id) if model.tokenizer.is_none() => id.to_string(),
        Some(&id) => format!("{:?}", model.shown(&[id]).unwrap_or_default()),
        None => "the end".to_owned(),
    };
    match at {
        None if clean.len() == lossy.len() => "no token: they are the same".to_owned(),
        at => {
            let at = at.unwrap_or(clean.len().min(lossy.len()));
            format!("token {}: {} without, {} with the channel", at + 1, shown(clean, at), shown(lossy, at))
        }
    }
}
