//! From a request to a prompt that fits.

use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use serde_json::Value;

use crate::answer::AnswerParser;
use crate::chat::Chat;
use crate::constraint::Constraint;
use crate::error::EngineError;
use crate::llama::Llama;
use crate::request::{GenerateRequest, Sampling};
use crate::tokenizer::PromptTokenizer;
use crate::truncate::LeftOut;

/// Makes prompts for one engine, on any thread: a chat template may take its time, and so may a long text.
pub struct Prompter {
    chat: Chat,
    pub(crate) tokenizer: PromptTokenizer,
    /// Control tokens whose text tells how an answer is to be understood.
    markers: Vec<LlamaToken>,
    // Dropped before `llama`.
    pub(crate) model: Arc<LlamaModel>,
    _llama: Arc<Llama>,
    pub(crate) context_length: u32,
    pub(crate) is_causal: bool,
}

/// A request that was found to fit, ready to be answered by the engine that it was prepared for.
#[derive(Debug)]
pub struct Prompt {
    pub(crate) tokens: Vec<LlamaToken>,
    pub(crate) scope: Option<String>,
    pub(crate) sampling: Sampling,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
    pub(crate) logprobs: Option<u32>,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) parser: AnswerParser,
    pub(crate) left_out: Option<LeftOut>,
}

impl Prompt {
    /// The prompt's tokens, with those that the chat template adds.
    pub fn token_count(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// What was left out because it did not fit, where the request allowed that.
    pub fn left_out(&self) -> Option<LeftOut> {
        self.left_out
    }
}

fn writes_none() -> EngineError {
    EngineError::bad_request("the model makes embeddings of texts, and writes none")
}

/// A request's prompt in tokens, with what understands the answer.
pub(crate) type Tokenized = (Vec<LlamaToken>, AnswerParser);

impl Prompter {
    pub(crate) fn new(
        chat: Chat,
        tokenizer: PromptTokenizer,
        (model, llama): (Arc<LlamaModel>, Arc<Llama>),
        context_length: u32,
        has_memory: bool,
    ) -> Self {
        let markers = tokenizer.control_tokens(&chat.format().markers());
        let architecture = model.meta_val_str("general.architecture").unwrap_or_default();
        let causal = model.meta_val_str(&format!("{architecture}.attention.causal"));
        let is_causal = has_memory && causal.as_deref() != Ok("false");
        Self { chat, tokenizer, markers, model, _llama: llama, context_length, is_causal }
    }

    /// Checks a request and turns it into the tokens of a prompt. Nothing is computed. Blocks until the chat
    /// template has done its part, for a second at most.
    ///
    /// # Errors
    /// - [`EngineError::BadRequest`] for values that are not allowed, messages that the model's chat template
    ///   refuses, such as two of the user's in a row, and the text of a control token where it cannot be told
    ///   from the template's own
    /// - [`EngineError::ContextFull`] when the prompt leaves no room for an answer
    /// - [`EngineError::Template`] when the chat template fails, or the model has none
    /// - [`EngineError::Internal`] when no process can be started for the template
    pub fn prepare(&self, request: &GenerateRequest) -> Result<Prompt, EngineError> {
        if !self.is_causal {
            return Err(writes_none());
        }
        request.validate()?;
        let vocabulary = self.model.vocab().n_tokens();
        if let Some((token, _)) =
            request.sampling.logit_bias.iter().find(|(token, _)| i64::from(*token) >= i64::from(vocabulary))
        {
            return Err(EngineError::bad_request(format!(
                "logit_bias names token {token}, but the model has tokens 0 to {}",
                vocabulary - 1
            )));
        }
        let ((tokens, parser), left_out) = match self.tokenize(request, self.context_length - 1) {
            Err(EngineError::ContextFull { .. }) if request.truncate => self.shorten(request)?,
            tokenized => (tokenized?, None),
        };
        Ok(Prompt {
            tokens,
            scope: request.scope.clone(),
            sampling: request.sampling.clone(),
            max_tokens: request.max_tokens,
            stop: request.stop.clone(),
            logprobs: request.logprobs,
            constraint: request.constraint.clone(),
            parser,
            left_out,
        })
    }

    /// The tokens of a request's prompt, whether or not they fit the context. Nothing is computed. Blocks like
    /// [`Prompter::prepare`].
    ///
    /// # Errors
    /// Those of [`Prompter::prepare`], of which [`EngineError::ContextFull`] is for a text that is so much too long that
    /// its tokens are not worth counting.
    pub fn count(&self, request: &GenerateRequest) -> Result<u32, EngineError> {
        if !self.is_causal {
            return Err(writes_none());
        }
        request.validate()?;
        let (tokens, _) = self.tokenize(request, u32::MAX)?;
        Ok(tokens.len() as u32)
    }

    /// The JSON schema that the answer must follow, if the request requires a call.
    pub fn required_call(&self, request: &GenerateRequest) -> Option<Value> {
        self.chat.required_call(request)
    }

    /// The tokens of a request's prompt, if they are at most `most`.
    pub(crate) fn tokenize(&self, request: &GenerateRequest, most: u32) -> Result<Tokenized, EngineError> {
        let context_length = self.context_length;
        let rendered = self.chat.render(request)?;
        let tokens = self.tokenizer.tokenize(&self.model.vocab(), &rendered, context_length)?;
        if tokens.is_empty() {
            return Err(EngineError::Template {
                reason: "it makes an empty prompt of the messages".to_owned(),
            });
        }
        if tokens.len() > most as usize {
            return Err(EngineError::ContextFull {
                prompt_tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
                context_length,
            });
        }
        Ok((tokens, rendered.parser))
    }

    /// Whether a control token's text tells how an answer is to be understood.
    pub(crate) fn is_marker(&self, token: LlamaToken) -> bool {
        self.markers.contains(&token)
    }
}
