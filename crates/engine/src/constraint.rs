//! What an answer must be like: JSON that meets a schema, or a text of a grammar.
//!
//! llguidance says which tokens may come next. It goes through all tokens' texts at once, as the tree
//! that they make together, which is built for the model when it is first needed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};

use crate::error::EngineError;
use crate::gbnf;
use crate::llama::Llama;

/// What an answer must be like, as a request says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// JSON that meets this JSON Schema, an object or `true`.
    JsonSchema(Value),
    /// A text of this grammar in llama.cpp's notation.
    Gbnf(String),
}

/// Between two parts of JSON stands nothing, a space, or a line break with so much indentation: small
/// models would otherwise write blanks for ever.
const JSON_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,20}";

/// The tree allows no longer ones, and a model that has them can do without.
const TOKEN_BYTES_MAX: usize = 1000;

/// Bytes that stand for no text: llguidance marks control tokens with it.
const NO_TEXT: u8 = 0xff;

/// How much of llguidance's explanations is passed on.
const REASON_CHARS_MAX: usize = 300;

/// So much work and memory a grammar may take. What is over that fails the request.
fn limits() -> ParserLimits {
    ParserLimits {
        // A kilobyte or two each.
        max_lexer_states: 5_000,
        // 20 ms.
        initial_lexer_fuel: 1_000_000,
        max_grammar_size: 30_000,
        // For one token: 7 ms and 3 ms.
        step_lexer_fuel: 100_000,
        step_max_items: 10_000,
        max_items_in_row: 500,
        precompute_large_lexemes: false,
        // They would contain the answer.
        verbose_errors: false,
    }
}

/// Makes constraints for the answers of one model. It may be used from any thread, beside the engine.
pub struct Constraints {
    model: Arc<LlamaModel>,
    // Is let go of after the model.
    _llama: Arc<Llama>,
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl Constraints {
    pub(crate) fn new(model: Arc<LlamaModel>, llama: Arc<Llama>) -> Self {
        Self { model, _llama: llama, factory: OnceLock::new() }
    }

    /// Does what takes its time before the first constraint, and is done once: up to a second or two for
    /// large vocabularies.
    ///
    /// # Errors
    /// [`EngineError::Internal`] for a vocabulary that cannot be used.
    pub fn warm_up(&self) -> Result<(), EngineError> {
        self.factory().map(drop)
    }

    /// Makes a constraint. Takes at most about a second; a grammar that would take more is too large.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] for what is no schema or grammar, is not supported, is too large or
    /// allows no answer.
    pub fn compile(&self, form: &Form) -> Result<Constraint, EngineError> {
        let factory = self.factory()?;
        let (kind, grammar) = match form {
            Form::JsonSchema(schema) => {
                ("JSON schema", TopLevelGrammar::from_json_schema(json_schema(schema)?))
            }
            Form::Gbnf(text) => ("grammar", TopLevelGrammar::from_lark(gbnf::to_lark(text)?)),
        };
        let parser = factory.create_parser(grammar).map_err(|error| unusable(kind, &error))?;
        let mut matcher = Matcher::new(Ok(parser));
        // Finds what allows no first token, and what is computed for it is kept for the answer.
        matcher.compute_mask().map_err(|error| unusable(kind, &error))?;
        Ok(Constraint { kind, matcher })
    }

    fn factory(&self) -> Result<&ParserFactory, EngineError> {
        let factory = self.factory.get_or_init(|| {
            let build = std::panic::AssertUnwindSafe(|| Ok(factory(&self.model)));
            panic_utils::catch_unwind(build).unwrap_or_else(|error| Err(reason(&error)))
        });
        factory.as_ref().map_err(|reason| EngineError::Internal {
            reason: format!("the model's vocabulary cannot be used for grammars: {reason}"),
        })
    }
}

impl fmt::Debug for Constraints {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Constraints")
    }
}

fn factory(model: &LlamaModel) -> Result<ParserFactory, String> {
    let vocab = model.vocab();
    let ends: Vec<u32> =
        vocab.tokens().filter(|&token| vocab.is_eog(token)).map(|token| token.0 as u32).collect();
    let texts: Vec<Vec<u8>> = vocab
        .tokens()
        .map(|token| {
            if vocab.is_eog(token) || vocab.is_control(token) {
                return Vec::new();
            }
            let text = vocab.token_to_piece(token, false, None);
            if text.len() > TOKEN_BYTES_MAX || text.contains(&NO_TEXT) { Vec::new() } else { text }
        })
        .collect();
    let info = TokRxInfo::new(texts.len() as u32, ends.first().copied().unwrap_or(INVALID_TOKEN));
    let mut trie = TokTrie::from(&info, &texts);
    if ends.len() > 1 {
        trie = trie.with_eos_tokens(&ends);
    }
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
    let mut factory = factory.map_err(|error| reason(&error))?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

fn json_schema(schema: &Value) -> Result<Value, EngineError> {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => {
            return Err(EngineError::bad_request("the JSON schema is `false`, which no answer meets"));
        }
        Value::Object(_) => schema.clone(),
        _ => return Err(EngineError::bad_request("a JSON schema is an object or `true`")),
    };
    schema["x-guidance"] = json!({ "whitespace_pattern": JSON_SPACE });
    Ok(schema)
}

fn unusable(kind: &str, error: &dyn fmt::Display) -> EngineError {
    EngineError::bad_request(format!("the {kind} cannot be used: {}", reason(error)))
}

/// The beginning of an explanation, on one line.
fn reason(explanation: &dyn fmt::Display) -> String {
    let explanation = explanation.to_string();
    // The library's name for it.
    if explanation.contains("NoExtensionBias") {
        return "no text of it comes to an end".to_owned();
    }
    let lines: Vec<&str> = explanation.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = if lines.is_empty() { "nobody says why".to_owned() } else { lines.join(" ") };
    line.chars().take(REASON_CHARS_MAX).collect()
}

/// What an answer must be like, with how far the answer has come. For the model whose [`Constraints`]
/// made it. Clones share what is computed for all answers.
#[derive(Clone)]
pub struct Constraint {
    kind: &'static str,
    matcher: Matcher,
}

impl Constraint {
    /// Which tokens may come next; one at least.
    pub(crate) fn allowed(&mut self) -> Result<Allowed, EngineError> {
        match self.matcher.compute_mask() {
            Ok(tokens) => Ok(Allowed(tokens)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Goes on with a token that was allowed. Says whether the answer is complete and nothing may follow.
    pub(crate) fn accept(&mut self, token: LlamaToken) -> Result<bool, EngineError> {
        match self.matcher.consume_token(token.0 as u32) {
            Ok(()) => Ok(self.matcher.is_stopped()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &dyn fmt::Display) -> EngineError {
        EngineError::bad_request(format!(
            "with this {} the answer cannot go on: {}",
            self.kind,
            reason(error)
        ))
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Constraint({})", self.kind)
    }
}

/// The tokens that may come next.
pub(crate) struct Allowed(SimpleVob);

impl Allowed {
    /// Makes all other tokens impossible.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        const BITS: usize = u32::BITS as usize;

        let words = self.0.as_slice().iter().copied().chain(std::iter::repeat(0));
        for (word, logits) in words.zip(logits.chunks_mut(BITS)) {
            match word {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                _ => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;
