//! `splitwave model logits`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::model::{PromptArgs, check_split, open_decoder};
use crate::cli::tell;
use crate::llm::{Decoder, DecoderError, Hidden};
use crate::run::signals::Interrupt;
use crate::run::wording::counted;

/// Rows whose logits are in memory at once.
const ROWS_AT_ONCE: usize = 64;

#[derive(clap::Args, Debug)]
pub struct LogitsArgs {
    /// "builtin", "builtin-small", a directory in Hugging Face's layout, or a .gguf file.
    #[arg(value_name = "PATH")]
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Run layers 1..p, then the others from what they give. The logits are the same, bit by bit.
    #[arg(long, value_name = "p", allow_negative_numbers = true)]
    split: Option<i64>,
    /// Write the hidden states behind layer p, which cross the channel, instead of logits.
    #[arg(long, requires = "split")]
    hidden: bool,
    /// File to write, a row per position: position, token, then all logits or hidden values in single precision, shortest digits that read back exactly. "-" is standard output.
    #[arg(long, short, value_name = "FILE.csv")]
    out: PathBuf,
}

pub fn logits(args: &LogitsArgs) -> Result<(), Failure> {
    // Also for its handler of the limit of a file's size.
    let interrupt = Interrupt::install()
        .map_err(|error| Failure::failed(&format!("installing signal handlers: {error}"), "please report this"))?;
    let decoder = &open_decoder(&args.model).map_err(|error| Failure::from(&error))?;
    let tokens = args.prompt.ids_for(&args.model)?;
    let layers = decoder.layers();
    let split = args.split.map_or(Ok(layers), |split| check_split(split, layers))?;
    let refused = |error: DecoderError| Failure::from(&error);
    let sent = decoder.embed(&tokens).and_then(|hidden| decoder.run(hidden, 0..split)).map_err(refused)?;
    let states = if args.hidden { sent } else { decoder.run(sent, split..layers).map_err(refused)? };
    let (prefix, columns) = if args.hidden { ("h", states.width()) } else { ("logit", decoder.config().vocab) };
    let rows = Rows { decoder, tokens: &tokens, states: &states, is_hidden: args.hidden, interrupt: &interrupt };
    if args.out == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        return match rows.write(&mut out, prefix, columns).and_then(|()| Ok(out.flush()?)) {
            Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| error.failure("standard output")),
        };
    }
    let file = args.out.display().to_string();
    write_whole(&args.out, |out| rows.write(out, prefix, columns)).map_err(|error| error.failure(&file))?;
    let (rows, values) = (counted(tokens.len(), "row"), counted(columns, "value"));
    tell(&format!("{file}: {rows} of {values}\n"));
    Ok(())
}

/// What goes into the file.
struct Rows<'a> {
    decoder: &'a Decoder,
    tokens: &'a [u32],
    states: &'a Hidden,
    is_hidden: bool,
    interrupt: &'a Interrupt,
}

enum WriteError {
    Io(io::Error),
    Decoder(DecoderError),
    Interrupted,
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl WriteError {
    fn failure(&self, file: &str) -> Failure {
        match self {
            Self::Io(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => "the folder must exist",
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                        "make room or choose another disk with -o; nothing was left behind"
                    }
                    _ => "choose a file that can be written with -o",
                };
                Failure::failed(&format!("{file}: {error}"), hint)
            }
            Self::Decoder(error) => Failure::from(error),
            Self::Interrupted => {
                Failure::interrupted("interrupted", "nothing was left behind; the command can be repeated")
            }
        }
    }
}

impl Rows<'_> {
    fn write(&self, out: &mut dyn Write, prefix: &str, columns: usize) -> Result<(), WriteError> {
        write!(out, "position,token")?;
        for column in 0..columns {
            write!(out, ",{prefix}_{column}")?;
        }
        writeln!(out)?;
        let width = self.states.width();
        let mut buffer = zmij::Buffer::new();
        let mut rows = self.tokens.iter().enumerate();
        for states in self.states.values().chunks(ROWS_AT_ONCE * width) {
            if self.interrupt.is_set() {
                return Err(WriteError::Interrupted);
            }
            let values = if self.is_hidden { states.to_vec() } else { self.logits(states)? };
            for (values, (position, token)) in values.chunks(columns).zip(rows.by_ref()) {
                write!(out, "{position},{token}")?;
                for value in values {
                    out.write_all(b",")?;
                    out.write_all(buffer.format(*value).as_bytes())?;
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }

    fn logits(&self, states: &[f32]) -> Result<Vec<f32>, WriteError> {
        let rows = Hidden::from_vec(states.to_vec(), self.states.width());
        let rows = rows.map_err(|_| DecoderError::Width { found: states.len(), expected: self.states.width() });
        rows.and_then(|rows| self.decoder.logits(&rows)).map_err(WriteError::Decoder)
    }
}

/// Writes a file under a hidden name and renames it when it is whole; otherwise nothing stays.
/// A link leads to its file, which keeps its permissions; a device or a pipe is written to.
fn write_whole(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>) -> Result<(), WriteError> {
    let there = match std::fs::canonicalize(path) {
        Ok(target) => Some((std::fs::metadata(&target)?, target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            let message = "is a link that leads nowhere; remove it or name another file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
        }
        Err(_) => None,
    };
    if let Some((metadata, _)) = &there
        && !metadata.is_file()
        && !metadata.is_dir()
    {
        let mut out = BufWriter::new(File::options().write(true).open(path)?);
        content(&mut out)?;
        return Ok(out.flush()?);
    }
    let target = there.as_ref().map_or(path, |(_, target)| target.as_path());
    let Some(name) = target.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not the name of a file").into());
    };
    let partial = target.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    let written = File::create(&partial).map_err(WriteError::Io).and_then(|file| {
        if let Some((metadata, _)) = &there {
            file.set_permissions(metadata.permissions())?;
        }
        let mut out = BufWriter::new(file);
        content(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(std::fs::rename(&partial, target)?)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}
