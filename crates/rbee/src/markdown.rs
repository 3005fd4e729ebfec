//! Markdown as a person likes to see it, while it comes.
//!
//! Headings, bold and italic text, code, lists and quotes are shown as what they are; everything else stays as it
//! is. What may still become one of those is held back until that is known: to the end of the line at most.

use owo_colors::{OwoColorize, Style};

/// So many characters are held back at most for a sign whose counterpart has not come.
const HELD_MAX: usize = 160;

/// Turns Markdown into styled text, piece by piece.
#[derive(Default)]
pub(crate) struct Markdown {
    /// What has come of the line and is not shown yet.
    held: String,
    /// How the line goes on, once its beginning has been shown.
    line: Option<Style>,
    /// The sign that ends the block of code that we are in.
    fence: Option<String>,
    /// What was shown last of the line.
    before: Option<char>,
}

impl Markdown {
    /// What can be shown now that `text` has come. Each piece ends with the style that it began with.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for part in text.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(rest) => {
                    self.held.push_str(rest);
                    shown += &self.end_line();
                    shown.push('\n');
                }
                None => {
                    self.held.push_str(part);
                    shown += &self.settle(false);
                }
            }
        }
        shown
    }

    /// What was held back of an answer that is over.
    pub(crate) fn finish(&mut self) -> String {
        let shown = self.end_line();
        self.fence = None;
        shown
    }

    fn end_line(&mut self) -> String {
        let shown = self.settle(true);
        self.held.clear();
        self.line = None;
        self.before = None;
        shown
    }

    /// Takes from what is held whatever cannot mean anything else any more.
    fn settle(&mut self, is_whole: bool) -> String {
        let mut shown = String::new();
        let style = match self.line {
            Some(style) => style,
            None => {
                let Some((start, style)) = self.begin_line(is_whole) else { return shown };
                shown += &start;
                self.line = Some(style);
                style
            }
        };
        if self.fence.is_some() {
            return shown + &painted(&std::mem::take(&mut self.held), style);
        }
        let (spans, length) = inline(&self.held, self.before, style, is_whole);
        self.before = self.held[..length].chars().next_back().or(self.before);
        self.held.drain(..length);
        shown + &spans
    }

    /// Says how a line begins and takes that from what is held; or nothing, as long as that is open.
    fn begin_line(&mut self, is_whole: bool) -> Option<(String, Style)> {
        let text = self.held.trim_start_matches([' ', '\t']);
        let (indent, text) = (self.held[..self.held.len() - text.len()].to_owned(), text.to_owned());
        if let Some(fence) = &self.fence {
            if !is_whole && text.chars().all(|c| fence.starts_with(c)) {
                return None;
            }
            if text.starts_with(fence.as_str()) && text.trim_end().chars().all(|c| fence.starts_with(c)) {
                return self.whole_line_is_a_sign(None);
            }
            return Some((String::new(), code()));
        }
        let first = text.chars().next();
        match first {
            None if !is_whole => None,
            Some(sign @ ('`' | '~')) => {
                let rest = text.trim_start_matches(sign);
                let length = text.len() - rest.len();
                if !is_whole && (rest.is_empty() || length >= 3 && !rest.contains(sign)) {
                    return None;
                }
                if length >= 3 && !rest.contains(sign) {
                    return self.whole_line_is_a_sign(Some(text[..length].to_owned()));
                }
                Some((String::new(), Style::new()))
            }
            Some('#') => {
                let rest = text.trim_start_matches('#');
                let level = text.len() - rest.len();
                if rest.is_empty() && !is_whole {
                    return None;
                }
                match rest.strip_prefix(' ') {
                    Some(title) if level <= 6 => {
                        self.held = title.to_owned();
                        let style = Style::new().bold();
                        Some((String::new(), if level == 1 { style.underline() } else { style }))
                    }
                    _ => Some((String::new(), Style::new())),
                }
            }
            Some('>') if text.len() == 1 && !is_whole => None,
            Some('>') => {
                let quoted = text[1..].strip_prefix(' ').unwrap_or(&text[1..]);
                let style = Style::new().dimmed();
                let start = format!("{indent}{}", painted("│ ", style));
                self.held = quoted.to_owned();
                Some((start, style))
            }
            Some('-' | '*' | '+') if text.len() == 1 && !is_whole => None,
            Some('-' | '*' | '+') if text[1..].starts_with(' ') => {
                self.held = text[2..].to_owned();
                Some((format!("{indent}• "), Style::new()))
            }
            _ => Some((String::new(), Style::new())),
        }
    }

    /// The line does nothing but begin or end a block of code, and is shown as it is.
    fn whole_line_is_a_sign(&mut self, fence: Option<String>) -> Option<(String, Style)> {
        self.fence = fence;
        let shown = painted(&std::mem::take(&mut self.held), Style::new().dimmed());
        Some((shown, Style::new()))
    }
}

