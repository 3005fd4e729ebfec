//! From a conversation, or a text to go on with, to the tokens of a prompt.
//!
//! Control tokens come from the template alone. A message may contain the text of one, and there
//! it is text; otherwise a user could speak as the system.

use std::time::SystemTime;

use aho_corasick::{AhoCorasick, MatchKind};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::LlamaVocab;

use crate::error::EngineError;
use crate::request::{GenerateRequest, Message};
use crate::template::{ChatTemplate, Piece};

/// A model's chat template with what is needed to tokenise what it renders.
pub(crate) struct PromptTokenizer {
    /// `None` for a model that is not made for chats, which still goes on with a text.
    template: Option<ChatTemplate>,
    /// Finds the texts of `control`, the pattern's number being the index.
    control_texts: AhoCorasick,
    control: Vec<ControlToken>,
    /// The token to begin every prompt with, if the model wants one.
    pub(crate) bos: Option<LlamaToken>,
    pub(crate) longest_token_bytes: usize,
}

struct ControlToken {
    token: LlamaToken,
    text: String,
    /// Whether spaces before, or after, the token belong to it.
    strips_before: bool,
    strips_after: bool,
}

impl PromptTokenizer {
    pub(crate) fn new(model: &LlamaModel) -> Result<Self, EngineError> {
        let vocab = model.vocab();
        let text = |token: LlamaToken| {
            let text = (token.0 >= 0).then(|| vocab.text(token)).flatten();
            text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let template = match model.chat_template(None) {
            Ok(source) => {
                let source = source.as_c_str().to_string_lossy();
                Some(ChatTemplate::compile(&source, text(vocab.bos()), text(vocab.eos()))?)
            }
            Err(_) => None,
        };

        let mut control = Vec::new();
        let mut longest_token_bytes = 1;
        for token in vocab.tokens() {
            longest_token_bytes =
                longest_token_bytes.max(vocab.text(token).map_or(0, |text| text.count_bytes()));
            let attributes = vocab.attr(token);
            let special = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown;
            if !attributes.intersects(special) && !vocab.is_eog(token) {
                continue;
            }
            let text = text(token);
            if !text.is_empty() {
                control.push(ControlToken {
                    token,
                    text,
                    strips_before: attributes.contains(LlamaTokenAttr::LStrip),
                    strips_after: attributes.contains(LlamaTokenAttr::RStrip),
                });
            }
        }
        let control_texts = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(control.iter().map(|control| &control.text))
            .map_err(|error| EngineError::Internal {
                reason: format!("the vocabulary has too many control tokens: {error}"),
            })?;
        let bos = (vocab.should_add_bos() && vocab.bos().0 >= 0).then(|| vocab.bos());
        Ok(Self { template, control_texts, control, bos, longest_token_bytes })
    }

    /// Tokenises what is to be decoded before the answer: the rendered messages or the prompt.
    ///
    /// # Errors
    /// [`EngineError::ContextFull`] for a text too long to be worth counting its tokens, and the
    /// template's errors. [`EngineError::BadRequest`] for a message with a control token's text
    /// that the template changes, so that the text cannot be told from the template's own.
    pub(crate) fn tokenize(
        &self,
        vocab: &LlamaVocab<'_>,
        request: &GenerateRequest,
        now: SystemTime,
        context_length: u32,
    ) -> Result<Vec<LlamaToken>, EngineError> {
        let mut tokens = match &request.prompt {
            Some(text) => {
                self.check_length(text, context_length)?;
                self.tokenize_pieces(vocab, &[Piece::Content(text)])?
            }
            None => self.tokenize_messages(vocab, &request.messages, now, context_length)?,
        };
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    fn tokenize_messages(
        &self,
        vocab: &LlamaVocab<'_>,
        messages: &[Message],
        now: SystemTime,
        context_length: u32,
    ) -> Result<Vec<LlamaToken>, EngineError> {
        let Some(template) = &self.template else {
            return Err(EngineError::Template {
                reason: "the model has none, so it is not made for chats".to_owned(),
            });
        };
        let rendered = template.render(messages, now)?;
        self.check_length(&rendered, context_length)?;
        let suspicious = messages.iter().find_map(|message| self.control_texts.find(&message.content));
        let Some(found) = suspicious else {
            return Ok(vocab.tokenize(rendered.as_bytes(), false, true));
        };
        match template.pieces(&rendered, messages, now)? {
            Some(pieces) => self.tokenize_pieces(vocab, &pieces),
            None => Err(refuse(&self.control[found.pattern().as_usize()].text)),
        }
    }

    fn check_length(&self, text: &str, context_length: u32) -> Result<(), EngineError> {
        let fewest_tokens = self.fewest_tokens(text);
        if fewest_tokens > context_length as usize {
            return Err(EngineError::ContextFull {
                prompt_tokens: u32::try_from(fewest_tokens).unwrap_or(u32::MAX),
                context_length,
            });
        }
        Ok(())
    }

    /// As many tokens a text has at least.
    pub(crate) fn fewest_tokens(&self, text: &str) -> usize {
        text.len() / self.longest_token_bytes
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
        pieces: &[Piece<'_>],
    ) -> Result<Vec<LlamaToken>, EngineError> {
        let mut prompt = DividedPrompt { vocab, tokens: Vec::new(), text: String::new(), strip_start: false };
        for piece in pieces {
            let template = match *piece {
                Piece::Content(content) => {
                    prompt.text.push_str(content);
                    continue;
                }
                Piece::Template(template) => template,
            };
            let mut at = 0;
            for found in self.control_texts.find_iter(template) {
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

fn refuse(control: &str) -> EngineError {
    EngineError::bad_request(format!(
        "the request contains `{control}`, which is a control token of this model: leave it out or \
         write it differently"
    ))
}
