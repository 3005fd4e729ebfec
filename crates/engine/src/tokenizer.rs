//! From a rendered prompt to its tokens.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::LlamaVocab;

use crate::chat::{Chat, ControlTexts, Length, Piece, Rendered, refuse};
use crate::error::EngineError;
use crate::renderer::Renderer;

/// Longer texts are not tokenised to see whether they fit, for the time that it takes.
const SKIPPED_BYTES_MAX: usize = 256 << 10;

/// Of characters of one kind. llama.cpp splits some models' text with regular expressions that recurse with each of
/// them, and the process ends with the stack.
const RUN_MAX: usize = 100_000;

/// What is needed to tokenise a prompt.
pub(crate) struct PromptTokenizer {
    /// In the order of `control`.
    control_texts: ControlTexts,
    control: Vec<ControlToken>,
    /// The token to begin every prompt with, if the model wants one.
    pub(crate) bos: Option<LlamaToken>,
    pub(crate) longest_token_bytes: usize,
    /// White space and what it does not know may take nothing, or one token however long it is.
    skips: bool,
}

struct ControlToken {
    token: LlamaToken,
    /// Whether spaces before, or after, the token belong to it.
    strips_before: bool,
    strips_after: bool,
}

impl PromptTokenizer {
    pub(crate) fn new(model: &LlamaModel) -> Result<Self, EngineError> {
        let vocab = model.vocab();
        let kind = model.meta_val_str("tokenizer.ggml.model").unwrap_or_default();
        let skips = matches!(kind.as_str(), "bert" | "t5");
        let (mut control, mut texts) = (Vec::new(), Vec::new());
        let mut longest_token_bytes = 1;
        for token in vocab.tokens() {
            longest_token_bytes =
                longest_token_bytes.max(vocab.text(token).map_or(0, |text| text.count_bytes()));
            let attributes = vocab.attr(token);
            let special = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown;
            if !attributes.intersects(special) && !vocab.is_eog(token) {
                continue;
            }
            let text = text(&vocab, token);
            if !text.is_empty() {
                texts.push(text);
                control.push(ControlToken {
                    token,
                    strips_before: attributes.contains(LlamaTokenAttr::LStrip),
                    strips_after: attributes.contains(LlamaTokenAttr::RStrip),
                });
            }
        }
        let finder =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts).map_err(|error| {
                EngineError::Internal {
                    reason: format!("the vocabulary has too many control tokens: {error}"),
                }
            })?;
        let bos = (vocab.should_add_bos() && vocab.bos().0 >= 0).then(|| vocab.bos());
        let control_texts = ControlTexts { finder, texts: texts.into() };
        Ok(Self { control_texts, control, bos, longest_token_bytes, skips })
    }

    /// How the model holds a conversation.
    ///
    /// # Errors
    /// [`EngineError::Template`] when it has a chat template that is not usable.
    pub(crate) fn chat(
        &self,
        model: &LlamaModel,
        renderer: Arc<Renderer>,
        context_length: u32,
    ) -> Result<Chat, EngineError> {
        let control = self.control_texts.clone();
        let length = self.length(context_length);
        let Ok(source) = model.chat_template(None) else {
            return Ok(Chat::without_template(renderer, control, length));
        };
        let source = source.as_c_str().to_string_lossy().into_owned();
        let vocab = model.vocab();
        let (bos, eos) = (text(&vocab, vocab.bos()), text(&vocab, vocab.eos()));
        Chat::with_template(renderer, control, length, source, bos, eos)
    }

    /// The control tokens that have one of these texts.
    pub(crate) fn control_tokens(&self, texts: &[&str]) -> Vec<LlamaToken> {
        let all = self.control_texts.texts.iter().zip(&self.control);
        all.filter(|(text, _)| texts.contains(&text.as_str())).map(|(_, control)| control.token).collect()
    }

    /// Tokenises what is to be decoded before the answer.
    ///
    /// # Errors
    /// [`EngineError::ContextFull`] for a text too long to be worth counting its tokens, and
    /// [`EngineError::BadRequest`] for a control token that the vocabulary finds even in plain text.
    pub(crate) fn tokenize(
        &self,
        vocab: &LlamaVocab<'_>,
        rendered: &Rendered,
        context_length: u32,
    ) -> Result<Vec<LlamaToken>, EngineError> {
        let bytes = rendered.pieces.iter().map(|piece| match piece {
            Piece::Template(text) | Piece::Content(text) => text.len(),
        });
        self.length(context_length).check(bytes.sum())?;
        for piece in &rendered.pieces {
            let (Piece::Template(text) | Piece::Content(text)) = piece;
            check_runs(text)?;
        }
        let mut tokens = match rendered.pieces.as_slice() {
            [Piece::Template(text)] => vocab.tokenize(text.as_bytes(), false, true),
            pieces => self.tokenize_pieces(vocab, pieces)?,
        };
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    fn length(&self, context_length: u32) -> Length {
        Length { longest_token_bytes: self.longest_token_bytes, context_length }
    }

    /// As many tokens a text has at least.
    pub(crate) fn fewest_tokens(&self, text: &str) -> usize {
        let skips = self.skips && text.len() <= SKIPPED_BYTES_MAX;
        if skips { 0 } else { text.len() / self.longest_token_bytes }
    }

    /// So much of a text as has `tokens` tokens at least.
    pub(crate) fn beginning<'t>(&self, text: &'t str, tokens: usize) -> &'t str {
        &text[..text.ceil_char_boundary((tokens + 1) * self.longest_token_bytes)]
    }

    /// Divides the prompt at the template's own control tokens, as llama.cpp does, and takes what
    /// is between for plain text. Dividing at the contents instead would give other tokens, for
    /// those of plain text may span the border of template and content.
    pub(crate) fn tokenize_pieces(
        &self,
        vocab: &LlamaVocab<'_>,
        pieces: &[Piece],
    ) -> Result<Vec<LlamaToken>, EngineError> {
        let mut prompt = DividedPrompt { vocab, tokens: Vec::new(), text: String::new(), strip_start: false };
        for piece in pieces {
            let template = match piece {
                Piece::Content(content) => {
                    prompt.text.push_str(content);
                    continue;
                }
                Piece::Template(template) => template,
            };
            let mut at = 0;
            for found in self.control_texts.finder.find_iter(template) {
                prompt.text.push_str(&template[at..found.start()]);
                prompt.control_token(&self.control[found.pattern().as_usize()])?;
                at = found.end();
            }
            prompt.text.push_str(&template[at..]);
        }
        prompt.end_text(false)?;
        Ok(prompt.tokens)
    }
}

