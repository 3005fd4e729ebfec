//! What a model writes, taken apart: its answer, what it thinks before, and its calls of tools.
//!
//! Each family of models has signs of its own for these, among the text or as tokens. The text is taken
//! character by character, so that what comes out does not depend on how it is divided into tokens. What turns
//! out to be no call comes out as the text that it is.

mod call;
mod format;
mod harmony;

use crate::answer::call::CallReader;
use crate::answer::format::Calls;
pub(crate) use crate::answer::format::Format;
use crate::answer::harmony::Harmony;
use crate::tools::Tool;

/// So much is held back at most of what may become a call. More is text.
const MOST_HELD_BYTES: usize = 256 << 10;

/// So much white space is held back at most, because a sign may follow whose it is.
const MOST_SPACE_BYTES: usize = 256;

/// A piece of what a model wrote. None has an empty text, but for a call without arguments so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnswerEvent {
    Text(String),
    /// What the model thinks before it answers.
    Reasoning(String),
    /// A call begins.
    Call {
        index: u32,
        name: String,
    },
    /// The arguments of the call that has begun last go on.
    Arguments {
        index: u32,
        text: String,
    },
}

/// Takes apart what a model writes.
#[derive(Debug, Clone)]
pub(crate) enum AnswerParser {
    /// All of it is the answer.
    Plain,
    Signs(Box<Signs>),
    Harmony(Box<Harmony>),
}

impl AnswerParser {
    /// Takes all for the answer.
    pub(crate) fn plain() -> Self {
        Self::Plain
    }

    /// `single` ends the answer with the first call; `prompt` is what the model goes on from.
    pub(crate) fn new(format: Format, tools: &[Tool], single: bool, prompt: &str) -> Self {
        let calls = Calling::new(tools, single);
        match format.calls {
            Calls::Harmony => Self::Harmony(Box::new(Harmony::new(calls))),
            Calls::None if format.thinking.is_none() => Self::Plain,
            Calls::None | Calls::Between(_) | Calls::Bare => {
                Self::Signs(Box::new(Signs::new(format, calls, prompt)))
            }
        }
    }

    /// Takes all for one call, which is JSON and begins with the answer.
    pub(crate) fn one_call(tools: &[Tool]) -> Self {
        let calls = Calling::new(tools, true);
        let mut signs = Signs::new(Format::default(), calls, "");
        signs.state = State::Call(CallReader::new(Calls::None));
        Self::Signs(Box::new(signs))
    }

    /// Takes more of what the model wrote, and tells what it is as far as that is certain. Returns whether the
    /// answer is over.
    pub(crate) fn push(&mut self, text: &str, tell: &mut dyn FnMut(AnswerEvent)) -> bool {
        let mut out = Out::default();
        match self {
            Self::Plain => out.text(text),
            Self::Signs(parser) => text.chars().for_each(|c| parser.feed(c, &mut out)),
            Self::Harmony(parser) => text.chars().for_each(|c| parser.feed(c, &mut out)),
        }
        out.events.into_iter().for_each(tell);
        self.calls().is_some_and(Calling::is_over)
    }

    /// Takes note that nothing follows, and tells what was held back.
    pub(crate) fn finish(&mut self, tell: &mut dyn FnMut(AnswerEvent)) {
        let mut out = Out::default();
        match self {
            Self::Plain => {}
            Self::Signs(parser) => parser.finish(&mut out),
            Self::Harmony(parser) => parser.finish(&mut out),
        }
        out.events.into_iter().for_each(tell);
    }

    /// Whether there was a call, and a whole one.
    pub(crate) fn has_called(&self) -> bool {
        self.calls().is_some_and(|calls| calls.complete > 0)
    }

