use std::convert::Infallible;

use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rbee_jobs::Frame;
use rbee_protocol::{Event, JobEvent};
use serde_json::Value;

use crate::support::{Server, data_lines, detached, principal, token};

/// Text that would break a stream which is framed carelessly.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            "\0",
            "\t",
            ":",
            " ",
            "\"",
            "\\",
            "\u{feff}",
            "\u{2028}",
            "\u{85}",
            "data:",
            "data: [DONE]",
            "[DONE]",
            "event: end",
            "id: 7",
            "retry: 1",
            "{\"seq\":9",
            "{}",
            "\u{1b}[2J",
            "😀",
            "é",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

#[derive(Clone, Debug)]
enum Said {
    Token(String),
    Narration(String),
    Result(String),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![text().prop_map(Said::Token), text().prop_map(Said::Narration), text().prop_map(Said::Result)]
}

#[test]
fn no_text_forges_or_garbles_an_event() {
    let runtime = tokio::runtime::Runtime::new().expect("there are threads left");
    let server = runtime.block_on(Server::start());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(said(), 0..12), |said| {
        let _entered = runtime.enter();
        let job = server.jobs.create(&principal("ada"), &detached("")).expect("there is room");
        let id = job.id().clone();
        for (said, index) in said.iter().zip(0..) {
            let appended = match said {
                Said::Token(text) => job.append(&token(index, text)),
                Said::Result(text) => job.append(&JobEvent::Result { result: Value::from(text.as_str()) }),
                Said::Narration(text) => {
                    job.narrator("script").action("narrate").human(text).emit();
                    Ok(())
                }
            };
            prop_assert_eq!(appended, Ok(()));
        }
        drop(job);
        let (events, body) = runtime
            .block_on(async { (server.events("ada", &id).await, server.body("ada", &id, "*/*").await) });

        let lines = server.lines.job(id.as_str());
        let mut narrated = lines.iter().skip(1);
        prop_assert_eq!(events.len(), 1 + said.len() + 1);
        for ((followed, said), seq) in events[1..].iter().zip(&said).zip(2..) {
            prop_assert_eq!(followed.seq, seq);
            match (&followed.event, said) {
                (JobEvent::Token(token), Said::Token(text)) => prop_assert_eq!(&token.text, text),
                (JobEvent::Result { result }, Said::Result(text)) => prop_assert_eq!(result, text.as_str()),
                (JobEvent::Narration(line), Said::Narration(_)) => {
                    prop_assert_eq!(Some(line), narrated.next());
                    prop_assert!(!line.formatted.contains(char::is_control));
                }
                (event, said) => prop_assert!(false, "{event:?} instead of {said:?}"),
            }
        }
        // Whatever splits lines, of the three ways that the format knows, there are these alone.
        let fields = |name: &str| body.split(['\r', '\n']).filter(|line| line.starts_with(name)).count();
        prop_assert_eq!(fields("id:"), events.len());
        prop_assert_eq!(fields("event:"), events.len());
        prop_assert_eq!(fields("data:"), events.len() + 1);
        prop_assert!(data_lines(&body).ends_with(&["[DONE]"]));
        Ok(())
    });
    result.expect("every text comes through as it was");
}

#[test]
fn no_pair_of_characters_ends_a_line_of_an_event() {
    for first in '\0'..='\u{ff}' {
        for second in '\0'..='\u{ff}' {
            let event = token(0, &format!("{first}{second}"));
            let frame = Frame::encode(1, &event);
            let line_ends = frame.sse().iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
            assert!(line_ends == 4 && frame.sse().ends_with(b"}\n\n"), "{frame:?}");
            let read: Event = serde_json::from_slice(frame.json()).expect("a frame holds an event");
            assert_eq!(read, Event { seq: 1, event });
        }
    }
}

#[test]
fn events_arrive_the_same_however_their_bytes_are_split() {
    let texts = ["", "\r\n\n", "id: 9\nevent: end", "\u{feff}data: [DONE]\n\n", "é\u{2028}😀"];
    let events: Vec<Event> =
        texts.iter().zip(1..).map(|(text, seq)| Event { seq, event: token(seq, text) }).collect();
    let body: Vec<u8> =
        events.iter().flat_map(|Event { seq, event }| Frame::encode(*seq, event).sse().to_vec()).collect();
    for first in 0..body.len() {
        for second in (first..body.len()).step_by(7) {
            let parts = [&body[..first], &body[first..second], &body[second..]];
            let received = stream::iter(parts.map(|part| Ok::<_, Infallible>(part.to_vec()))).eventsource();
            let received = received.collect::<Vec<_>>().now_or_never().expect("all of it is there");
            let received = received.into_iter().map(|event| {
                let event = event.expect("a stream of ours");
                serde_json::from_str::<Event>(&event.data).expect("an event of ours")
            });
            assert!(received.eq(events.iter().cloned()), "split at {first} and {second}");
        }
    }
}
