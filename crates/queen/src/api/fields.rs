use rbee_jobs::without_strings;
use rbee_narration::printable;
use rbee_protocol::{ApiError, ErrorCode, read};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// So many fields that nobody knows are named to whoever sent them, each with so many characters.
const NAMED_MAX: usize = 16;
const NAME_MAX: usize = 64;

/// The fields of a request of another API, to be taken one by one.
///
/// What is left over does nothing, which the job is told: clients send fields that other servers know.
pub(crate) struct Fields {
    fields: Map<String, Value>,
    /// What stands before their names where they are told of, for those of an object within the request.
    path: String,
    notes: Vec<String>,
}

impl Fields {
    pub(crate) fn new(fields: Map<String, Value>) -> Self {
        Self { fields, path: String::new(), notes: Vec::new() }
    }

    /// Those of the object at `path`.
    pub(crate) fn within(path: &str, fields: Map<String, Value>) -> Self {
        Self { path: format!("{path}."), ..Self::new(fields) }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// The field's value, if there is one; `null` is none.
    ///
    /// # Errors
    /// `bad_request` when it is of another type.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => typed(&self.path(name), value).map(Some),
        }
    }

    /// The field's value as it is, which stays to be taken; `null` is none.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// The value of a field that must be there.
    ///
    /// # Errors
    /// `bad_request` when it is missing or of another type.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        let value = self.take(name)?;
        value.ok_or_else(|| bad(format!("`{}` is missing", self.path(name)), "every request needs it"))
    }

    /// The value of a list's field; nothing where there is none.
    ///
    /// # Errors
    /// `bad_request` when it is of another type.
    pub(crate) fn list<T: DeserializeOwned>(&mut self, name: &str) -> Result<Vec<T>, ApiError> {
        self.take(name).map(Option::unwrap_or_default)
    }

    /// The texts of a field that has one or a list of them.
    ///
    /// # Errors
    /// `bad_request` when it has something else.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        match self.take(name)? {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(texts) => typed(&self.path(name), texts),
        }
    }

    /// Drops fields that change nothing about an answer here.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            if self.fields.remove(*name).is_some_and(|value| !value.is_null()) {
                self.notes.push(format!("`{}` does nothing here", self.path(name)));
            }
        }
    }

    /// Refuses a field that would change the answer, and has another value than those that ask for nothing.
    ///
    /// # Errors
    /// `bad_request`, with a hint at what to do instead.
    pub(crate) fn refuse(&mut self, name: &str, harmless: &[Value], hint: &str) -> Result<(), ApiError> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if harmless.contains(&value) => Ok(()),
            Some(_) => Err(bad(format!("`{}` is not supported", self.path(name)), hint)),
        }
    }

    /// Adds a word to what the job is told.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// What the job is to be told about its request.
    pub(crate) fn notes(mut self) -> Vec<String> {
        let unknown = self.fields.len();
        for name in self.fields.keys().take(NAMED_MAX) {
            let name: String = printable(name).chars().take(NAME_MAX).collect();
            self.notes.push(format!("`{}{name}` is not known here, and does nothing", self.path));
        }
        if unknown > NAMED_MAX {
            self.notes.push(format!("{} more fields are not known here", unknown - NAMED_MAX));
        }
        self.notes
    }
}

/// A value as what it should be; an error names it.
pub(crate) fn typed<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, ApiError> {
    read(value).map_err(|error| {
        let error = without_strings(&error);
        let message = match error.strip_prefix('`') {
            Some(path) if path.starts_with('[') => format!("`{name}{path}"),
            Some(path) => format!("`{name}.{path}"),
            None => format!("`{name}`: {error}"),
        };
        bad(message, "docs/compatibility.md has a table of all fields")
    })
}

/// A request that makes no sense.
pub(crate) fn bad(message: impl Into<String>, hint: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message).hint(hint)
}

/// The text of a message's content: a text, or a list of parts of which those of the types `texts` are texts.
///
/// # Errors
/// `bad_request` for parts that are something else, such as pictures.
pub(crate) fn text_of(path: &str, content: Value, texts: &[&str]) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        _ => return Err(bad(format!("`{path}` is neither a text nor a list of parts"), "send a text")),
    };
    let mut text = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        if !texts.contains(&kind) {
            let message = format!("`{path}[{index}].type`: parts of this type are not taken here");
            return Err(bad(message, "the models here read text alone"));
        }
        let Some(part) = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str) else {
            return Err(bad(format!("`{path}[{index}].text` is missing"), "send a text"));
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(part);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(fields) => Fields::new(fields),
            _ => unreachable!("a test's request is an object"),
        }
    }

    #[test]
    fn what_is_taken_is_of_its_type_or_named() {
        let mut asked = fields(json!({"a": 1, "b": null, "c": "secret", "d": ["x", 5]}));
        assert_eq!(asked.take::<u32>("a"), Ok(Some(1)));
        assert_eq!(asked.take::<u32>("b"), Ok(None));
        let error = asked.take::<u32>("c").expect_err("a text is no number").message;
        assert!(error.starts_with("`c`: invalid type: a string"), "{error}");
        let error = asked.list::<String>("d").expect_err("5 is no text").message;
        assert!(error.starts_with("`d[1]`: "), "{error}");
        assert_eq!(asked.need::<u32>("e").expect_err("it is missing").message, "`e` is missing");
    }

    #[test]
    fn what_does_nothing_is_said_and_what_would_change_the_answer_is_refused() {
        let mut asked = fields(json!({"user": "ada", "store": null, "audio": {}, "n": 1, "colour": "red"}));
        asked.ignore(&["user", "store"]);
        assert!(asked.refuse("n", &[json!(1)], "leave it out").is_ok());
        assert!(asked.refuse("audio", &[], "leave it out").is_err());
        let notes = asked.notes();
        assert_eq!(notes, ["`user` does nothing here", "`colour` is not known here, and does nothing"]);
    }

    #[test]
    fn a_content_is_a_text_or_parts_that_are() {
        let text = |content| text_of("content", content, &["text", "input_text"]);
        assert_eq!(text(json!("a")).as_deref(), Ok("a"));
        let parts = json!([{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]);
        assert_eq!(text(parts).as_deref(), Ok("a\nb"));
        let error = text(json!([{"type": "image_url", "image_url": {}}])).expect_err("it is a picture");
        assert!(error.message.starts_with("`content[0].type`"), "{error}");
        assert!(text(json!(5)).is_err());
    }
}