struct DividedPrompt<'a> {
    vocab: &'a LlamaVocab<'a>,
    tokens: Vec<LlamaToken>,
    /// The plain text since the last control token.
    text: String,
    strip_start: bool,
}

impl DividedPrompt<'_> {
    fn control_token(&mut self, control: &ControlToken) -> Result<(), EngineError> {
        self.end_text(control.strips_before)?;
        self.tokens.push(control.token);
        self.strip_start = control.strips_after;
        Ok(())
    }

    fn end_text(&mut self, strip_end: bool) -> Result<(), EngineError> {
        let mut text = self.text.as_str();
        if self.strip_start {
            text = text.trim_ascii_start();
        }
        if strip_end {
            text = text.trim_ascii_end();
        }
        let tokens = self.vocab.tokenize(text.as_bytes(), false, false);
        // A vocabulary can declare a token that ends the answer as a user's own, and those are
        // recognised even in plain text.
        let control = |&&token: &&LlamaToken| self.vocab.is_control(token) || self.vocab.is_eog(token);
        if let Some(&token) = tokens.iter().find(control) {
            let text = self.vocab.text(token).unwrap_or_default();
            return Err(refuse(&text.to_string_lossy()));
        }
        self.tokens.extend(tokens);
        self.text.clear();
        Ok(())
    }
}

/// The text that the vocabulary has for a token; empty for none.
fn text(vocab: &LlamaVocab<'_>, token: LlamaToken) -> String {
    let text = (token.0 >= 0).then(|| vocab.text(token)).flatten();
    text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// # Errors
/// [`EngineError::BadRequest`] for a text that the stack would not suffice for.
pub(crate) fn check_runs(text: &str) -> Result<(), EngineError> {
    if text.len() <= RUN_MAX {
        return Ok(());
    }
    let (mut run, mut before) = (0, None);
    for c in text.chars() {
        let kind = (c.is_whitespace(), c.is_ascii_digit(), c.is_ascii_punctuation());
        run = if before == Some(kind) { run + 1 } else { 1 };
        before = Some(kind);
        if run > RUN_MAX {
            return Err(EngineError::bad_request(format!(
                "there are over {RUN_MAX} letters, digits, signs or spaces in a row: divide them"
            )));
        }
    }
    Ok(())
}
