//! Whether `encoding`, `outlier_share` and `top_k_share` of a channel go together.

use crate::channel::{Codec, CodecError, Reception};
use crate::scenario::air::ChannelTable;
use crate::scenario::problem::Problem;

/// Adds what is wrong with how a channel encodes. Ranges are the schema's.
pub fn check_codec(problems: &mut Vec<Problem>, path: &str, channel: &ChannelTable) {
    let key = |name: &str| format!("{path}.{name}");
    if channel.reception != Reception::Digital {
        let given = [
            ("encoding", channel.encoding.is_some()),
            ("outlier_share", channel.outlier_share != 0.0),
            ("top_k_share", channel.top_k_share.is_some()),
        ];
        for (name, _) in given.into_iter().filter(|(_, given)| *given) {
            problems.push(
                Problem::error(key(name), "an analog link sends values, not bits")
                    .with_hint(format!("set reception = \"digital\", or leave {name} out")),
            );
        }
        return;
    }
    let encoding = channel.encoding.unwrap_or_default();
    let problem = match Codec::new(encoding, channel.outlier_share, channel.top_k_share) {
        Ok(_) => return,
        Err(CodecError::OutliersWithoutScale(_)) => {
            Problem::error(key("outlier_share"), "only what has a scale has outliers that could spoil it")
                .with_value(format!("{} with encoding = \"{}\"", channel.outlier_share, encoding.name()))
                .with_allowed("0, or above with encoding = \"int8\" or \"int4\"")
                .with_hint("set encoding to \"int8\" or \"int4\", or leave outlier_share out")
        }
        Err(CodecError::OutliersBeyondTopK { outlier_share, top_k_share }) => {
            Problem::error(key("outlier_share"), "outliers are among the values that top_k_share sends")
                .with_value(outlier_share)
                .with_allowed(format!("0 to below {top_k_share}"))
                .with_hint("lower outlier_share, or raise top_k_share")
        }
        Err(CodecError::OutlierShare(share)) => Problem::error(key("outlier_share"), "`outlier_share` is out of range")
            .with_value(share)
            .with_allowed("0 to below 1"),
        Err(CodecError::TopKShare(share)) => Problem::error(key("top_k_share"), "`top_k_share` is out of range")
            .with_value(share)
            .with_allowed("above 0, up to 1"),
        Err(error @ CodecError::Text(_)) => Problem::error(key("encoding"), error.to_string()),
    };
    problems.push(problem);
}
