//! Reading one call, or a list of them, as it is written.

use serde_json::{Map, Value};

use crate::answer::format::{Between, Body, Calls};
use crate::answer::{Calling, Out};
use crate::tools::is_name;

/// Deeper than this is nothing that a tool takes.
const MOST_DEPTH: usize = 128;

/// A number of more digits is none that a tool could tell from another.
const MOST_DIGITS: usize = 512;

/// What a character has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    More,
    /// The call, or the list, ended with it.
    Done,
    /// It does not belong to a call.
    Wrong,
}

/// Reads what follows the sign of a call.
#[derive(Debug, Clone)]
pub(super) struct CallReader {
    body: Body,
    /// Whether only known tools are called, because nothing else tells a call from an answer in JSON.
    only_known: bool,
    at: At,
    is_list: bool,
    /// The key, value, name or parameters that are being read.
    text: String,
    name: Option<String>,
    /// The arguments, as long as they are not told: when they come before the name.
    early: Option<String>,
    /// Whether the call that is being read has been told.
    is_told: bool,
    json: JsonValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    /// Before an element of a list.
    Element,
    /// Behind one.
    AfterElement,
    /// Before a key, or the end of an object without any.
    FirstKey,
    /// Before a key.
    Key,
    InKey,
    Colon,
    Value(Field),
    AfterValue,
    /// In what stands before the arguments.
    Head,
    /// In arguments that are told as they come.
    Arguments,
    /// In what is read as a whole, up to where it ends.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Other,
}

impl CallReader {
    pub(super) fn new(calls: Calls) -> Self {
        let body = match calls {
            Calls::Between(&Between { body, .. }) => body,
            _ => Body::Json,
        };
        Self {
            body,
            only_known: matches!(calls, Calls::Bare),
            at: At::Start,
            is_list: false,
            text: String::new(),
            name: None,
            early: None,
            is_told: false,
            json: JsonValue::default(),
        }
    }

    /// Whether the call that is being read has been told, so that it is no text any more.
    pub(super) fn is_telling(&self) -> bool {
        self.is_told
    }

    pub(super) fn feed(&mut self, c: char, calls: &mut Calling, out: &mut Out) -> Step {
        let is_space = c.is_whitespace();
        match self.at {
            At::Start => match (c, self.body) {
                _ if is_space => Step::More,
                ('{', Body::Json | Body::Named(_)) => self.go(At::FirstKey),
                ('[', Body::Json | Body::Named(_)) => {
                    self.is_list = true;
                    self.go(At::Element)
                }
                (_, Body::Json) => Step::Wrong,
                (_, Body::Named(_)) => {
                    self.text.push(c);
                    self.go(At::Head)
                }
                (_, Body::Parameters | Body::KeysAndValues) => {
                    self.text.push(c);
                    self.go(At::Whole)
                }
            },
            At::Element => match c {
                '{' => self.go(At::FirstKey),
                _ if is_space => Step::More,
                _ => Step::Wrong,
            },
            At::AfterElement => match c {
                ',' => self.go(At::Element),
                ']' => Step::Done,
                _ if is_space => Step::More,
                _ => Step::Wrong,
            },
            At::FirstKey | At::Key => match c {
                '"' => {
                    self.begin_value(c);
                    self.go(At::InKey)
                }
                '}' if self.at == At::FirstKey => self.end_object(calls, out),
                _ if is_space => Step::More,
                _ => Step::Wrong,
            },
            At::InKey => match self.continue_value(c) {
                Step::Done => self.go(At::Colon),
                step => step,
            },
            At::Colon => match c {
                ':' => {
                    let field = match unquoted(&self.text).as_deref() {
                        Some("name" | "tool_name") => Field::Name,
                        Some("arguments" | "parameters") => Field::Arguments,
                        _ => Field::Other,
                    };
                    self.json = JsonValue::default();
                    self.text.clear();
                    self.go(At::Value(field))
                }
                _ if is_space => Step::More,
                _ => Step::Wrong,
            },
            At::Value(_) if self.text.is_empty() && is_space => Step::More,
            At::Value(field) => self.value(field, c, calls, out),
            At::AfterValue => match c {
                ',' => self.go(At::Key),
                '}' => self.end_object(calls, out),
                _ if is_space => Step::More,
                _ => Step::Wrong,
            },
            At::Head => self.head(c, calls, out),
            At::Arguments => match self.json.feed(c) {
                Step::Wrong => Step::Wrong,
                step => {
                    calls.arguments(c.encode_utf8(&mut [0; 4]), out);
                    calls.complete += u32::from(step == Step::Done);
                    step
                }
            },
            At::Whole => self.whole(c, calls, out),
        }
    }

