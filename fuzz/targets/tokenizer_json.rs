//! `tokenizer.json` of a checkpoint, and a text through it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splitwave::llm::Tokenizer;

fuzz_target!(|data: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_json("tokenizer.json", data) else { return };
    if let Ok(tokens) = tokenizer.encode("ab  c\u{e9}\n12 <s>it's") {
        let _ = tokenizer.decode(&tokens);
    }
});
