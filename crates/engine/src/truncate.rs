//! Making a prompt fit that does not.

use llama_cpp_2::token::LlamaToken;

use crate::error::EngineError;
use crate::prompter::{Prompter, Tokenized};
use crate::request::{GenerateRequest, Message, Role};

/// What a prompt has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// So many messages, the oldest ones.
    Messages(usize),
    /// So many characters at its beginning.
    Characters(usize),
}

impl Prompter {
    /// The tokens of as much of a prompt as fits, where the whole does not.
    pub(crate) fn shorten(
        &self,
        request: &GenerateRequest,
    ) -> Result<(Tokenized, Option<LeftOut>), EngineError> {
        let context = self.context_length;
        let room = request.max_tokens.unwrap_or(context / 4).min(context / 2).max(1);
        let most = context.saturating_sub(room).max(1);
        match &request.prompt {
            Some(prompt) => self.shorten_text(request, prompt, most),
            None => self.shorten_chat(request, most),
        }
    }

    fn shorten_chat(
        &self,
        request: &GenerateRequest,
        most: u32,
    ) -> Result<(Tokenized, Option<LeftOut>), EngineError> {
        // Templates expect a user's message first, behind the system's.
        let users = request.messages.iter().enumerate().filter(|(_, message)| message.role == Role::User);
        let cuts: Vec<usize> = users.map(|(index, _)| index).collect();
        let mut attempt = GenerateRequest { constraint: None, ..request.clone() };
        let mut tokenize = |cut: usize, most: u32| {
            attempt.messages = after(&request.messages, cut);
            match self.tokenize(&attempt, most) {
                Ok(tokenized) => Ok(Ok((tokenized, request.messages.len() - attempt.messages.len()))),
                Err(full @ EngineError::ContextFull { .. }) => Ok(Err(full)),
                Err(error) => Err(error),
            }
        };
        let (mut from, mut to) = (0, cuts.len());
        let mut found = None;
        while from < to {
            let middle = from.midpoint(to);
            match tokenize(cuts[middle], most)? {
                Ok(fits) => (to, found) = (middle, Some(fits)),
                Err(_) => from = middle + 1,
            }
        }
        if found.is_none() {
            // Without room for a long answer, if need be.
            let last = cuts.last().copied().unwrap_or(0);
            found = Some(tokenize(last, self.context_length - 1)??);
        }
        let (tokenized, messages) = found.expect("set right before");
        Ok((tokenized, Some(LeftOut::Messages(messages))))
    }

    fn shorten_text(
        &self,
        request: &GenerateRequest,
        prompt: &str,
        most: u32,
    ) -> Result<(Tokenized, Option<LeftOut>), EngineError> {
        let most_bytes = most as usize * self.tokenizer.longest_token_bytes;
        let end = &prompt[prompt.ceil_char_boundary(prompt.len().saturating_sub(most_bytes))..];
        let end = GenerateRequest { prompt: Some(end.to_owned()), constraint: None, ..request.clone() };
        let (mut tokens, parser) = self.tokenize(&end, u32::MAX)?;
        let bos = self.tokenizer.bos.filter(|bos| tokens.first() == Some(bos));
        let fixed = usize::from(bos.is_some());
        let vocab = self.model.vocab();
        let begins_within_a_character = |token: &LlamaToken| {
            matches!(vocab.token_to_piece(*token, false, None).first(), Some(0x80..0xc0))
        };
        let mut cut = tokens.len().saturating_sub(most as usize) + fixed;
        while tokens.get(cut).is_some_and(begins_within_a_character) {
            cut += 1;
        }
        tokens.drain(fixed..cut);
        let kept = vocab.detokenize(&tokens[fixed..], false, false);
        let kept = String::from_utf8_lossy(&kept).chars().count();
        Ok(((tokens, parser), Some(LeftOut::Characters(prompt.chars().count().saturating_sub(kept)))))
    }
}