    /// Takes note that nothing follows. Returns whether what was read is told.
    pub(super) fn finish(&mut self, calls: &mut Calling, out: &mut Out) -> bool {
        // Some models leave the last sign out.
        self.is_told || self.at == At::Whole && self.end_whole(calls, out)
    }

    fn go(&mut self, at: At) -> Step {
        self.at = at;
        Step::More
    }

    fn begin_value(&mut self, c: char) {
        self.text.clear();
        self.json = JsonValue::default();
        self.continue_value(c);
    }

    fn continue_value(&mut self, c: char) -> Step {
        let step = self.json.feed(c);
        if step != Step::Wrong {
            self.text.push(c);
        }
        step
    }

    fn value(&mut self, field: Field, c: char, calls: &mut Calling, out: &mut Out) -> Step {
        let is_first = self.text.is_empty();
        match self.continue_value(c) {
            Step::More => {
                let is_told = match (field, &self.name) {
                    (Field::Arguments, Some(name)) if self.early.is_none() => {
                        if is_first && c == '{' && !self.is_told {
                            calls.begin(name, out);
                            self.is_told = true;
                        }
                        self.is_told
                    }
                    _ => false,
                };
                if is_told {
                    calls.arguments(c.encode_utf8(&mut [0; 4]), out);
                    // That something was there is enough to know.
                    self.text.truncate(1);
                }
                Step::More
            }
            Step::Done => {
                if self.is_told && field == Field::Arguments {
                    calls.arguments(c.encode_utf8(&mut [0; 4]), out);
                    return self.go(At::AfterValue);
                }
                self.end_value(field, calls)
            }
            // Numbers end with what is no part of them.
            Step::Wrong if self.json.is_whole_number() => match self.end_value(field, calls) {
                Step::More => self.feed(c, calls, out),
                step => step,
            },
            Step::Wrong => Step::Wrong,
        }
    }

    fn end_value(&mut self, field: Field, calls: &Calling) -> Step {
        let text = std::mem::take(&mut self.text);
        match field {
            Field::Other => {}
            Field::Name => match unquoted(&text) {
                Some(name) if self.name.is_none() && self.may_call(&name, calls) => self.name = Some(name),
                _ => return Step::Wrong,
            },
            Field::Arguments if self.is_told || self.early.is_some() => return Step::Wrong,
            Field::Arguments => match object(&text) {
                Some(object) => self.early = Some(object),
                None => return Step::Wrong,
            },
        }
        self.go(At::AfterValue)
    }

    fn may_call(&self, name: &str, calls: &Calling) -> bool {
        is_name(name) && (!self.only_known || calls.tools.iter().any(|tool| tool == name))
    }

    fn end_object(&mut self, calls: &mut Calling, out: &mut Out) -> Step {
        let Some(name) = self.name.take() else { return Step::Wrong };
        if !self.is_told {
            calls.begin(&name, out);
            calls.arguments(self.early.as_deref().unwrap_or("{}"), out);
        }
        calls.complete += 1;
        self.early = None;
        self.is_told = false;
        if self.is_list { self.go(At::AfterElement) } else { Step::Done }
    }

