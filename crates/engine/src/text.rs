//! From the bytes of tokens to the text of events: whole characters only, cut at stop strings.
//!
//! A token may end within a character, and a stop string may begin in one token and end in
//! another. Whatever may still become either is held back. The text that comes out does not
//! depend on how the bytes are divided into pushes.

/// Turns the bytes of tokens into text.
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    stop: Vec<String>,
    /// The beginning of a character whose other bytes have not come yet; at most three bytes.
    partial: Vec<u8>,
    /// Text that is the beginning of a stop string, so far.
    held: String,
    /// The length of the stop string that ended the text, and of what came with it.
    cut_bytes: usize,
    /// Which of `stop` that was.
    stopped_by: Option<usize>,
}

/// Whether a stop string has ended the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

impl TextStream {
    /// None of the stop strings may be empty.
    pub(crate) fn new(stop: Vec<String>) -> Self {
        debug_assert!(stop.iter().all(|stop| !stop.is_empty()));
        Self { stop, partial: Vec::new(), held: String::new(), cut_bytes: 0, stopped_by: None }
    }

    /// Takes a token's bytes and emits the text that is certain by now, in at most one call.
    ///
    /// After [`Flow::Stop`], which the stop string that ends first causes, the text is complete.
    pub(crate) fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&str)) -> Flow {
        self.partial.extend_from_slice(bytes);
        self.take_whole_characters();
        self.release(emit)
    }

    /// How many of the bytes that were pushed are not in what was emitted.
    pub(crate) fn held_bytes(&self) -> usize {
        self.partial.len() + self.held.len() + self.cut_bytes
    }

    /// Whether a stop string has ended the text.
    pub(crate) fn is_stopped(&self) -> bool {
        self.cut_bytes > 0
    }

    /// The stop string that has ended the text.
    pub(crate) fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.map(|index| self.stop[index].as_str())
    }

    /// Emits what was held back; an incomplete character becomes U+FFFD.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(&str)) -> Flow {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        let flow = self.release(emit);
        if flow == Flow::Continue && !self.held.is_empty() {
            emit(&self.held);
        }
        flow
    }

    fn take_whole_characters(&mut self) {
        let mut rest = self.partial.as_slice();
        loop {
            let (valid, error_len) = match std::str::from_utf8(rest) {
                Ok(text) => (text, None),
                Err(error) => {
                    let (valid, _) = rest.split_at(error.valid_up_to());
                    let valid = std::str::from_utf8(valid).expect("checked up to here");
                    (valid, error.error_len())
                }
            };
            self.held.push_str(valid);
            rest = &rest[valid.len()..];
            match error_len {
                Some(invalid) => {
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[invalid..];
                }
                None => break,
            }
        }
        self.partial = rest.to_vec();
    }

    fn release(&mut self, emit: &mut dyn FnMut(&str)) -> Flow {
        // The match that ends first is the one that a token-by-token reader would see first;
        // choosing the one that begins first would make the text depend on the tokens.
        let found = |(index, stop): (usize, &String)| {
            self.held.find(stop.as_str()).map(|at| (at + stop.len(), at, index))
        };
        if let Some((_, at, index)) = self.stop.iter().enumerate().filter_map(found).min() {
            self.stopped_by = Some(index);
            self.cut_bytes = self.held.len() - at + self.partial.len();
            self.held.truncate(at);
            self.partial.clear();
            if !self.held.is_empty() {
                emit(&self.held);
                self.held.clear();
            }
            return Flow::Stop;
        }
        let certain = self.held.len() - self.possible_stop_len();
        if certain > 0 {
            emit(&self.held[..certain]);
            self.held.drain(..certain);
        }
        Flow::Continue
    }

    /// The length of the longest end of `held` that begins a stop string.
    fn possible_stop_len(&self) -> usize {
        let prefixes = |stop: &str| {
            let longest =
                stop.char_indices().map(|(len, _)| len).filter(|&len| self.held.ends_with(&stop[..len]));
            longest.max().unwrap_or(0)
        };
        self.stop.iter().map(|s| prefixes(s)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The stop string that ends this text.
    fn stopped_by(stop: &[&str], text: &str) -> Option<String> {
        let mut stream = TextStream::new(stop.iter().map(|&s| s.to_owned()).collect());
        let flow = stream.push(text.as_bytes(), &mut |_| {});
        assert_eq!(flow == Flow::Stop, stream.stopped_by().is_some());
        stream.finish(&mut |_| {});
        stream.stopped_by().map(str::to_owned)
    }

    /// The emitted pieces, and whether a stop string ended the text.
    fn run(stop: &[&str], pushes: &[&[u8]]) -> (Vec<String>, Flow) {
        let mut stream = TextStream::new(stop.iter().map(|&s| s.to_owned()).collect());
        let mut pieces = Vec::new();
        for push in pushes {
            let mut emit = |text: &str| pieces.push(text.to_owned());
            if stream.push(push, &mut emit) == Flow::Stop {
                return (pieces, Flow::Stop);
            }
        }
        let flow = stream.finish(&mut |text| pieces.push(text.to_owned()));
        (pieces, flow)
    }

    fn check(stop: &[&str], pushes: &[&str], expected: &[&str], flow: Flow) {
        let pushes: Vec<&[u8]> = pushes.iter().map(|push| push.as_bytes()).collect();
        let (pieces, actual) = run(stop, &pushes);
        assert_eq!(pieces, expected);
        assert_eq!(actual, flow);
    }

    #[test]
    fn text_without_stop_strings_passes_at_once() {
        check(&[], &["a", "", "bc"], &["a", "bc"], Flow::Continue);
    }

    #[test]
    fn a_stop_string_is_cut_off_with_all_that_follows() {
        check(&["STOP"], &["one STOP two"], &["one "], Flow::Stop);
        check(&["STOP"], &["STOP"], &[], Flow::Stop);
    }

    #[test]
    fn half_a_character_after_a_stop_string_is_cut_off_too() {
        let mut stream = TextStream::new(vec!["STOP".to_owned()]);
        let mut text = String::new();
        assert_eq!(stream.push(b"one STOP\xf0\x9f", &mut |piece| text.push_str(piece)), Flow::Stop);
        assert_eq!(stream.held_bytes(), 6);
        stream.finish(&mut |piece| text.push_str(piece));
        assert_eq!(text, "one ");
    }

    #[test]
    fn a_stop_string_may_span_pushes() {
        check(&["STOP"], &["one S", "T", "OP two"], &["one "], Flow::Stop);
    }

    #[test]
    fn text_that_turns_out_not_to_be_a_stop_string_is_released() {
        check(&["STOP"], &["S", "TA", "R"], &["STA", "R"], Flow::Continue);
        check(&["aab"], &["aa", "ab"], &["a"], Flow::Stop);
    }

    #[test]
    fn held_text_is_released_at_the_end() {
        check(&["STOP"], &["a STO"], &["a ", "STO"], Flow::Continue);
    }

    #[test]
    fn the_stop_string_that_ends_first_wins() {
        assert_eq!(stopped_by(&["abcd", "bc"], "abcd").as_deref(), Some("bc"));
        assert_eq!(stopped_by(&["bc", "abc"], "xabc").as_deref(), Some("abc"));
        assert_eq!(stopped_by(&["bc", "abc"], "xab"), None);
        check(&["abcd", "bc"], &["abcd"], &["a"], Flow::Stop);
        check(&["bc", "abc"], &["xabc"], &["x"], Flow::Stop);
    }

    #[test]
    fn characters_come_whole() {
        let bytes = "é🦀".as_bytes();
        let pushes: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&[], &pushes).0, ["é", "🦀"]);
    }

    #[test]
    fn a_stop_string_of_several_bytes_a_character_is_found() {
        let pushes: Vec<&[u8]> = "a🦀b".as_bytes().chunks(1).collect();
        assert_eq!(run(&["🦀"], &pushes), (vec!["a".to_owned()], Flow::Stop));
        assert_eq!(run(&["🦀🦀"], &pushes).0.concat(), "a🦀b");
    }

    #[test]
    fn an_invalid_rest_becomes_the_replacement_character() {
        assert_eq!(run(&[], &[&[b'a', 0xf0, 0x9f]]).0, ["a", "\u{fffd}"]);
        assert_eq!(run(&[], &[&[0xff], b"b"]).0, ["\u{fffd}", "b"]);
        assert_eq!(run(&[], &[&[0xf0, 0x9f], b"b"]).0, ["\u{fffd}b"]);
    }

    fn divide<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        let mut pushes = Vec::new();
        for cut in cuts {
            pushes.push(&bytes[from..cut]);
            from = cut;
        }
        pushes.push(&bytes[from..]);
        pushes
    }

    proptest! {
        #[test]
        fn any_division_gives_the_same_text(
            text in "[abé🦀]{0,24}",
            stop in prop::collection::vec("[abé🦀]{1,4}", 0..3),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let stop: Vec<&str> = stop.iter().map(String::as_str).collect();
            let (whole, flow) = run(&stop, &[text.as_bytes()]);
            let (pieces, divided_flow) = run(&stop, &divide(text.as_bytes(), &cuts));
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), whole.concat());
            prop_assert_eq!(divided_flow, flow);
            if flow == Flow::Continue {
                prop_assert_eq!(whole.concat(), text);
            }
        }

        #[test]
        fn any_bytes_in_any_division_give_the_lossy_text(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0xf0), Just(0x9f), Just(0xa6), Just(0x80)],
                0..24,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let (pieces, _) = run(&[], &divide(&bytes, &cuts));
            prop_assert_eq!(pieces.concat(), String::from_utf8_lossy(&bytes));
        }
    }
}