    /// Whether tokens of signs are to be shown to it.
    pub(crate) fn knows_signs(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    fn calls(&self) -> Option<&Calling> {
        match self {
            Self::Plain => None,
            Self::Signs(parser) => Some(&parser.calls),
            Self::Harmony(parser) => Some(&parser.calls),
        }
    }
}

/// The calls of an answer.
#[derive(Debug, Clone)]
struct Calling {
    /// The names of the tools that the model knows of; none are called if there are none.
    tools: Vec<String>,
    single: bool,
    begun: u32,
    complete: u32,
}

impl Calling {
    fn new(tools: &[Tool], single: bool) -> Self {
        Self { tools: tools.iter().map(|tool| tool.name.clone()).collect(), single, begun: 0, complete: 0 }
    }

    fn begin(&mut self, name: &str, out: &mut Out) {
        out.events.push(AnswerEvent::Call { index: self.begun, name: name.to_owned() });
        self.begun += 1;
    }

    fn arguments(&self, text: &str, out: &mut Out) {
        out.arguments(self.begun.saturating_sub(1), text);
    }

    fn is_over(&self) -> bool {
        self.single && self.complete > 0
    }
}

/// What is told, with what belongs together as one.
#[derive(Debug, Default)]
struct Out {
    events: Vec<AnswerEvent>,
}

impl Out {
    fn text(&mut self, more: &str) {
        match self.events.last_mut() {
            _ if more.is_empty() => {}
            Some(AnswerEvent::Text(text)) => text.push_str(more),
            _ => self.events.push(AnswerEvent::Text(more.to_owned())),
        }
    }

    fn reasoning(&mut self, more: &str) {
        match self.events.last_mut() {
            _ if more.is_empty() => {}
            Some(AnswerEvent::Reasoning(text)) => text.push_str(more),
            _ => self.events.push(AnswerEvent::Reasoning(more.to_owned())),
        }
    }

    fn arguments(&mut self, call: u32, more: &str) {
        match self.events.last_mut() {
            _ if more.is_empty() => {}
            Some(AnswerEvent::Arguments { index, text }) if *index == call => text.push_str(more),
            _ => self.events.push(AnswerEvent::Arguments { index: call, text: more.to_owned() }),
        }
    }
}

/// Takes apart an answer in which signs stand around what is not plain text.
///
/// White space beside a sign belongs to the sign.
#[derive(Debug, Clone)]
pub(crate) struct Signs {
    format: Format,
    calls: Calling,
    state: State,
    /// What is not told yet: white space, and behind it what may become a sign or a call.
    held: String,
    /// Nothing but white space was written so far.
    is_at_start: bool,
    /// A sign was the last that was written, but for white space.
    is_after_sign: bool,
}

#[derive(Debug, Clone)]
enum State {
    Text {
        /// Only signs and white space came after a call.
        after_call: bool,
    },
    Thinking,
    Call(CallReader),
}

/// What a sign means.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Think,
    EndThink,
    Call,
    /// The call begins with the sign's own text.
    CallItself,
    /// It belongs to a call's end.
    Nothing,
}

impl Signs {
    fn new(format: Format, calls: Calling, prompt: &str) -> Self {
        let opened = format.thinking.is_some_and(|(open, _)| prompt.trim_end().ends_with(open));
        Self {
            format,
            calls,
            state: if opened { State::Thinking } else { State::Text { after_call: false } },
            held: String::new(),
            is_at_start: true,
            is_after_sign: opened,
        }
    }

    fn feed(&mut self, c: char, out: &mut Out) {
        if self.calls.is_over() {
            return;
        }
        self.held.push(c);
        let State::Call(reader) = &mut self.state else {
            return self.release(out);
        };
        let before = (self.calls.begun, self.calls.complete);
        let step = reader.feed(c, &mut self.calls, out);
        if reader.is_telling() || (self.calls.begun, self.calls.complete) != before {
            self.held.clear();
        }
        match step {
            call::Step::More if self.held.len() <= MOST_HELD_BYTES => {}
            call::Step::More => self.give_up_call("", out),
            call::Step::Done => {
                self.held.clear();
                self.state = State::Text { after_call: true };
                self.is_after_sign = true;
            }
            call::Step::Wrong => {
                self.held.truncate(self.held.len().saturating_sub(c.len_utf8()));
                self.give_up_call(c.encode_utf8(&mut [0; 4]), out);
            }
        }
    }

