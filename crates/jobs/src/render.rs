use rbee_narration::{Level, printable};
use rbee_protocol::{Event, JobEvent, SystemEvent};

use crate::store::Frame;

/// The forms in which a stream can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Server-sent events.
    Sse,
    /// A line of JSON for each event.
    Ndjson,
    /// What the command line would show.
    Text,
}

impl Form {
    /// The form that an `Accept` header asks for; server-sent events unless it names another.
    pub(crate) fn accepted(accept: &str) -> Self {
        let named = accept.split(',').filter_map(|range| match range.split(';').next()?.trim() {
            "text/event-stream" => Some(Self::Sse),
            "application/x-ndjson" => Some(Self::Ndjson),
            "text/plain" => Some(Self::Text),
            _ => None,
        });
        named.into_iter().next().unwrap_or(Self::Sse)
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// What can be shown as text.
pub(crate) trait Textual: Sized {
    /// Adds the event's text to `out`.
    fn text(frame: &Frame<Self>, renderer: &mut Renderer, out: &mut Vec<u8>);
}

impl Textual for JobEvent {
    fn text(frame: &Frame, renderer: &mut Renderer, out: &mut Vec<u8>) {
        renderer.job_text(frame, out);
    }
}

impl Textual for SystemEvent {
    /// The same as its line of JSON: whoever shows it knows what time it is there.
    fn text(frame: &Frame<Self>, _renderer: &mut Renderer, out: &mut Vec<u8>) {
        out.extend_from_slice(frame.json());
        out.push(b'\n');
    }
}

/// Turns frames into the bytes of a form.
pub(crate) struct Renderer {
    form: Form,
    /// Whether the last thing in a text is an answer without a line end.
    mid_line: bool,
}

impl Renderer {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, mid_line: false }
    }

    pub(crate) fn frames<E: Textual>(&mut self, frames: &[Frame<E>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(frames.iter().map(Frame::len).sum());
        for frame in frames {
            match self.form {
                Form::Sse => out.extend_from_slice(frame.sse()),
                Form::Ndjson => {
                    out.extend_from_slice(frame.json());
                    out.push(b'\n');
                }
                Form::Text => E::text(frame, self, &mut out),
            }
        }
        out
    }

    pub(crate) fn content_type(&self) -> &'static str {
        self.form.content_type()
    }

    /// What says that the stream is alive: only server-sent events have something that readers skip.
    pub(crate) fn heartbeat(&self) -> &'static [u8] {
        match self.form {
            Form::Sse => b": heartbeat\n\n",
            Form::Ndjson | Form::Text => b"",
        }
    }

    /// What follows the end event.
    pub(crate) fn done(&self) -> &'static [u8] {
        match self.form {
            Form::Sse => b"data: [DONE]\n\n",
            Form::Ndjson | Form::Text => b"",
        }
    }

    fn job_text(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        // An event that another version wrote is none that could be shown here.
        let Ok(Event { event, .. }) = serde_json::from_slice(frame.json()) else { return };
        match event {
            JobEvent::Narration(line) if line.level < Level::Info => {}
            JobEvent::Narration(line) => self.line(&line.formatted, out),
            JobEvent::Progress(_) => {}
            JobEvent::Token(token) if token.reasoning => {}
            JobEvent::Token(token) => {
                out.extend_from_slice(token.text.as_bytes());
                self.mid_line = !token.text.ends_with('\n');
            }
            JobEvent::Embedding(embedding) => self.line(&embedding.to_string(), out),
            JobEvent::ToolCall(part) => {
                if let Some(name) = &part.name {
                    let before = if self.mid_line { "\n" } else { "" };
                    out.extend_from_slice(format!("{before}{} ", printable(name)).as_bytes());
                }
                out.extend_from_slice(part.arguments.as_bytes());
                self.mid_line = true;
            }
            JobEvent::Result { result } => self.line(&format!("{result:#}"), out),
            JobEvent::End(end) => {
                if self.mid_line {
                    out.push(b'\n');
                    self.mid_line = false;
                }
                if let Some(error) = end.error {
                    self.line(&format!("error: {}", printable(&error.message)), out);
                    if let Some(hint) = error.hint {
                        self.line(&format!("hint: {}", printable(&hint)), out);
                    }
                }
            }
        }
    }

    fn line(&mut self, line: &str, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.mid_line) {
            out.push(b'\n');
        }
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use rbee_protocol::{ApiError, End, ErrorCode, Token, ToolCallPart};

    use super::*;

    #[test]
    fn accept_headers_choose_the_form() {
        for (accept, form) in [
            ("", Form::Sse),
            ("*/*", Form::Sse),
            ("text/event-stream", Form::Sse),
            ("application/x-ndjson", Form::Ndjson),
            ("text/html, text/plain;q=0.9", Form::Text),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    #[test]
    fn the_text_form_gives_an_error_a_line_of_its_own() {
        let token = JobEvent::Token(Token::new("half", 0));
        let error = ApiError::new(ErrorCode::WorkerCrashed, "it died").hint("again");
        let frames =
            [Frame::encode(1, &token), Frame::encode(2, &JobEvent::End(Box::new(End::stopped(error))))];
        let text = Renderer::new(Form::Text).frames(&frames);
        assert_eq!(String::from_utf8_lossy(&text), "half\nerror: it died\nhint: again\n");
    }

    #[test]
    fn the_text_form_gives_each_call_a_line_of_its_own() {
        let part = |index, name: Option<&str>, arguments: &str| {
            let (id, name) = name.map(|name| ("call".to_owned(), name.to_owned())).unzip();
            JobEvent::ToolCall(ToolCallPart { index, id, name, arguments: arguments.to_owned() })
        };
        let events = [
            part(0, Some("weather"), ""),
            part(0, None, "{\"in\": "),
            part(0, None, "\"Bern\"}"),
            part(1, Some("time"), ""),
            part(1, None, "{}"),
            JobEvent::End(Box::new(End::succeeded())),
        ];
        let frames: Vec<_> = (1..).zip(&events).map(|(seq, event)| Frame::encode(seq, event)).collect();
        let text = Renderer::new(Form::Text).frames(&frames);
        assert_eq!(String::from_utf8_lossy(&text), "weather {\"in\": \"Bern\"}\ntime {}\n");
    }
}