/// Shows what is in a line, up to what is still open, and says how far that is.
///
/// `before` is the character before `text`. Of a whole line nothing is open.
fn inline(text: &str, before: Option<char>, style: Style, is_whole: bool) -> (String, usize) {
    let mut shown = String::new();
    let mut at = 0;
    let open = |rest: &str| !is_whole && rest.chars().count() < HELD_MAX;
    while let Some(found) = text[at..].find(['`', '*', '_', '\\']) {
        shown += &painted(&text[at..at + found], style);
        at += found;
        let rest = &text[at..];
        let previous = text[..at].chars().next_back().or(before);
        let Some(sign) = rest.chars().next() else { break };
        let length = match sign {
            '\\' => 1,
            _ => rest.len() - rest.trim_start_matches(sign).len(),
        };
        if length == rest.len() && !is_whole {
            return (shown, at);
        }
        let after = &rest[length..];
        if sign == '\\' {
            // Other characters keep theirs: in formulas and paths it is part of the text.
            let is_escape = after.starts_with(['*', '_', '`']);
            at += 1;
            if is_escape {
                shown += &painted(&after[..1], style);
                at += 1;
            } else {
                shown += &painted("\\", style);
            }
            continue;
        }
        let opens = match sign {
            '`' => true,
            _ => {
                let is_inside_a_word = sign == '_' && previous.is_some_and(char::is_alphanumeric);
                length <= 3 && !after.starts_with(char::is_whitespace) && !is_inside_a_word
            }
        };
        let end = if opens { close(after, sign, length, is_whole) } else { None };
        match end {
            Some(end) if sign == '`' => {
                shown += &painted(&after[..end], code());
                at += length + end + length;
            }
            Some(end) => {
                let style = match length {
                    1 => style.italic(),
                    2 => style.bold(),
                    _ => style.bold().italic(),
                };
                shown += &inline(&after[..end], Some(sign), style, true).0;
                at += length + end + length;
            }
            None if opens && open(rest) => return (shown, at),
            None => {
                shown += &painted(&rest[..length], style);
                at += length;
            }
        }
    }
    shown += &painted(&text[at..], style);
    (shown, text.len())
}

/// Where in `text` the counterpart of a sign begins that is `length` times `sign`.
fn close(text: &str, sign: char, length: usize, is_whole: bool) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find([sign, '`', '\\']) {
        at += found;
        let rest = &text[at..];
        let c = rest.chars().next()?;
        if c == '\\' && sign != '`' {
            at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            continue;
        }
        let run = rest.len() - rest.trim_start_matches(c).len();
        let after = &rest[run..];
        if c != sign {
            // Nothing within code is a sign.
            let code = if c == '`' { close(after, '`', run, is_whole) } else { None };
            at += run + code.map_or(0, |end| end + run);
            continue;
        }
        let is_emphasis = sign != '`';
        let ends_a_word = !text[..at].ends_with(char::is_whitespace) && at > 0;
        let goes_on = sign == '_' && after.starts_with(char::is_alphanumeric);
        // The sign may grow as long as nothing stands behind it.
        let is_settled = is_whole || !after.is_empty();
        if run == length && is_settled && (!is_emphasis || ends_a_word && !goes_on) {
            return Some(at);
        }
        at += run;
    }
    None
}

fn code() -> Style {
    Style::new().cyan()
}