    /// Takes what is held for text, and goes on with `rest`.
    fn give_up_call(&mut self, rest: &str, out: &mut Out) {
        let text = std::mem::take(&mut self.held);
        self.state = State::Text { after_call: false };
        self.tell(&text, out);
        self.held.push_str(rest);
        self.release(out);
    }

    /// Tells what is certain to be text, and heeds a sign that is complete.
    fn release(&mut self, out: &mut Out) {
        loop {
            let space = self.held.len() - self.held.trim_start().len();
            let rest = &self.held[space..];
            let Some(first) = rest.chars().next() else {
                if space > MOST_SPACE_BYTES {
                    self.tell_held(space, out);
                }
                return;
            };
            let signs = self.signs();
            if let Some((sign, meaning)) = signs.iter().find(|(sign, _)| rest.starts_with(sign)) {
                let sign = sign.len();
                return self.heed(space, sign, *meaning, out);
            }
            if signs.iter().any(|(sign, _)| sign.starts_with(rest)) {
                return;
            }
            self.tell_held(space + first.len_utf8(), out);
        }
    }

    /// The signs that mean something here. None is the beginning of another.
    fn signs(&self) -> Vec<(&'static str, Meaning)> {
        let mut signs = Vec::new();
        let after_call = match self.state {
            State::Thinking => {
                signs.extend(self.format.thinking.map(|(_, close)| (close, Meaning::EndThink)));
                return signs;
            }
            State::Text { after_call } => after_call,
            State::Call(_) => return signs,
        };
        if self.is_at_start {
            signs.extend(self.format.thinking.map(|(open, _)| (open, Meaning::Think)));
        }
        if self.calls.tools.is_empty() {
            return signs;
        }
        match self.format.calls {
            Calls::Between(between) => {
                signs.extend(between.open.iter().map(|open| (*open, Meaning::Call)));
                if after_call {
                    signs.extend(between.close.iter().map(|close| (*close, Meaning::Nothing)));
                }
            }
            Calls::Bare => {
                signs.push((format::PYTHON_TAG, Meaning::Call));
                if self.is_at_start || after_call {
                    signs.push(("{", Meaning::CallItself));
                }
                if after_call {
                    signs.push((";", Meaning::Nothing));
                }
            }
            Calls::None | Calls::Harmony => {}
        }
        signs
    }

    fn heed(&mut self, space: usize, sign: usize, meaning: Meaning, out: &mut Out) {
        match meaning {
            Meaning::Think => self.state = State::Thinking,
            Meaning::EndThink => self.state = State::Text { after_call: false },
            Meaning::Nothing => {}
            Meaning::Call | Meaning::CallItself => {
                let mut reader = CallReader::new(self.format.calls);
                if matches!(meaning, Meaning::CallItself) {
                    reader.feed('{', &mut self.calls, out);
                }
                self.state = State::Call(reader);
                // The rest is kept: it may turn out to be text.
                self.is_at_start = false;
                return;
            }
        }
        self.held.drain(..space + sign);
        self.is_after_sign = true;
        self.is_at_start |= matches!(meaning, Meaning::EndThink);
        self.release(out);
    }

    fn tell_held(&mut self, len: usize, out: &mut Out) {
        let text: String = self.held.drain(..len).collect();
        self.tell(&text, out);
    }

    fn tell(&mut self, text: &str, out: &mut Out) {
        let text = if self.is_after_sign { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.is_after_sign = false;
        match &mut self.state {
            State::Thinking => out.reasoning(text),
            State::Text { after_call } => {
                *after_call = false;
                self.is_at_start &= text.trim_start().is_empty();
                out.text(text);
            }
            State::Call(_) => out.text(text),
        }
    }

    fn finish(&mut self, out: &mut Out) {
        if let State::Call(reader) = &mut self.state {
            if reader.finish(&mut self.calls, out) {
                self.held.clear();
            }
            self.state = State::Text { after_call: false };
        }
        let rest = std::mem::take(&mut self.held);
        self.tell(&rest, out);
    }
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