/// The messages from `cut` on, with the system's before it.
fn after(messages: &[Message], cut: usize) -> Vec<Message> {
    let (before, after) = messages.split_at(cut);
    let systems = before.iter().filter(|message| message.role == Role::System);
    systems.chain(after).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::{TestEngine, greedy, long_text};

    fn chat(messages: &[(Role, &str)]) -> GenerateRequest {
        let messages = messages.iter().map(|&(role, content)| Message::new(role, content));
        GenerateRequest { messages: messages.collect(), truncate: true, max_tokens: Some(100), ..greedy("") }
    }

    fn text(engine: &TestEngine, request: &GenerateRequest) -> (String, Option<LeftOut>) {
        let prompt = engine.engine.prompter().prepare(request).expect("it is made to fit");
        assert!(prompt.tokens.len() < engine.engine.info().context_length as usize);
        let text = engine.engine.model.vocab().detokenize(&prompt.tokens, false, true);
        (String::from_utf8_lossy(&text).into_owned(), prompt.left_out())
    }

    #[test]
    fn the_oldest_messages_go_and_the_systems_and_the_last_stay() {
        let engine = TestEngine::load();
        let long = long_text(330);
        let mut request = chat(&[
            (Role::System, "You are Seven."),
            (Role::User, &format!("First. {long}")),
            (Role::Assistant, "One."),
            (Role::User, &format!("Second. {long}")),
            (Role::Assistant, "Two."),
            (Role::User, &format!("Third. {long}")),
            (Role::Assistant, "Three."),
            (Role::User, "Last?"),
        ]);
        let (text, left_out) = text(&engine, &request);
        assert_eq!(left_out, Some(LeftOut::Messages(2)));
        assert!(
            text.contains("You are Seven.") && text.contains("Second.") && text.contains("Last?"),
            "{text}"
        );
        assert!(!text.contains("First.") && !text.contains("One."), "{text}");
        request.truncate = false;
        assert!(matches!(engine.engine.prompter().prepare(&request), Err(EngineError::ContextFull { .. })));
    }

    #[test]
    fn what_fits_stays_whole_and_what_never_fits_is_refused() {
        let engine = TestEngine::load();
        let (_, left_out) = text(&engine, &chat(&[(Role::User, &long_text(900))]));
        assert_eq!(left_out, None);
        // The last message fits, though not with the room that its answer asks for.
        let messages = [(Role::User, "One."), (Role::Assistant, "Yes."), (Role::User, &long_text(980))];
        assert_eq!(text(&engine, &chat(&messages)).1, Some(LeftOut::Messages(2)));
        let refused =
            engine.engine.prompter().prepare(&chat(&[(Role::User, "One."), (Role::User, &long_text(1100))]));
        assert!(matches!(refused, Err(EngineError::ContextFull { .. })), "{refused:?}");
    }

    #[test]
    fn of_thousands_of_messages_the_last_that_fit_stay() {
        let engine = TestEngine::load();
        let messages = [(Role::User, "word"), (Role::Assistant, "word")].repeat(5000);
        let messages = [&messages[..], &[(Role::User, "Last?")]].concat();
        let (text, left_out) = text(&engine, &chat(&messages));
        assert!(text.contains("Last?"));
        assert!(matches!(left_out, Some(LeftOut::Messages(9000..10_000))), "{left_out:?}");
    }

    #[test]
    fn a_raw_prompt_loses_its_beginning() {
        let engine = TestEngine::load();
        for unit in ["word ", "é漢🦀 "] {
            let prompt = format!("{}the end", unit.repeat(40_000));
            let request = GenerateRequest {
                messages: Vec::new(),
                prompt: Some(prompt.clone()),
                truncate: true,
                ..greedy("")
            };
            let (text, left_out) = text(&engine, &request);
            assert!(prompt.ends_with(&text) && text.len() > 300, "{text}");
            let left = prompt.chars().count() - text.chars().count();
            assert_eq!(left_out, Some(LeftOut::Characters(left)));
        }
    }
}
