use std::borrow::Cow;

use regex::Regex;

const REDACTED: &str = "[REDACTED]";

/// Finds what looks like a secret in a text and replaces it with `[REDACTED]`.
pub(crate) struct Redactor {
    rules: Vec<(Regex, &'static str)>,
}

impl Redactor {
    pub(crate) fn new() -> Self {
        let rule = |pattern: &str, replacement| {
            (Regex::new(pattern).expect("the patterns are constants that the tests compile"), replacement)
        };
        Self {
            rules: vec![
                // A block that was cut off loses its end marker, not its secrecy.
                rule(
                    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
                    REDACTED,
                ),
                rule(r"(?i)\b(authorization:\s*\w+|bearer)\s+[A-Za-z0-9\-._~+/]{6,}=*", "$1 [REDACTED]"),
                rule(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?", REDACTED),
                rule(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/]+@", "$1:[REDACTED]@"),
                rule(
                    r#"(?i)([\w-]*(?:key|token|password|passwd|secret)["']?)(\s*=\s*|["']\s*:\s*)(?:"[^"]*"?|'[^']*'?|[^\s,;&"']+)"#,
                    "$1$2[REDACTED]",
                ),
                rule(r"\b(?:rbee_|hf_|sk-|ghp_)[A-Za-z0-9_-]{16,}", REDACTED),
            ],
        }
    }

    pub(crate) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut redacted = Cow::Borrowed(text);
        for (pattern, replacement) in &self.rules {
            if let Cow::Owned(replaced) = pattern.replace_all(&redacted, *replacement) {
                redacted = Cow::Owned(replaced);
            }
        }
        redacted
    }
}

/// `text` with what looks like a secret replaced by `[REDACTED]`, as it is in every line: for a text that is made once.
pub fn redact(text: &str) -> String {
    Redactor::new().redact(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(Redactor::new().redact(text), expected);
    }

    #[test]
    fn bearer_tokens_are_redacted() {
        check("Authorization: Bearer abc.DEF-123~+/==", "Authorization: Bearer [REDACTED]");
        check("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [REDACTED]");
        check("with bearer  s3cr3t-value here", "with bearer [REDACTED] here");
    }

    #[test]
    fn pairs_are_redacted() {
        check("key=abc token=def&x=1", "key=[REDACTED] token=[REDACTED]&x=1");
        check("api_key = 'a b c', next", "api_key = [REDACTED], next");
        check("PASSWORD=\"p w\" HF_TOKEN=hf123", "PASSWORD=[REDACTED] HF_TOKEN=[REDACTED]");
        check(r#"{"api_key": "abc", "n": 1}"#, r#"{"api_key": [REDACTED], "n": 1}"#);
        check("key=\"never closed", "key=[REDACTED]");
    }

    #[test]
    fn jwts_are_redacted() {
        check("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln!", "got [REDACTED]!");
    }

    #[test]
    fn private_keys_are_redacted_also_when_cut_off() {
        check("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a [REDACTED] b");
        check("-----BEGIN PRIVATE KEY-----\nMIIE", "[REDACTED]");
    }

    #[test]
    fn url_passwords_are_redacted() {
        check("https://me:p@ss@example.org/x", "https://me:[REDACTED]@example.org/x");
        check("redis://:secret@localhost:6379", "redis://:[REDACTED]@localhost:6379");
    }

    #[test]
    fn known_key_shapes_are_redacted() {
        check("rbee_0123456789abcdef0123456789abcdef", "[REDACTED]");
    }

    #[test]
    fn ordinary_lines_stay() {
        for text in [
            "12 tokens: 5 in, 7 out; 110 tokens/s",
            "listening on http://127.0.0.1:7833",
            "The key idea: a token is a piece of a word",
            "job-0123456789abcdef0123456789abcdef",
        ] {
            check(text, text);
        }
    }
}
