use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every control character, line break and bidirectional override written out, e.g.
/// `\u{1b}`, so that it stays on one line and cannot steer a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Like [`printable`], for text of several lines: newlines and tabs stay as they are.
pub fn printable_text(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n' || c == '\t')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| steers_a_terminal(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if keep(c) || !steers_a_terminal(c) => escaped.push(c),
            '\n' | '\r' | '\t' => escaped.extend(c.escape_default()),
            c => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(escaped)
}

fn steers_a_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidi_overrides_are_written_out() {
        assert_eq!(printable_text("a\x1b[2J\nb\tc\r"), "a\\u{1b}[2J\nb\tc\\r");
        assert_eq!(printable("\u{9b}31m \u{202e}x\u{7}"), "\\u{9b}31m \\u{202e}x\\u{7}");
    }

    #[test]
    fn ordinary_text_is_borrowed() {
        assert!(matches!(printable_text("Grüße, 世界 👋\n"), Cow::Borrowed(_)));
    }
}
