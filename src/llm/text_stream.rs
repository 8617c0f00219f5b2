//! Text as its tokens come.

use super::tokenizer::{Tokenizer, TokenizerError};

/// Turns tokens into text one by one: a token's text depends on its neighbours (a
/// space in front of the first word is none, a character may take several tokens),
/// so the last few are decoded together, and what is new is given out once it can
/// no longer change.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The tokens that are decoded together.
    tokens: Vec<u32>,
    /// How many of `tokens` have been given out.
    given: usize,
    /// Bytes of the text of `tokens` that have been given out.
    shown: usize,
}

/// What stands for bytes that are no character (yet).
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

impl<'a> TextStream<'a> {
    /// A stream behind the tokens of a prompt, whose own text is not given out again.
    ///
    /// # Errors
    /// [`TokenizerError`] if the tokenizer's decoder fails.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &[u32]) -> Result<Self, TokenizerError> {
        let shown = tokenizer.decode(prompt)?.len();
        Ok(Self { tokenizer, tokens: prompt.to_vec(), given: prompt.len(), shown })
    }

    /// The text that one more token completes; empty in the middle of a character.
    ///
    /// # Errors
    /// [`TokenizerError`] if the tokenizer's decoder fails.
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens)?;
        // Bytes at the end that are no character may become one with the next token.
        let settled = text.trim_end_matches(REPLACEMENT);
        let fresh = settled.get(self.shown..).unwrap_or_default().to_owned();
        if settled.len() < text.len() {
            self.shown = self.shown.max(settled.len());
        } else if !fresh.is_empty() {
            // Nothing is pending: what was given out before this token is no longer needed as context.
            self.tokens.drain(..self.given);
            self.given = self.tokens.len();
            self.shown = self.tokenizer.decode(&self.tokens)?.len();
        }
        Ok(fresh)
    }

    /// What is left at the end: bytes that never became a character.
    ///
    /// # Errors
    /// [`TokenizerError`] if the tokenizer's decoder fails.
    pub fn finish(self) -> Result<String, TokenizerError> {
        let text = self.tokenizer.decode(&self.tokens)?;
        Ok(text.get(self.shown..).unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::LoadedModel;

    /// Byte-level BPE, as built in, and SentencePiece's pieces with bytes for the rest.
    fn tokenizers() -> [Tokenizer; 2] {
        let byte_tokens: Vec<String> = (0..=255).map(|byte| format!("\"<0x{byte:02X}>\":{}", byte + 3)).collect();
        let byte_tokens = byte_tokens.join(",");
        let pieces = format!(
            r#"{{"version":"1.0","added_tokens":[{{"id":1,"content":"<s>","special":true,"single_word":false,
            "lstrip":false,"rstrip":false,"normalized":false}}],"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":{{"type":"Sequence","decoders":[
            {{"type":"Replace","pattern":{{"String":"▁"}},"content":" "}},{{"type":"ByteFallback"}},{{"type":"Fuse"}},
            {{"type":"Strip","content":" ","start":1,"stop":0}}]}},
            "model":{{"type":"BPE","unk_token":"<unk>","byte_fallback":true,"vocab":{{"<unk>":0,"<s>":1,"▁the":2,
            {byte_tokens},"▁":259}},"merges":[]}}}}"#
        );
        let pieces = Tokenizer::from_json("pieces", pieces.as_bytes()).unwrap();
        [LoadedModel::builtin().unwrap().tokenizer, pieces]
    }

    fn streamed(tokenizer: &Tokenizer, prompt: &[u32], tokens: &[u32]) -> Vec<String> {
        let mut stream = TextStream::new(tokenizer, prompt).unwrap();
        let mut parts: Vec<String> = tokens.iter().map(|&token| stream.push(token).unwrap()).collect();
        parts.push(stream.finish().unwrap());
        parts
    }

    #[test]
    fn parts_add_up_to_the_text_and_break_no_character() {
        let [bytes, pieces] = tokenizers();
        for text in ["The lamp – “é” 漢字 🙂🙃 end.", "plain words\nand lines", "🙂🙃🙂🙃🙂🙃🙂🙃🙂🙃 漢字漢字漢字漢字"]
        {
            let tokens = bytes.encode(text).unwrap();
            for cut in 0..tokens.len() {
                let (prompt, rest) = tokens.split_at(cut);
                if bytes.decode(prompt).unwrap().ends_with(REPLACEMENT) {
                    continue; // a prompt is text
                }
                let parts = streamed(&bytes, prompt, rest);
                assert_eq!(bytes.decode(prompt).unwrap() + &parts.concat(), text, "cut at {cut}");
                assert!(parts.iter().all(|part| !part.contains(REPLACEMENT)), "{parts:?}");
            }
        }
        // "the é the" and a euro sign: the first space is none, the others are.
        let tokens = [2, 259, 0xc3 + 3, 0xa9 + 3, 2, 0xe2 + 3, 0x82 + 3, 0xac + 3, 0xe2 + 3, 0x82 + 3, 0xac + 3];
        assert_eq!(streamed(&pieces, &[], &tokens), ["the", " ", "", "é", " the", "", "", "€", "", "", "€", ""]);
        assert_eq!(streamed(&pieces, &[1, 2], &tokens)[0], " the");
    }

    #[test]
    fn bytes_that_never_become_a_character_come_at_the_end() {
        let [_, pieces] = tokenizers();
        assert_eq!(streamed(&pieces, &[2], &[2, 0xe2 + 3, 0x82 + 3]), [" the", "", "", "\u{fffd}\u{fffd}"]);
        assert_eq!(streamed(&pieces, &[2], &[0xe2 + 3, 2]), ["", "\u{fffd} the", ""]);
    }
}