    /// Reads what stands before the arguments, which begin with `{`.
    fn head(&mut self, c: char, calls: &mut Calling, out: &mut Out) -> Step {
        const MOST_BYTES: usize = 256;
        let Body::Named(name) = self.body else { return Step::Wrong };
        if c != '{' {
            self.text.push(c);
            return if self.text.len() > MOST_BYTES { Step::Wrong } else { Step::More };
        }
        let name = name(self.text.trim()).trim();
        if !self.may_call(name, calls) {
            return Step::Wrong;
        }
        calls.begin(name, out);
        self.is_told = true;
        self.at = At::Arguments;
        self.json = JsonValue::default();
        self.feed(c, calls, out)
    }

    /// Reads up to the call's own end, which only `</tool_call>` is.
    fn whole(&mut self, c: char, calls: &mut Calling, out: &mut Out) -> Step {
        const END: &str = "</tool_call>";
        self.text.push(c);
        if !self.text.ends_with(END) {
            let is_call = matches!(self.body, Body::KeysAndValues) || begins_alike(&self.text, "<function=");
            return if is_call { Step::More } else { Step::Wrong };
        }
        self.text.truncate(self.text.len() - END.len());
        if self.end_whole(calls, out) { Step::Done } else { Step::Wrong }
    }

    fn end_whole(&mut self, calls: &mut Calling, out: &mut Out) -> bool {
        let read = match self.body {
            Body::Parameters => parameters(&self.text),
            _ => keys_and_values(&self.text),
        };
        let Some((name, arguments)) = read.filter(|(name, _)| self.may_call(name, calls)) else {
            return false;
        };
        calls.begin(&name, out);
        calls.arguments(&Value::Object(arguments).to_string(), out);
        calls.complete += 1;
        true
    }
}