fn painted(text: &str, style: Style) -> String {
    if text.is_empty() || style.is_plain() { text.to_owned() } else { text.style(style).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of `text` when it comes in pieces of `length` characters, with styles written as words.
    fn shown(text: &str, length: usize) -> String {
        let mut markdown = Markdown::default();
        let chars: Vec<char> = text.chars().collect();
        let mut shown = String::new();
        for piece in chars.chunks(length) {
            shown += &markdown.push(&piece.iter().collect::<String>());
        }
        merged(&(shown + &markdown.finish()))
    }

    /// Pieces of the same style that follow one another are one piece.
    fn merged(text: &str) -> String {
        let mut pieces: Vec<(String, String)> = Vec::new();
        let mut style = String::new();
        for (i, part) in text.split('\u{1b}').enumerate() {
            let text = match part.strip_prefix('[').and_then(|part| part.split_once('m')) {
                Some((codes, text)) if i > 0 => {
                    style = if codes == "0" { String::new() } else { codes.to_owned() };
                    text
                }
                _ => part,
            };
            match pieces.last_mut() {
                _ if text.is_empty() => {}
                Some((last, before)) if *last == style => before.push_str(text),
                _ => pieces.push((style.clone(), text.to_owned())),
            }
        }
        let piece = |(style, text): &(String, String)| match style.as_str() {
            "" => text.clone(),
            style => format!("<{style}|{text}>"),
        };
        pieces.iter().map(piece).collect()
    }

    /// However the text is cut into pieces, this is what is shown.
    fn check(text: &str, expected: &str) {
        for length in [1, 2, 3, 5, 1000] {
            assert_eq!(shown(text, length), expected, "{text:?} in pieces of {length}");
        }
    }

    #[test]
    fn what_has_a_meaning_is_shown_as_that() {
        check("# Title\nText", "<1;4|Title>\nText");
        check("### A *b* c\n", "<1|A ><1;3|b><1| c>\n");
        check("a **bold** and *slanted* word", "a <1|bold> and <3|slanted> word");
        check("__bold__, _slanted_, ***both***.", "<1|bold>, <3|slanted>, <1;3|both>.");
        check("**a *b* c**.", "<1|a ><1;3|b><1| c>.");
        check("use `a*b*c` and ``x`y``!", "use <36|a*b*c> and <36|x`y>!");
        check("- one\n* two\n  + three\n1. four\n", "• one\n• two\n  • three\n1. four\n");
        check("> so **it** is\n>\n", "<2|│ so ><1;2|it><2| is>\n<2|│ >\n");
        check("a \\*b\\* c", "a *b* c");
    }

    #[test]
    fn code_keeps_every_character() {
        check(
            "```rust\nlet a = *b; // **c** `d`\n# not a title\n\n  ``\n```\nafter",
            "<2|```rust>\n<36|let a = *b; // **c** `d`>\n<36|# not a title>\n\n<36|  ``>\n<2|```>\nafter",
        );
        check("~~~\n```\n~~~\n*x*", "<2|~~~>\n<36|```>\n<2|~~~>\n<3|x>");
        check("  ```\n  x\n  ```\n", "<2|  ```>\n<36|  x>\n<2|  ```>\n");
        check("```never closed\nx", "<2|```never closed>\n<36|x>");
    }

    #[test]
    fn nothing_else_changes() {
        for text in [
            "2 * 3 * 4 and 2*3",
            "snake_case_name and __init",
            "**not closed",
            "a ** b ** c",
            "`not closed",
            "#hashtag and ####### seven",
            "---\n***\n___",
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "\\(x_1 + \\frac{1}{2}\\) in C:\\dir",
            "[a link](https://example.org/a_b_c)",
            "\n\n  indented\n",
            "-5 degrees, *",
            "-",
            "```one line``` of it `",
        ] {
            if text.starts_with("```") {
                check(text, "<36|one line> of it `");
            } else {
                check(text, text);
            }
        }
    }

    #[test]
    fn what_is_not_open_is_shown_at_once() {
        let mut markdown = Markdown::default();
        assert_eq!(markdown.push("Hello wor"), "Hello wor");
        assert_eq!(markdown.push("ld *"), "ld ");
        assert_eq!(markdown.push("now"), "");
        assert_eq!(markdown.push("* ."), "\u{1b}[3mnow\u{1b}[0m .");
        let long = "x".repeat(HELD_MAX);
        assert_eq!(markdown.push(&format!(" **{long}")), format!(" **{long}"));
        markdown.push("\n```\n");
        assert_eq!(markdown.push("  code **"), "\u{1b}[36m  code **\u{1b}[0m");
        assert_eq!(markdown.finish(), "");
        assert_eq!(markdown.push("not code"), "not code");
    }
}
