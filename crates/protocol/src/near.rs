/// As clap has it for what is mistyped on a command line.
const LIKE_ENOUGH: f64 = 0.7;

/// The one of `names` that somebody who wrote `name` may have meant.
///
/// To be given only names that whoever wrote it may know of.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let near = names.into_iter().map(|other| (strsim::jaro_winkler(&folded, &other.to_lowercase()), other));
    near.filter(|(likeness, _)| *likeness > LIKE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mistyped_is_found_and_what_is_another_word_is_not() {
        let names = ["local", "attic", "worker-1"];
        for (name, expected) in [
            ("locla", Some("local")),
            ("LOCAL", Some("local")),
            ("worker1", Some("worker-1")),
            ("zoo", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}