fn begins_alike(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The text that a JSON text is of.
fn unquoted(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// The text of the object that `json` is, or is the text of; of none at all for null.
fn object(json: &str) -> Option<String> {
    match serde_json::from_str(json).ok()? {
        Value::Object(_) => Some(json.to_owned()),
        Value::Null => Some("{}".to_owned()),
        Value::String(text) => match serde_json::from_str(&text).ok()? {
            Value::Object(_) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// `<function=NAME><parameter=KEY>VALUE</parameter>…</function>`
fn parameters(text: &str) -> Option<(String, Map<String, Value>)> {
    let (name, mut rest) = text.trim().strip_prefix("<function=")?.split_once('>')?;
    let mut arguments = Map::new();
    loop {
        rest = rest.trim_start();
        let Some(parameter) = rest.strip_prefix("<parameter=") else { break };
        let (key, after) = parameter.split_once('>')?;
        let (value, after) = after.split_once("</parameter>")?;
        arguments.insert(key.trim().to_owned(), written(value));
        rest = after;
    }
    let is_whole = rest.trim_end() == "</function>" || rest.is_empty();
    is_whole.then(|| (name.trim().to_owned(), arguments))
}

/// `NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>…`
fn keys_and_values(text: &str) -> Option<(String, Map<String, Value>)> {
    let (name, mut rest) = text.split_at(text.find("<arg_key>").unwrap_or(text.len()));
    let mut arguments = Map::new();
    while let Some(pair) = rest.trim_start().strip_prefix("<arg_key>") {
        let (key, after) = pair.split_once("</arg_key>")?;
        let (value, after) = after.trim_start().strip_prefix("<arg_value>")?.split_once("</arg_value>")?;
        arguments.insert(key.trim().to_owned(), written(value));
        rest = after;
    }
    rest.trim().is_empty().then(|| (name.trim().to_owned(), arguments))
}

/// A value that was written without quotes: JSON where it is, and a text where not.
fn written(value: &str) -> Value {
    let value = value.strip_prefix('\n').unwrap_or(value);
    let value = value.strip_suffix('\n').unwrap_or(value);
    match serde_json::from_str(value) {
        Ok(Value::String(_)) | Err(_) => Value::from(value),
        Ok(value) => value,
    }
}

/// Follows one JSON value, as far as it takes to know where it ends and that it is one.
#[derive(Debug, Clone, Default)]
pub(super) struct JsonValue {
    /// What is open: `{` or `[`.
    open: Vec<char>,
    at: JsonAt,
    /// The rest of a word like `null`, or digits of an escape that are to come.
    expected: &'static str,
    digits: u8,
    number: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum JsonAt {
    /// Before a value.
    #[default]
    Value,
    /// Before a value, or the end of an array.
    FirstValue,
    /// Before a key, or the end of an object.
    FirstKey,
    Key,
    Colon,
    /// Behind a value that is in something.
    After,
    InText {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    Digits {
        is_key: bool,
    },
    Word,
    Number,
    End,
}

impl JsonValue {
    pub(super) fn feed(&mut self, c: char) -> Step {
        use JsonAt::{
            After, Colon, Digits, End, Escape, FirstKey, FirstValue, InText, Key, Number, Value, Word,
        };
        let is_space = matches!(c, ' ' | '\t' | '\n' | '\r');
        self.at = match (self.at, c) {
            (Value | FirstValue | FirstKey | Key | Colon | After, _) if is_space => return Step::More,
            (Value | FirstValue, '"') => InText { is_key: false },
            (Value | FirstValue, '{' | '[') => {
                if self.open.len() == MOST_DEPTH {
                    return Step::Wrong;
                }
                self.open.push(c);
                if c == '{' { FirstKey } else { FirstValue }
            }
            (Value | FirstValue, 't' | 'f' | 'n') => {
                self.expected = match c {
                    't' => "rue",
                    'f' => "alse",
                    _ => "ull",
                };
                Word
            }
            (Value | FirstValue, '-' | '0'..='9') => {
                self.number = c.to_string();
                Number
            }
            (FirstValue, ']') => return self.close('['),
            (FirstKey | Key, '"') => InText { is_key: true },
            (FirstKey, '}') => return self.close('{'),
            (Colon, ':') => Value,
            (After, ',') => {
                if self.open.last() == Some(&'{') {
                    Key
                } else {
                    Value
                }
            }
            (After, '}') => return self.close('{'),
            (After, ']') => return self.close('['),
            (InText { is_key }, '\\') => Escape { is_key },
            (InText { is_key: true }, '"') => Colon,
            (InText { is_key: false }, '"') => return self.end_value(),
            (InText { is_key }, c) if c >= ' ' => InText { is_key },
            (Escape { is_key }, 'u') => {
                self.digits = 4;
                Digits { is_key }
            }
            (Escape { is_key }, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => InText { is_key },
            (Digits { is_key }, c) if c.is_ascii_hexdigit() => {
                self.digits -= 1;
                if self.digits == 0 { InText { is_key } } else { Digits { is_key } }
            }
            (Word, c) => match self.expected.strip_prefix(c) {
                Some("") => return self.end_value(),
                Some(rest) => {
                    self.expected = rest;
                    Word
                }
                None => return Step::Wrong,
            },
            (Number, '0'..='9' | '.' | 'e' | 'E' | '+' | '-') if self.number.len() < MOST_DIGITS => {
                self.number.push(c);
                Number
            }
            // A number ends with what is no part of it.
            (Number, _) if !self.open.is_empty() && self.is_number() => {
                self.at = After;
                return self.feed(c);
            }
            (End, _) | (_, _) => return Step::Wrong,
        };
        Step::More
    }

    /// Whether the value is a number that nothing is open around, so that only what follows ends it.
    fn is_whole_number(&self) -> bool {
        self.at == JsonAt::Number && self.open.is_empty() && self.is_number()
    }

    fn is_number(&self) -> bool {
        serde_json::from_str::<Value>(&self.number).is_ok()
    }

    fn close(&mut self, opened: char) -> Step {
        if self.open.pop() != Some(opened) {
            return Step::Wrong;
        }
        self.end_value()
    }

    fn end_value(&mut self) -> Step {
        if self.open.is_empty() {
            self.at = JsonAt::End;
            return Step::Done;
        }
        self.at = JsonAt::After;
        Step::More
    }
}
