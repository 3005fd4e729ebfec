//! From the text to a [`Grammar`].

use std::collections::HashMap;

use super::chars::Chars;
use super::{Grammar, Node, NodeId, Rule, RuleId, Wrong};

/// How deep parentheses may be nested.
const NESTING_MAX: usize = 100;
/// llama.cpp's limit.
const REPETITIONS_MAX: u32 = 2000;

pub(super) fn parse(text: &str) -> Result<Grammar, Wrong> {
    let mut parser = Parser {
        rest: text.trim_start_matches('\u{feff}'),
        line: 1,
        grammar: Grammar::default(),
        ids: HashMap::new(),
    };
    parser.space(true);
    while !parser.rest.is_empty() {
        parser.rule()?;
    }
    Ok(parser.grammar)
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    grammar: Grammar,
    ids: HashMap<&'a str, RuleId>,
}

impl<'a> Parser<'a> {
    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong { line: self.line, what: what.into() })
    }

    /// What stands here, for messages.
    fn here(&self) -> String {
        match self.rest.chars().next() {
            None => "the end".to_owned(),
            Some('\n' | '\r') => "the end of the line".to_owned(),
            Some(_) => format!(
                "`{}`",
                self.rest.chars().take_while(|c| !c.is_whitespace()).take(20).collect::<String>()
            ),
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Passes over blanks and comments, and line breaks where they mean nothing.
    fn space(&mut self, line_breaks: bool) {
        loop {
            match self.rest.chars().next() {
                Some(' ' | '\t') => {}
                Some('\r' | '\n') if line_breaks => {}
                Some('#') => {
                    let end = self.rest.find(['\r', '\n']).unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn name(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    fn rule_id(&mut self, name: &'a str) -> RuleId {
        let (rules, line) = (&mut self.grammar.rules, self.line);
        *self.ids.entry(name).or_insert_with(|| {
            rules.push(Rule { name: name.to_owned(), line, body: None });
            rules.len() - 1
        })
    }

    fn rule(&mut self) -> Result<(), Wrong> {
        let Some(name) = self.name() else {
            return self.wrong(format!("a rule begins with its name, not with {}", self.here()));
        };
        let id = self.rule_id(name);
        if self.grammar.rules[id].body.is_some() {
            return self.wrong(format!("the rule `{name}` is defined a second time"));
        }
        self.grammar.rules[id].line = self.line;
        self.space(false);
        if !self.take("::=") {
            return self.wrong(format!("`::=` must follow the name `{name}`, not {}", self.here()));
        }
        self.space(true);
        let body = self.choice(0)?;
        self.grammar.rules[id].body = Some(body);
        if !self.rest.is_empty() && !self.rest.starts_with(['\r', '\n']) {
            return self.wrong(format!("{} is not expected here", self.here()));
        }
        self.space(true);
        Ok(())
    }

    fn choice(&mut self, depth: usize) -> Result<NodeId, Wrong> {
        if depth > NESTING_MAX {
            return self.wrong(format!("parentheses are nested more than {NESTING_MAX} deep"));
        }
        let mut choices = vec![self.sequence(depth)?];
        while self.take("|") {
            self.space(true);
            choices.push(self.sequence(depth)?);
        }
        Ok(match choices[..] {
            [only] => only,
            _ => self.grammar.add(Node::Choice(choices)),
        })
    }

    fn sequence(&mut self, depth: usize) -> Result<NodeId, Wrong> {
        let nested = depth > 0;
        let mut nodes = Vec::new();
        while let Some(first) = self.rest.chars().next() {
            let node = match first {
                '"' => self.literal()?,
                '[' => self.class()?,
                '(' => {
                    self.next();
                    self.space(true);
                    let node = self.choice(depth + 1)?;
                    if !self.take(")") {
                        return self.wrong(format!("`)` is missing before {}", self.here()));
                    }
                    node
                }
                '.' => {
                    self.next();
                    self.grammar.add(Node::Chars(Chars::all()))
                }
                '<' | '!' => {
                    return self
                        .wrong(format!("{} names a token of a model, which is not supported", self.here()));
                }
                '*' | '+' | '?' | '{' => {
                    return self.wrong(format!("there is nothing before {} to be repeated", self.here()));
                }
                c if c.is_ascii_alphanumeric() || c == '-' => {
                    let name = self.name().expect("its first character is here");
                    let rule = self.rule_id(name);
                    self.grammar.add(Node::Rule(rule))
                }
                _ => break,
            };
            self.space(nested);
            nodes.push(self.repetitions(node, nested)?);
        }
        Ok(match nodes[..] {
            [only] => only,
            _ => self.grammar.add(Node::Sequence(nodes)),
        })
    }

    fn repetitions(&mut self, mut node: NodeId, nested: bool) -> Result<NodeId, Wrong> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => self.bounds(nested)?,
                _ => return Ok(node),
            };
            self.next();
            self.space(nested);
            node = match most {
                Some(0) => self.grammar.add(Node::Sequence(Vec::new())),
                _ => self.grammar.add(Node::Repeat(node, least, most)),
            };
        }
    }

    /// What stands in braces, up to the second.
    fn bounds(&mut self, nested: bool) -> Result<(u32, Option<u32>), Wrong> {
        self.next();
        self.space(nested);
        let least = self.number()?;
        self.space(nested);
        let mut most = Some(least);
        if self.take(",") {
            self.space(nested);
            most = if self.rest.starts_with('}') { None } else { Some(self.number()?) };
            self.space(nested);
        }
        if !self.rest.starts_with('}') {
            return self.wrong(format!("`}}` is missing before {}", self.here()));
        }
        if most.is_some_and(|most| most < least) {
            return self.wrong("what is in braces is at most less than at least");
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u32, Wrong> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        if digits.is_empty() {
            return self.wrong(format!("a number is missing before {}", self.here()));
        }
        self.rest = rest;
        match digits.parse() {
            Ok(number) if number <= REPETITIONS_MAX => Ok(number),
            _ => self.wrong(format!("there are at most {REPETITIONS_MAX} repetitions")),
        }
    }

    fn literal(&mut self) -> Result<NodeId, Wrong> {
        let line = self.line;
        self.next();
        let mut nodes = Vec::new();
        while !self.take("\"") {
            match self.char(line)? {
                Some(c) => nodes.push(self.grammar.add(Node::Chars(Chars::new(vec![(c, c)])))),
                None => return Err(Wrong { line, what: "a text has no second `\"`".to_owned() }),
            }
        }
        Ok(match nodes[..] {
            [only] => only,
            _ => self.grammar.add(Node::Sequence(nodes)),
        })
    }

    fn class(&mut self) -> Result<NodeId, Wrong> {
        let line = self.line;
        self.next();
        let inverted = self.take("^");
        let mut ranges = Vec::new();
        let open = || Wrong { line, what: "a `[` has no `]`".to_owned() };
        while !self.take("]") {
            let from = self.char(line)?.ok_or_else(open)?;
            let mut to = from;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                to = self.char(line)?.ok_or_else(open)?;
            }
            if to < from {
                return self.wrong("a range of characters ends before it begins");
            }
            ranges.push((from, to));
        }
        let chars = Chars::new(ranges);
        let chars = if inverted { chars.inverted() } else { chars };
        if chars.is_empty() {
            return self.wrong("a class has no characters");
        }
        Ok(self.grammar.add(Node::Chars(chars)))
    }

    /// A character of a text or a class, which may be written as an escape; `None` at the end.
    fn char(&mut self, line: usize) -> Result<Option<u32>, Wrong> {
        let Some(c) = self.next() else { return Ok(None) };
        if c != '\\' {
            return Ok(Some(c.into()));
        }
        let digits = match self.next() {
            None => return Ok(None),
            Some('t') => return Ok(Some('\t'.into())),
            Some('r') => return Ok(Some('\r'.into())),
            Some('n') => return Ok(Some('\n'.into())),
            Some(c @ ('\\' | '"' | '[' | ']' | '-')) => return Ok(Some(c.into())),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(other) => {
                return Err(Wrong {
                    line,
                    what: format!("there is no escape `\\{}`", other.escape_default()),
                });
            }
        };
        let hex = self.rest.get(..digits).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let value = hex
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .filter(|&value| char::from_u32(value).is_some());
        let Some(value) = value else {
            let what = format!("an escape is not {digits} hexadecimal digits of a character");
            return Err(Wrong { line, what });
        };
        self.rest = &self.rest[digits..];
        Ok(Some(value))
    }
}
