//! The channels in which gpt-oss writes: `<|channel|>NAME<|message|>TEXT<|end|>`, again and again.

use crate::answer::call::{JsonValue, Step};
use crate::answer::{Calling, Out};
use crate::tools::is_name;

const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
const CONSTRAIN: &str = "<|constrain|>";

/// The texts of the control tokens that tell channels apart.
pub(crate) const SIGNS: [&str; 7] =
    ["<|start|>", CHANNEL, MESSAGE, CONSTRAIN, "<|end|>", "<|call|>", "<|return|>"];

/// A head says who speaks, where, and to whom; longer ones are none.
const MOST_HEAD_BYTES: usize = 256;

/// Takes apart an answer in channels.
#[derive(Debug, Clone)]
pub(crate) struct Harmony {
    pub(super) calls: Calling,
    part: Part,
    /// What may become a sign.
    held: String,
}

#[derive(Debug, Clone)]
enum Part {
    /// Before a message: its head so far.
    Head(String),
    Text,
    Reasoning,
    Call {
        arguments: JsonValue,
        is_empty: bool,
        is_whole: bool,
    },
}

impl Harmony {
    pub(super) fn new(calls: Calling) -> Self {
        Self { calls, part: Part::Head(String::new()), held: String::new() }
    }

    pub(super) fn feed(&mut self, c: char, out: &mut Out) {
        if self.calls.is_over() {
            return;
        }
        self.held.push(c);
        while let Some(first) = self.held.chars().next() {
            if let Some(sign) = SIGNS.into_iter().find(|sign| *sign == self.held) {
                self.held.clear();
                self.heed(sign, out);
            } else if SIGNS.iter().any(|sign| sign.starts_with(&self.held)) {
                return;
            } else {
                let text: String = self.held.drain(..first.len_utf8()).collect();
                self.tell(&text, out);
            }
        }
    }

    fn heed(&mut self, sign: &'static str, out: &mut Out) {
        match (&mut self.part, sign) {
            (Part::Head(head), CHANNEL | CONSTRAIN) => {
                head.push_str(sign);
                return;
            }
            (Part::Head(head), MESSAGE) => {
                let head = std::mem::take(head);
                self.begin(&head, out);
                return;
            }
            // A head without a message says nothing.
            (Part::Head(_) | Part::Text | Part::Reasoning, _) => {}
            (Part::Call { .. }, _) => self.end_call(out),
        }
        self.part = Part::Head(if sign == CHANNEL { CHANNEL.to_owned() } else { String::new() });
    }

    /// Begins a message that has this head.
    fn begin(&mut self, head: &str, out: &mut Out) {
        let recipient = head
            .split_once("to=")
            .map(|(_, to)| to.split(|c: char| c.is_whitespace() || c == '<').next().unwrap_or_default());
        let tool = recipient.map(|recipient| recipient.strip_prefix("functions.").unwrap_or(recipient));
        let channel = head.split_once(CHANNEL).map_or(head, |(_, channel)| channel).trim_start();
        self.part = match tool {
            Some(tool) if is_name(tool) && !self.calls.tools.is_empty() => {
                self.calls.begin(tool, out);
                Part::Call { arguments: JsonValue::default(), is_empty: true, is_whole: false }
            }
            _ if channel.starts_with("analysis") => Part::Reasoning,
            _ => Part::Text,
        };
    }

    fn tell(&mut self, text: &str, out: &mut Out) {
        match &mut self.part {
            Part::Head(head) => {
                head.push_str(text);
                if head.len() > MOST_HEAD_BYTES {
                    let text = std::mem::take(head);
                    self.part = Part::Text;
                    out.text(&text);
                }
            }
            Part::Text => out.text(text),
            Part::Reasoning => out.reasoning(text),
            Part::Call { arguments, is_empty, is_whole } => {
                *is_empty = false;
                for c in text.chars() {
                    *is_whole = arguments.feed(c) == Step::Done || *is_whole && c.is_whitespace();
                }
                self.calls.arguments(text, out);
            }
        }
    }

    fn end_call(&mut self, out: &mut Out) {
        let Part::Call { is_empty, is_whole, .. } = self.part else { return };
        if is_empty {
            self.calls.arguments("{}", out);
        }
        self.calls.complete += u32::from(is_empty || is_whole);
    }

    pub(super) fn finish(&mut self, out: &mut Out) {
        let rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            self.tell(&rest, out);
        }
        // The sign at a call's end ends the answer, too, and is not shown.
        self.end_call(out);
        if let Part::Head(head) = std::mem::replace(&mut self.part, Part::Text) {
            out.text(&head);
        }
    }
}
