//! A GGUF file: header, metadata, tokenizer, tensors, and one forward pass.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splitwave::llm::LoadedModel;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = LoadedModel::from_gguf_bytes("fuzz.gguf", data) else { return };
    let Ok(tokens) = model.tokenizer.encode("ab  c\u{e9}\n12 <s>it's") else { return };
    let _ = model.tokenizer.decode(&tokens);
    // Weights of any size may overflow: an error, and no panic.
    let _ = model.decoder.window_nll(&tokens);
});
